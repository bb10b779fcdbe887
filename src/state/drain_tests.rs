//! Drains by an injected clock: who is asked and cut, when, and how many at once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::model::{ColorName, Service, ServiceName};
use crate::state::build::{Addresses, Parts, build};
use crate::state::draining::draining;
use crate::state::{Answers, Asked, Connection, Live, Why};

fn endpoint(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Service "a" with the color blue at this weight and these endpoints, all on port 80.
fn snapshot(live: &Live, endpoints: &[SocketAddr], weight: i64) -> Snapshot {
    snapshot_of(live, service("a", 80, vec![color("blue", weight, endpoints)]))
}

/// This service, of one color, alone.
pub(in crate::state) fn snapshot_of(live: &Live, service: Service) -> Snapshot {
    let previews = vec![Ipv4Addr::new(127, 80, 0, 2)];
    let addresses = Addresses { vip: Ipv4Addr::new(127, 80, 0, 1), previews };
    let addresses = BTreeMap::from([(service.name.clone(), addresses)]);
    let catalog = Arc::new(catalog(vec![service]));
    let answers = Answers::build(&catalog, &addresses, 1);
    build(
        &Parts { catalog, addresses: &addresses, answers, releases: Arc::default(), live, rotation: 0 },
        None,
    )
}

struct Stage {
    live: Live,
    drains: Drains,
    begun: Instant,
    connections: Vec<Arc<Connection>>,
    endpoint: Arc<EndpointLive>,
}

impl Stage {
    /// So many connections to an endpoint.
    fn with(connections: usize) -> Self {
        let live = Live::default();
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let endpoint = live.endpoint((&service, 80, &color), endpoint(1));
        let begun = Instant::now();
        let connection = |_| Arc::new(Connection::new(begun, Why::Weight));
        let connections: Vec<_> = (0..connections).map(connection).collect();
        for connection in &connections {
            endpoint.open.insert(Arc::clone(connection));
        }
        Self { live, drains: Drains::default(), begun, connections, endpoint }
    }

    /// Makes these the endpoints of the color, so many seconds after the beginning.
    fn follow(&mut self, endpoints: &[SocketAddr], timeout_s: u64, at_s: u64) {
        let next = snapshot(&self.live, endpoints, 1);
        let timeout = |_: &LivingEndpoint| Duration::from_secs(timeout_s);
        self.drains.follow(&self.live.endpoints(), &next, self.at(at_s), timeout);
    }

    fn at(&self, seconds: u64) -> Instant {
        self.begun + Duration::from_secs(seconds)
    }

    fn tick(&mut self, seconds: u64) -> (usize, usize) {
        let Ticked { asked, cut } = self.drains.tick(self.at(seconds));
        (asked, cut)
    }

    fn count(&self, asked: Asked) -> usize {
        self.connections.iter().filter(|connection| connection.asked() == asked).count()
    }
}

const CUT: Asked = Asked::Cut(CutReason::DrainDeadline);

#[test]
fn idle_ones_are_asked_evenly_before_the_deadline_and_the_rest_is_cut_at_it_some_at_once() {
    let mut stage = Stage::with(500);
    stage.follow(&[endpoint(2)], 600, 0);
    assert_eq!(stage.tick(569), (0, 0), "they may stay");
    let asked: Vec<usize> = (570..600).map(|second| stage.tick(second).0).collect();
    assert_eq!(asked.iter().sum::<usize>(), 500);
    assert!(asked.iter().all(|asked| *asked <= 500usize.div_ceil(24)), "{asked:?}");
    // Whoever was asked last can still have been quiet for long enough.
    assert_eq!(asked[25..].iter().sum::<usize>(), 0, "{asked:?}");
    assert_eq!([600, 601, 602, 603].map(|second| stage.tick(second).1), [200, 200, 100, 0]);
    assert_eq!(stage.count(CUT), 500);
}

#[test]
fn without_a_timeout_all_are_cut_at_once_and_none_is_asked() {
    let mut stage = Stage::with(3);
    stage.follow(&[endpoint(2)], 0, 0);
    assert_eq!(stage.tick(0), (0, 3));
}

#[test]
fn a_drain_keeps_the_deadline_that_it_began_with() {
    let mut stage = Stage::with(1);
    stage.follow(&[endpoint(2)], 100, 0);
    stage.follow(&[endpoint(3)], 5, 50);
    assert_eq!(stage.endpoint.drain.get().unwrap().deadline, stage.at(100));
}

#[test]
fn one_that_comes_back_is_spared_and_may_drain_anew() {
    let mut stage = Stage::with(10);
    stage.follow(&[endpoint(2)], 10, 0);
    assert!(stage.tick(1).0 > 0);
    stage.follow(&[endpoint(1)], 10, 2);
    assert_eq!(stage.endpoint.drain.get(), None);
    assert_eq!((stage.count(Asked::Nothing), stage.tick(1000)), (10, (0, 0)));
    stage.follow(&[endpoint(2)], 10, 2000);
    assert_eq!(stage.tick(2009).1, 0);
    assert_eq!(stage.tick(2010).1, 10);
}

#[test]
fn what_drains_is_told_with_its_cause_and_its_deadline() {
    let mut stage = Stage::with(2);
    stage.endpoint.open.insert(Arc::new(Connection::new(stage.at(1), Why::Preview)));
    let told = |stage: &Stage, snapshot: &Snapshot| {
        let all = draining(snapshot, &stage.live);
        all.into_iter().map(|d| (d.cause, d.left, d.oldest, d.deadline)).collect::<Vec<_>>()
    };
    let weighted = snapshot(&stage.live, &[endpoint(1)], 1);
    assert_eq!(told(&stage, &weighted), []);
    let zero = snapshot(&stage.live, &[endpoint(1)], 0);
    let begun = Some(stage.begun);
    assert_eq!(told(&stage, &zero), [(DrainCause::Weight, 2, begun, None)], "the preview's stays");
    stage.follow(&[endpoint(2)], 10, 0);
    let gone = snapshot(&stage.live, &[endpoint(2)], 1);
    assert_eq!(told(&stage, &gone), [(DrainCause::Removed, 3, begun, Some(stage.at(10)))]);
    // One that connects yet will be a connection of it.
    let place = crate::state::EndpointPlace::take(&stage.endpoint, None).unwrap();
    let three_more: Vec<_> =
        (0..3).filter_map(|_| crate::state::EndpointPlace::take(&stage.endpoint, None)).collect();
    assert_eq!(told(&stage, &gone)[0].1, 4);
    drop((place, three_more));
}
