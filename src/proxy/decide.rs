//! Which color and which endpoint to try next: the course of one connection.
//!
//! Pure: no socket and no clock. `admit` begins a course with one decision, `establish` asks it for each try, with the
//! service as the current snapshot has it. Neither a retry nor a spill draws from the split again. `lane` is the
//! part of the course that comes before the split, for callers that have one.

mod lane;
mod unanswered;

use std::cell::Cell;
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attempt::{Attempt, Order};
use super::route::{Route, Via};
use super::slow_start;
use super::standing::{Standing, may_serve};
use crate::model::{ColorName, OnAllDown, OnColorDown};
use crate::state::{
    ColorLive, ColorPlace, ColorState, EndpointPlace, ErrorReason, PortState, ServiceState, Why,
};

/// The tries inside one color.
#[derive(Debug)]
struct Leg {
    color: ColorName,
    why: Why,
    /// The place in the color's sequence, once taken.
    place: Option<u64>,
    /// Endpoints tried in this color.
    tried: Vec<SocketAddr>,
}

impl Leg {
    fn new(color: &ColorName, why: Why) -> Self {
        Self { color: color.clone(), why, place: None, tried: Vec::new() }
    }
}

/// Whether endpoints are left out that checks say are down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// They are.
    Checks,
    /// They are tried all the same, as there are no others.
    Nobody,
}

/// What the course has met so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No color with an endpoint to try.
    Nothing,
    /// A color of which checks say that every endpoint is down.
    Down,
    /// An endpoint to try, in a color that is no fallback.
    Endpoint,
    /// That all weights are 0, when the lane had nobody left.
    NoWeight,
}

/// The course of one connection over colors and endpoints.
#[derive(Debug)]
pub struct Course {
    port: u16,
    client: IpAddr,
    chosen: ColorName,
    chosen_why: Why,
    chosen_live: Arc<ColorLive>,
    leg: Leg,
    /// Colors whose tries are used up.
    finished: Vec<ColorName>,
    /// Colors that had nobody to try when they were looked at: down, or at a limit.
    passed: Vec<ColorName>,
    /// Those of them of which every endpoint was seen to be down, in this search for a try.
    down: Vec<ColorName>,
    /// Endpoints that did not answer in time: a lost SYN is no refusal, so they are worth another try
    /// when nobody else is left.
    unanswered: Vec<(ColorName, Why, SocketAddr)>,
    trust: Trust,
    found: Found,
    retries_left: u32,
    tries: u32,
    /// The limit that last kept a color or its endpoints from being tried.
    limit: Option<ErrorReason>,
}

impl Course {
    /// Decides the color for a connection from `client`: by its lane, by the split, once, by the client's
    /// affinity, or by the preview name.
    ///
    /// # Errors
    /// All weights are 0, or the previewed color is gone.
    pub fn begin(
        route: &Route,
        port: &PortState,
        (client, lane): (IpAddr, Option<&ColorName>),
        retries: u32,
    ) -> Result<Self, ErrorReason> {
        let in_lane = || Some((port.color(lane?)?, Why::Lane));
        let (color, why) = match &route.via {
            Via::Vip | Via::Expose => {
                in_lane().or_else(|| by_weight(port, client)).ok_or(ErrorReason::NoWeight)?
            }
            Via::Preview(name) => (port.color(name).ok_or(ErrorReason::Removed)?, Why::Preview),
        };
        Ok(Self {
            port: route.port,
            client,
            chosen: color.name.clone(),
            chosen_why: why,
            chosen_live: Arc::clone(&color.live),
            leg: Leg::new(&color.name, why),
            finished: Vec::new(),
            passed: Vec::new(),
            down: Vec::new(),
            unanswered: Vec::new(),
            trust: Trust::Checks,
            found: Found::Nothing,
            retries_left: retries,
            tries: 0,
            limit: None,
        })
    }

    /// The color that was decided first.
    pub fn chosen(&self) -> &ColorName {
        &self.chosen
    }

    /// Why that one.
    pub fn chosen_why(&self) -> Why {
        self.chosen_why
    }

    /// Its facts, which count what becomes of the connection when no backend serves it.
    pub fn chosen_live(&self) -> &Arc<ColorLive> {
        &self.chosen_live
    }

    /// Tries so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Color, reason and endpoint of the last try.
    pub fn last(&self) -> (&ColorName, Why, Option<SocketAddr>) {
        (&self.leg.color, self.leg.why, self.leg.tried.last().copied())
    }

    /// Whom to try next, `service` being as the current snapshot has it. Every call but the first
    /// means that the try before failed. `None` when there is nobody left.
    pub fn next(&mut self, service: &ServiceState) -> Option<Attempt> {
        let port = service.port(self.port)?;
        if self.chosen_why == Why::Lane
            && let Some(attempt) = self.next_in_lane(service, port)
        {
            return Some(attempt);
        }
        if self.found == Found::NoWeight {
            return None;
        }
        let (trust, mut may_look_again, mut last) = (self.trust, self.tries > 0, None);
        self.down.clear();
        loop {
            if let Some(attempt) = self.next_in_leg(service, port) {
                return Some(attempt);
            }
            let left = if self.leg.tried.is_empty() { &mut self.passed } else { &mut self.finished };
            left.push(self.leg.color.clone());
            let mut leg = self.next_leg(service, port).or_else(|| self.last_resort(service, port));
            if leg.is_none() && std::mem::take(&mut may_look_again) {
                // What was down before the tries that failed may work by now.
                self.passed.clear();
                leg = self.next_leg(service, port);
            }
            let Some(leg) = leg else { break };
            let left = std::mem::replace(&mut self.leg, leg);
            last.get_or_insert(left);
        }
        // What was only looked at is no part of the course.
        self.trust = trust;
        if let Some(last) = last {
            self.leg = last;
        }
        self.next_unanswered(service, port)
    }

    /// The budget refuses the try that came last: it was none, and from here on only further colors are
    /// tried, each once.
    pub fn refuse_retry(&mut self, order: Order) {
        self.retries_left = 0;
        self.tries -= 1;
        if order != Order::Again {
            self.leg.tried.pop();
        }
    }

    /// Why nobody serves the connection, `failure` being why its last try failed.
    pub fn refusal(&self, failure: Option<ErrorReason>) -> ErrorReason {
        if self.chosen_why == Why::Lane {
            return ErrorReason::Lane;
        }
        failure.or(self.limit).unwrap_or(match self.found {
            Found::Down => ErrorReason::Down,
            Found::NoWeight => ErrorReason::NoWeight,
            Found::Nothing | Found::Endpoint => ErrorReason::Removed,
        })
    }

    /// The first try of a leg is free; each further one takes a retry and an endpoint not yet tried.
    fn next_in_leg(&mut self, service: &ServiceState, port: &PortState) -> Option<Attempt> {
        let color = port.color(&self.leg.color)?;
        if !self.may_have((service, port), color, self.leg.why) {
            return None;
        }
        let order = match self.tries {
            0 => Order::First,
            _ if self.leg.tried.is_empty() => Order::NextColor,
            _ => Order::Retry,
        };
        let retries_left = self.retries_left.checked_sub(u32::from(order == Order::Retry))?;
        let Some(live) = ColorPlace::take(&color.live, color.max_connections) else {
            self.limit = Some(ErrorReason::LimitColor);
            return None;
        };
        let endpoint = self.take_endpoint(color, service.service.policy.limits.endpoint)?;
        self.leg.tried.push(endpoint.address);
        if self.leg.why != Why::Fallback {
            self.found = Found::Endpoint;
        }
        self.retries_left = retries_left;
        self.tries += 1;
        Some(Attempt::at(color, (endpoint, live), (self.leg.why, order)))
    }

    /// Whether a color may have the connection: it has weight, or somebody says so in spite of weight 0.
    fn may_have(&self, (service, port): (&ServiceState, &PortState), color: &ColorState, why: Why) -> bool {
        let is_fallback = || {
            let fallback = port.color(&self.chosen).and_then(|chosen| port.colors.get(chosen.fallback?));
            fallback.is_some_and(|fallback| fallback.name == color.name)
        };
        match why {
            Why::Weight | Why::Affinity | Why::Spill => !color.weight.is_zero(),
            Why::Fallback => !color.weight.is_zero() || is_fallback(),
            Why::Preview => true,
            Why::Lane => self.has_lane(service, &color.name),
        }
    }

    /// A place at the endpoint whose turn it is among the best that are left and have fewer than `max`
    /// connections.
    fn take_endpoint(&mut self, color: &ColorState, max: Option<NonZeroU32>) -> Option<EndpointPlace> {
        let tried = self.leg.tried.clone();
        let some_full = Cell::new(false);
        let standing = |index: usize| {
            let endpoint = color.endpoints.get(index)?;
            if !endpoint.is_enabled() || tried.contains(&endpoint.address) {
                return None;
            }
            let is_full = endpoint.live.places.are_full(max);
            some_full.set(some_full.get() || is_full);
            (!is_full).then(|| Standing::of(endpoint))
        };
        // One that fills up after the look is out at the next one.
        while let Some(index) = self.pick(color, &standing) {
            if let Some(endpoint) = EndpointPlace::take(&color.endpoints[index].live, max) {
                return Some(endpoint);
            }
        }
        if some_full.get() {
            self.limit = Some(ErrorReason::LimitEndpoint);
        } else if tried.is_empty() {
            self.down.push(color.name.clone());
        }
        None
    }

    /// The endpoint whose turn it is among the best: those that work, else those that nobody has checked
    /// yet. Looks at one endpoint where that one works, at all of them where it does not.
    fn pick(&mut self, color: &ColorState, standing: &impl Fn(usize) -> Option<Standing>) -> Option<usize> {
        let (pick, places, client) = (&color.pick, &color.live.picks, self.client);
        let open = |index: usize| color.endpoints.get(index).map_or(0, |e| e.live.places.taken());
        let turn = self.leg.place.unwrap_or_else(|| pick.take(places, client));
        let index = pick.endpoint(turn, |_| false, open)?;
        let works = standing(index) == Some(Standing::Works);
        if works && (self.leg.place.is_some() || slow_start::has_full_share(color, index)) {
            self.leg.place = Some(turn);
            return Some(index);
        }
        // One look at each, so that what changes meanwhile does not leave nobody who is best.
        let seen: Vec<_> = (0..color.endpoints.len()).map(standing).collect();
        let best = seen.iter().flatten().copied().min()?;
        if best >= Standing::Ejected {
            if self.trust == Trust::Checks {
                if self.leg.place.is_none() {
                    pick.give_back(places);
                }
                self.found = if self.found == Found::Nothing { Found::Down } else { self.found };
                return None;
            }
            color.live.all_down_tries().fetch_add(1, Ordering::Relaxed);
        }
        let is_best = |index: usize| seen.get(index) == Some(&Some(best));
        let turn = match self.leg.place {
            Some(turn) => turn,
            None if best == Standing::Works && color.slow_start => {
                let drawn = is_best(index).then_some(index);
                let (turn, index) = slow_start::take_turn((color, client), (turn, drawn), is_best, open);
                self.leg.place = Some(turn);
                return index;
            }
            None if is_best(index) => turn,
            None => pick.take_wanted(places, client, is_best),
        };
        self.leg.place = Some(turn);
        pick.endpoint(turn, |index| !is_best(index), open)
    }

    /// When checks say that everything with weight is down, the colors with weight once more, without
    /// asking the checks: a broken checker must not be an outage. The same for a color that is alone. Only
    /// where nothing of it was tried yet, so that no endpoint is tried twice.
    fn last_resort(&mut self, service: &ServiceState, port: &PortState) -> Option<Leg> {
        let may_try = service.service.policy.on_all_down == OnAllDown::Try;
        if !may_try || self.trust == Trust::Nobody || self.found != Found::Down {
            return None;
        }
        // What was found down may work by now: better tried than refused.
        let is_down = |color: &ColorState| self.down.contains(&color.name) || color.is_down();
        let alone = if self.is_alone() { Some(port.color(&self.chosen)?) } else { None };
        if !alone.map_or_else(|| port.has_weight_and_all(is_down), is_down) {
            return None;
        }
        self.trust = Trust::Nobody;
        self.passed.clear();
        Some(Leg::new(&self.chosen, self.chosen_why))
    }

    /// The color after this one: with weight, its own one before the heaviest, then its own one's fallback.
    fn next_leg(&self, service: &ServiceState, port: &PortState) -> Option<Leg> {
        if self.is_alone() {
            return None;
        }
        let is_finished = |color: &ColorState| {
            let mut left = self.finished.iter().chain(&self.passed).chain([&self.leg.color]);
            left.any(|name| *name == color.name)
        };
        let mut weighted: Vec<_> =
            port.colors.iter().filter(|color| !color.weight.is_zero() && !is_finished(color)).collect();
        weighted.sort_by_key(|color| (color.name != self.chosen, Reverse(color.weight), &color.name));
        let chosen = port.color(&self.chosen);
        if let Some(first) = weighted.first() {
            let why = if first.name == self.chosen { self.chosen_why } else { Why::Spill };
            if why != Why::Spill || may_spill(service, chosen) {
                return Some(Leg::new(&first.name, why));
            }
            // Its color is down, others work: it is refused. When nobody works, it is the fallback's turn.
            let max = service.service.policy.limits.endpoint;
            if weighted.iter().any(|color| may_serve(color, max)) {
                return None;
            }
        }
        let fallback = port.colors.get(chosen?.fallback?)?;
        (!is_finished(fallback)).then(|| Leg::new(&fallback.name, Why::Fallback))
    }
}

/// The color that the client's affinity says, or the next turn of the split. Nothing where all weights are 0.
fn by_weight(port: &PortState, client: IpAddr) -> Option<(&ColorState, Why)> {
    let (index, why) = match &port.affinity {
        None => (port.split.decide(), Why::Weight),
        Some(affinity) => (affinity.color(client), Why::Affinity),
    };
    let color = port.colors.get(index?)?;
    color.live.decisions.fetch_add(1, Ordering::Relaxed);
    Some((color, why))
}

/// `reject` is about colors that are down. One that lost its weight while the connection was on its
/// way is not: refusing then would let a change of weights refuse a connection.
fn may_spill(service: &ServiceState, chosen: Option<&ColorState>) -> bool {
    service.service.policy.on_color_down == OnColorDown::Spill
        || chosen.is_none_or(|chosen| chosen.weight.is_zero())
}

#[cfg(test)]
#[path = "decide_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "decide_health_tests.rs"]
mod health_tests;

#[cfg(test)]
#[path = "decide_lane_tests.rs"]
mod lane_tests;
