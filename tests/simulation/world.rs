//! The real thing, driven step by step: what the writer, the health thread and the workers do, without
//! sockets, disk and clock. After every step it is held against the oracle.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use teal::health::ejection::{self, Change};
use teal::health::targets::{Question, Target, forget, questions};
use teal::health::verdict;
use teal::model::testing::catalog;
use teal::model::{ColorName, Service, ServiceName, Weight};
use teal::proxy::attempt::{Attempt, Order};
use teal::proxy::decide::Course;
use teal::proxy::{Route, Via};
use teal::state::build::{Addresses, Parts, build_with, override_again};
use teal::state::order::{Address, Wish, plan};
use teal::state::releases::Releases;
use teal::state::{
    Actor, Admission, Answers, Cause, EndpointLive, ErrorReason, HealthState, Lane, Live, Overrides,
    Snapshot, Why,
};

use crate::configs::{self, catalog_of, client, edit, lane_mode, random_service, release};
use crate::dice::Dice;
use crate::lanes::LaneOracle;
use crate::oracle::{Busy, Health, Key, ServiceOracle};
use crate::tries::{Tried, TripOracle};

/// Connections that are being connected at once.
const TRIPS_MAX: usize = 4;
/// Open connections at once.
const OPEN_MAX: usize = 6;

/// A connection that looks for a backend.
struct Trip {
    /// Counts connections, for the log.
    id: usize,
    client: IpAddr,
    service: ServiceName,
    port: u16,
    course: Course,
    oracle: TripOracle,
    attempt: Option<Attempt>,
}

/// A connection that found one.
struct Open {
    service: ServiceName,
    port: u16,
    attempt: Attempt,
}

pub struct World {
    dice: Dice,
    now: Instant,
    rotation: usize,
    live: Live,
    answers: Arc<Answers>,
    overrides: Overrides,
    snapshot: Arc<Snapshot>,
    lanes: LaneOracle,
    asked: HashMap<Question, Vec<Target>>,
    oracles: BTreeMap<ServiceName, ServiceOracle>,
    /// Everything that was known of endpoints, while somebody holds on to it.
    known: HashMap<(ServiceName, Key), Weak<EndpointLive>>,
    /// Backends that pass checks and accept.
    alive: BTreeMap<IpAddr, bool>,
    trips: Vec<Trip>,
    open: Vec<Open>,
    arrived: usize,
    /// What was done, for the report of a failure.
    pub log: Vec<String>,
}

fn build(
    parts: (&[Service], &Arc<Answers>, &Live, usize),
    lanes: &LaneOracle,
    overrides: &Overrides,
    before: Option<&Snapshot>,
) -> Snapshot {
    let (services, answers, live, rotation) = parts;
    let addresses = |service: &Service| {
        let previews = vec![Ipv4Addr::new(127, 80, 0, 2); service.colors.len()];
        (service.name.clone(), Addresses { vip: Ipv4Addr::new(127, 80, 0, 1), previews })
    };
    let addresses = services.iter().map(addresses).collect();
    let catalog = Arc::new(catalog_of(services, lanes.mode));
    let (answers, releases) = (Arc::clone(answers), open(lanes));
    build_with(
        &Parts { catalog, addresses: &addresses, answers, live, rotation, releases },
        overrides,
        before,
    )
}

fn open(lanes: &LaneOracle) -> Arc<Releases> {
    let mut releases = Releases::default();
    lanes.open.iter().for_each(|release| releases.note(release.clone()));
    Arc::new(releases)
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let names = &["a", "b"][usize::from(dice.chance(20))..];
        let services: Vec<_> = names.iter().map(|name| random_service(&mut dice, name)).collect();
        let (live, rotation) = (Live::default(), dice.index(7));
        let answers = Answers::build(&catalog(Vec::new()), &BTreeMap::new(), 1);
        let overrides = Overrides::default();
        let lanes = LaneOracle {
            mode: lane_mode(&mut dice),
            open: dice.chance(50).then(|| release(&mut dice, services.iter())),
        };
        let snapshot = Arc::new(build((&services, &answers, &live, rotation), &lanes, &overrides, None));
        let oracles = services.into_iter().map(|service| (service.name.clone(), ServiceOracle::new(service)));
        let asked = questions(&snapshot);
        let mut world = Self {
            oracles: oracles.collect(),
            now: Instant::now(),
            known: HashMap::new(),
            alive: BTreeMap::new(),
            trips: Vec::new(),
            open: Vec::new(),
            arrived: 0,
            log: Vec::new(),
            dice,
            rotation,
            live,
            answers,
            overrides,
            snapshot,
            lanes,
            asked,
        };
        world.learn();
        world
    }

    /// Does something, and looks at everything.
    pub fn step(&mut self) {
        match self.dice.below(100) {
            0..28 => self.arrive(),
            28..60 => self.go_on(),
            60..66 => self.close(),
            66..82 => self.check(),
            82..87 => self.pass_time(),
            87..92 => self.reload(),
            92..96 => self.change(),
            96..99 => self.release(),
            _ => self.live.sweep(),
        }
        self.compare();
    }

    /// Ends every connection that looks for a backend by failing all of its tries: none hangs.
    pub fn finish(&mut self) {
        for _ in 0..1000 {
            if self.trips.is_empty() {
                return;
            }
            self.fail_one(0);
        }
        panic!("promise 8: a connection is still being tried after a thousand failures");
    }

    fn any_service(&mut self) -> ServiceName {
        let names: Vec<_> = self.oracles.keys().cloned().collect();
        self.dice.pick(&names).clone()
    }

    fn busy(&self, service: &ServiceName) -> Busy {
        let connecting = self.trips.iter().map(|trip| (&trip.service, trip.port, trip.attempt.as_ref()));
        let open = self.open.iter().map(|open| (&open.service, open.port, Some(&open.attempt)));
        let mut busy = Busy::default();
        for (of, port, attempt) in connecting.chain(open) {
            let Some(attempt) = attempt.filter(|_| of == service) else { continue };
            *busy.colors.entry(attempt.color.clone()).or_default() += 1;
            let key = (port, attempt.color.clone(), attempt.endpoint.address);
            *busy.endpoints.entry(key).or_default() += 1;
        }
        busy
    }

    // Connections.

    fn arrive(&mut self) {
        let service = self.any_service();
        let (ports, colors) = {
            let config = &self.oracles[&service].config;
            let names: Vec<_> = config.colors.iter().map(|color| color.name.clone()).collect();
            (config.ports.iter().map(|port| port.listen).collect::<Vec<_>>(), names)
        };
        let port = *self.dice.pick(&ports);
        let via = match self.dice.below(10) {
            0 => Via::Preview(self.dice.pick(&colors).clone()),
            1..4 => Via::Expose,
            _ => Via::Vip,
        };
        // Now and then many at once, so that cycles come to their end.
        let count = if self.dice.chance(15) { self.dice.below(60) } else { 1 };
        for _ in 0..count {
            self.arrive_at((&service, port), &via);
        }
    }

    fn arrive_at(&mut self, (service, port): (&ServiceName, u16), via: &Via) {
        let others = self.oracles.iter().filter(|(name, _)| *name != service);
        let client = client(&mut self.dice, others.map(|(_, oracle)| &oracle.config));
        let is_preview = matches!(via, Via::Preview(_));
        let lane = self.lanes.color(&self.oracles, client, service).filter(|_| !is_preview);
        let state = Arc::clone(&self.snapshot.services[service]);
        let route = Route { service: service.clone(), port, via: via.clone() };
        let oracle = self.oracles.get_mut(service).expect("there is one for each");
        let retries = oracle.config.policy.retries;
        let given = state.inbound.lanes.as_ref().map_or(Lane::None, |lanes| lanes.lane(client));
        let given = if let Lane::Color(color) = given { Some(color) } else { None };
        let course = Course::begin(&route, state.port(port).expect("ports stay"), (client, given), retries);
        let course = match course {
            Ok(course) => course,
            Err(reason) => {
                assert_eq!(reason, ErrorReason::NoWeight, "promise 8");
                let is_right = oracle.weighted().is_empty() && lane.is_none();
                assert!(is_right, "promise 6: refused, and a color has weight or a lane");
                return;
            }
        };
        if let Some(lane) = &lane {
            assert_eq!((course.chosen(), course.chosen_why()), (lane, Why::Lane));
        } else if !is_preview {
            let has_weight = oracle.weight(course.chosen()) > 0;
            assert!(has_weight, "promise 2: {} has weight 0", course.chosen());
            if state.service.policy.affinity == teal::model::Affinity::None {
                oracle.splits.get_mut(&port).expect("one a port").decided(course.chosen());
            }
        }
        let why = course.chosen_why();
        let trip = TripOracle::new((port, course.chosen()), why, self.lanes.mode, retries);
        self.arrived += 1;
        let id = self.arrived;
        self.log
            .push(format!("{id}: {service}:{port} {via:?} from {client}: {} by {why:?}", course.chosen()));
        let service = service.clone();
        self.trips.push(Trip { id, client, service, port, course, oracle: trip, attempt: None });
        self.next(self.trips.len() - 1);
        while self.trips.len() > TRIPS_MAX {
            self.serve(0);
        }
    }

    /// Asks for the next try of a connection. Gives it up where nobody is left.
    fn next(&mut self, index: usize) {
        self.trips[index].attempt = None;
        let busy = self.busy(&self.trips[index].service);
        let trip = &mut self.trips[index];
        let attempt = trip.course.next(&self.snapshot.services[&trip.service]);
        self.judge_lane(index, &busy, attempt.is_some());
        let trip = &mut self.trips[index];
        let now = (&self.oracles[&trip.service], &busy);
        let Some(attempt) = attempt else {
            self.log.push(format!("{}: nobody is left", trip.id));
            trip.oracle.judge_end(now);
            self.trips.swap_remove(index);
            return;
        };
        let (color, address) = (attempt.color.clone(), attempt.endpoint.address);
        let tried = Tried { color, address, why: attempt.why, order: attempt.order };
        self.log.push(format!("{}: {tried:?}", trip.id));
        trip.oracle.judge(now, &tried);
        let tries_max = 2 * (now.0.config.policy.retries + 5) as usize + 20;
        assert!(trip.oracle.tries() <= tries_max, "promise 8: {} tries", trip.oracle.tries());
        trip.attempt = Some(attempt);
    }

    /// Whether a connection is in its lane as long as it may be, and is split once when it leaves it.
    fn judge_lane(&mut self, index: usize, busy: &Busy, is_tried: bool) {
        let Trip { client, service, port, course, oracle: trip, .. } = &mut self.trips[index];
        if trip.lane.is_none() {
            return;
        }
        let lane = self.lanes.color(&self.oracles, *client, service);
        trip.lane = Some(self.lanes.mode);
        if course.chosen_why() == Why::Lane {
            return trip.stay_in_lane(lane.as_ref(), is_tried);
        }
        trip.leave_lane((&self.oracles[service], busy), lane.as_ref(), course.chosen());
        let oracle = self.oracles.get_mut(service).expect("there is one for each");
        if course.chosen_why() == Why::Weight && !oracle.weighted().is_empty() {
            oracle.splits.get_mut(port).expect("one a port").decided(course.chosen());
        }
    }

    fn go_on(&mut self) {
        if self.trips.is_empty() {
            return;
        }
        let index = self.dice.index(self.trips.len());
        if self.dice.chance(70) { self.fail_one(index) } else { self.serve(index) }
    }

    fn fail_one(&mut self, index: usize) {
        let kind = self.dice.below(10);
        let trip = &mut self.trips[index];
        let Some(attempt) = &trip.attempt else { return self.next(index) };
        let is_refused = kind == 0 && matches!(attempt.order, Order::Retry | Order::Again);
        match kind {
            // The try was over the retry budget and not made.
            _ if is_refused => {
                trip.course.refuse_retry(attempt.order);
                trip.oracle.refuse_retry();
            }
            1..4 => {
                trip.course.note_unanswered(attempt);
                trip.oracle.unanswered();
            }
            _ => {}
        }
        if !is_refused {
            attempt.endpoint.outlier.failed();
            let key = (trip.port, attempt.color.clone(), attempt.endpoint.address);
            if let Some(facts) = self.oracles.get_mut(&trip.service).and_then(|o| o.facts_mut(&key)) {
                facts.failures += 1;
            }
        }
        self.next(index);
    }

    fn serve(&mut self, index: usize) {
        let Trip { service, port, attempt, .. } = self.trips.swap_remove(index);
        let Some(attempt) = attempt else { return };
        attempt.endpoint.outlier.succeeded();
        let key = (port, attempt.color.clone(), attempt.endpoint.address);
        if let Some(facts) = self.oracles.get_mut(&service).and_then(|oracle| oracle.facts_mut(&key)) {
            facts.failures = 0;
        }
        self.open.push(Open { service, port, attempt });
        if self.open.len() > OPEN_MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let index = self.dice.index(self.open.len());
            self.open.swap_remove(index);
        }
    }

    // Health.

    fn check(&mut self) {
        let mut asked: Vec<_> = self.asked.keys().cloned().collect();
        asked.sort_by_key(|question| (question.address, question.check.rise, question.check.fall));
        if asked.is_empty() {
            return;
        }
        let question = self.dice.pick(&asked).clone();
        let alive = self.alive.entry(question.address.ip()).or_insert(true);
        *alive = if self.dice.chance(25) { !*alive } else { *alive };
        let (passed, many) = (*alive, 1 + self.dice.below(4));
        self.log.push(format!(
            "{} {} {many} checks",
            question.address,
            if passed { "passes" } else { "fails" }
        ));
        let result = if passed { verdict::Result::Passed } else { verdict::Result::Failed };
        for _ in 0..many {
            for target in &self.asked[&question] {
                target.live.health.set(verdict::after(target.live.health.verdict(), result, &question.check));
                if passed && target.live.outlier.is_ejected() {
                    ejection::end(&target.live, self.now);
                }
                let oracle = self.oracles.get_mut(&target.service).expect("there is one for each");
                oracle.checked(&(target.port, target.color.clone(), target.live.address), passed);
            }
        }
    }

    fn pass_time(&mut self) {
        self.now += Duration::from_secs(self.dice.below(15));
        self.log.push("time passes".to_owned());
        let snapshot = Arc::clone(&self.snapshot);
        for (name, service) in &snapshot.services {
            for port in &service.ports {
                for color in &port.colors {
                    let endpoints = color.endpoints.iter().map(|endpoint| &*endpoint.live);
                    let mut changes = Vec::new();
                    let outlier = service.service.policy.outlier.as_ref();
                    ejection::sweep(endpoints, outlier, self.now, |endpoint, change| {
                        changes.push((endpoint.address, change));
                    });
                    self.judge_sweep((name, port.port.listen, &color.name), &changes);
                }
            }
        }
    }

    /// Whoever is ejected failed often enough, within the share, and not for longer than said.
    fn judge_sweep(
        &mut self,
        (service, port, color): (&ServiceName, u16, &ColorName),
        changes: &[(SocketAddr, Change)],
    ) {
        let now = self.now;
        let oracle = self.oracles.get_mut(service).expect("there is one for each");
        let outlier = oracle.config.policy.outlier;
        let (mut ejected, max) = oracle.ejected((port, color));
        for (address, change) in changes {
            let key = (port, color.clone(), *address);
            let facts = oracle.facts.get_mut(&key).expect("it is in the snapshot");
            match (change, outlier) {
                (Change::Back, outlier) => {
                    let until = facts.ejected_until.take().expect("it was ejected");
                    assert!(
                        until <= now || facts.failures == 0 || outlier.is_none() || ejected > max,
                        "{key:?} is back too early"
                    );
                    facts.failures = 0;
                    ejected -= 1;
                }
                (Change::Ejected(_), None) => panic!("{key:?} is ejected without a reason"),
                (Change::Ejected(length), Some(outlier)) => {
                    assert!(facts.failures >= outlier.consecutive_failures, "{key:?} is ejected too early");
                    assert!(*length >= outlier.ejection && *length <= outlier.max_ejection);
                    facts.ejected_until = Some(now + *length);
                }
            }
        }
        let mut of_color = oracle.facts.iter().filter(|(key, _)| key.0 == port && key.1 == *color);
        let is_over = |until: Instant| until <= now;
        assert!(!of_color.any(|(_, facts)| facts.ejected_until.is_some_and(is_over)), "ejected for too long");
        let (ejected, max) = oracle.ejected((port, color));
        assert!(ejected <= max, "more than the share of {color} is ejected");
    }

    // Changes.

    fn cause() -> Cause {
        Cause {
            actor: Actor { name: "root".to_owned(), ..Actor::default() },
            at: 1,
            why: "a test".to_owned(),
        }
    }

    fn reload(&mut self) {
        let mut services: Vec<_> = self.oracles.values().map(|oracle| oracle.config.clone()).collect();
        let service = self.dice.index(services.len());
        for _ in 0..=self.dice.below(3) {
            edit(&mut self.dice, &mut services[service]);
        }
        self.log.push(format!("reload: {:?}", services[service]));
        let ended = self.overrides.ended_by(&catalog(services.clone()), |_| false);
        self.overrides.apply(&ended, &Self::cause());
        let known = &self.known;
        for config in &services {
            let is_kept = |key: &Key| {
                let known = known.get(&(config.name.clone(), key.clone()));
                known.is_some_and(|live| live.strong_count() > 0)
            };
            self.oracles.get_mut(&config.name).expect("services stay").reload(config.clone(), is_kept);
        }
        if self.dice.chance(20) {
            self.lanes.mode = lane_mode(&mut self.dice);
            self.log.push(format!("lanes: {:?}", self.lanes.mode));
        }
        let parts = (services.as_slice(), &self.answers, &self.live, self.rotation);
        let next = build(parts, &self.lanes, &self.overrides, Some(&self.snapshot));
        self.swap(next);
    }

    fn change(&mut self) {
        let service = self.any_service();
        let wish = self.wish(service);
        self.log.push(format!("{wish:?}"));
        let edits = plan(&[wish], &self.snapshot.catalog, &self.overrides).expect("it names what there is");
        self.overrides.apply(&edits, &Self::cause());
        self.override_again();
    }

    fn override_again(&mut self) {
        let releases = open(&self.lanes);
        let next = override_again(&self.snapshot, (&self.overrides, &releases), &self.live, self.rotation);
        self.swap(next);
    }

    /// A release opens, or the open one closes.
    fn release(&mut self) {
        let services = self.oracles.values().map(|oracle| &oracle.config);
        self.lanes.open = match self.lanes.open {
            None => Some(release(&mut self.dice, services)),
            Some(_) => None,
        };
        self.log.push(format!("release: {:?}", self.lanes.open));
        self.override_again();
    }

    fn wish(&mut self, service: ServiceName) -> Wish {
        let oracle = self.oracles.get_mut(&service).expect("there is one for each");
        let colors = oracle.config.colors.clone();
        let color = self.dice.pick(&colors).clone();
        match self.dice.below(10) {
            0..5 => {
                let mut named = BTreeMap::new();
                for one in &colors {
                    if one.name == color.name || self.dice.chance(50) {
                        named.insert(one.name.clone(), configs::weight(&mut self.dice));
                    }
                }
                let to = |weight: &i64| u16::try_from(*weight).expect("a weight");
                oracle.set_weights(&named.iter().map(|(name, weight)| (name.clone(), to(weight))).collect());
                let weight = |weight: i64| Weight::new(weight).expect("a weight");
                let colors = named.into_iter().map(|(name, to)| (name, weight(to))).collect();
                Wish::Weights { service, colors }
            }
            5 => {
                oracle.reset_weights();
                Wish::Reset { service }
            }
            kind => {
                let port = self.dice.pick(&oracle.config.ports);
                let address = self.dice.pick(&color.endpoints).address(port);
                let entry = (color.name.clone(), address);
                let to = if kind < 8 { Admission::Disabled } else { Admission::Enabled };
                match to {
                    Admission::Disabled => oracle.disabled.insert(entry),
                    Admission::Enabled => oracle.disabled.remove(&entry),
                };
                Wish::Endpoint { service, color: color.name, address: Some(Address::Port(address)), to }
            }
        }
    }

    /// What the writer and then the health thread do with a new snapshot.
    fn swap(&mut self, next: Snapshot) {
        self.snapshot = Arc::new(next);
        let wanted = questions(&self.snapshot);
        forget(self.asked.values().flatten(), wanted.values().flatten());
        self.asked = wanted;
        self.learn();
    }

    fn learn(&mut self) {
        for (name, service) in &self.snapshot.services {
            for port in &service.ports {
                for color in &port.colors {
                    for endpoint in &color.endpoints {
                        let key = (port.port.listen, color.name.clone(), endpoint.address);
                        self.known.insert((name.clone(), key), Arc::downgrade(&endpoint.live));
                    }
                }
            }
        }
    }

    // The whole of it.

    fn compare(&self) {
        for (name, service) in &self.snapshot.services {
            let oracle = &self.oracles[name];
            let busy = self.busy(name);
            for port in &service.ports {
                for color in &port.colors {
                    let weight = oracle.weight(&color.name);
                    assert_eq!(color.weight.get(), weight, "promise 2: weight of {}", color.name);
                    let violations = color.live.weight_zero_violations.load(Ordering::Relaxed);
                    assert_eq!(violations, 0, "promise 2");
                    let taken = busy.colors.get(&color.name).copied().unwrap_or_default();
                    assert_eq!(color.live.places.taken(), taken, "places of {}", color.name);
                    for endpoint in &color.endpoints {
                        let key = (port.port.listen, color.name.clone(), endpoint.address);
                        compare_endpoint(endpoint, &key, oracle);
                    }
                }
            }
        }
    }
}

fn compare_endpoint(endpoint: &teal::state::EndpointState, key: &Key, oracle: &ServiceOracle) {
    let facts = &oracle.facts[key];
    let health = match (oracle.config.policy.health.active(), facts.health) {
        (None, _) => HealthState::Unchecked,
        (_, Health::Pending) => HealthState::Pending,
        (_, Health::Healthy) => HealthState::Healthy,
        (_, Health::Unhealthy) => HealthState::Unhealthy,
    };
    assert_eq!(endpoint.health(), health, "promise 5: health of {key:?}");
    let is_ejected = endpoint.live.outlier.is_ejected();
    assert_eq!(is_ejected, facts.ejected_until.is_some(), "promise 5: ejection of {key:?}");
    let is_disabled = oracle.disabled.contains(&(key.1.clone(), key.2));
    assert_eq!(endpoint.is_enabled(), !is_disabled, "admission of {key:?}");
}
