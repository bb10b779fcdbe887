//! The course of a connection whose caller has a lane.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::tests::{CLIENT, all_ports, blue_green, endpoints, rejecting, route, tries, with_fallback};
use super::*;
use crate::model::testing::{catalog, color, service};
use crate::model::{App, AppName, LaneMode, Service, ServiceName};
use crate::state::build::{Addresses, Parts, build};
use crate::state::release::Phase;
use crate::state::release_testing::release;
use crate::state::releases::Releases;
use crate::state::{Answers, Live, Snapshot};

/// Service "a" with what calls it: `CLIENT` is green's only endpoint there.
fn snapshot_of(live: &Live, a: Service, mode: Option<LaneMode>, before: Option<&Snapshot>) -> Snapshot {
    let name = |text| ServiceName::parse(text).unwrap();
    let app = AppName::parse("shop").unwrap();
    let mut caller = service(
        "b",
        80,
        vec![color("blue", 1, &endpoints(1, 1)), color("green", 0, &[SocketAddr::new(CLIENT, 9)])],
    );
    caller.depends_on = vec![name("a")];
    let mut catalog = catalog(vec![a, caller]);
    let lanes = mode.unwrap_or(LaneMode::Require);
    catalog.apps.insert(app, App { services: vec![name("a"), name("b")], lanes });
    let address =
        || Addresses { vip: Ipv4Addr::new(127, 80, 0, 1), previews: vec![Ipv4Addr::new(127, 80, 0, 2); 3] };
    let addresses = BTreeMap::from([(name("a"), address()), (name("b"), address())]);
    let answers = Answers::build(&catalog, &BTreeMap::new(), 1);
    // Without a mode no release is open.
    let mut releases = Releases::default();
    if mode.is_some() {
        releases.note(release(&["a", "b"], Phase::Baking));
    }
    let releases = Arc::new(releases);
    let catalog = Arc::new(catalog);
    build(&Parts { catalog, addresses: &addresses, answers, live, rotation: 0, releases }, before)
}

fn a(snapshot: &Snapshot) -> &ServiceState {
    &snapshot.services["a"]
}

fn begin(snapshot: &Snapshot, via: Via, retries: u32) -> Result<Course, ErrorReason> {
    let lane = a(snapshot).inbound.lanes.as_ref().map(|lanes| lanes.lane(CLIENT));
    let lane = match lane {
        Some(crate::state::Lane::Color(color)) => Some(color),
        _ => None,
    };
    Course::begin(&route(via), &a(snapshot).ports[0], (CLIENT, lane), retries)
}

fn in_lane(snapshot: &Snapshot) -> Course {
    let course = begin(snapshot, Via::Vip, 2).unwrap();
    assert_eq!((course.chosen().as_str(), course.chosen_why()), ("green", Why::Lane));
    course
}

fn decided(snapshot: &Snapshot) -> (u64, Vec<u64>) {
    let port = &a(snapshot).ports[0];
    let decisions = port.colors.iter().map(|color| color.live.decisions.load(Ordering::Relaxed));
    (port.split.decided(), decisions.collect())
}

#[test]
fn promise_2_a_lane_reaches_weight_zero_while_its_release_is_open_and_not_after() {
    for mode in [LaneMode::Prefer, LaneMode::Require] {
        let live = Live::default();
        let open = snapshot_of(&live, service("a", 80, blue_green(100, 0)), Some(mode), None);
        assert_eq!(tries(&mut in_lane(&open), a(&open))[..2], [(Why::Lane, 200), (Why::Lane, 201)]);
        let mut course = in_lane(&open);
        let first = course.next(a(&open)).unwrap();
        course.note_unanswered(&first);
        let closed = snapshot_of(&live, service("a", 80, blue_green(100, 0)), None, Some(&open));
        // Decided before it closed, tried after.
        let rest = tries(&mut course, a(&closed));
        assert!(
            !rest.is_empty() && rest.iter().all(|(why, port)| *why == Why::Weight && *port < 200),
            "{rest:?}"
        );
        assert_eq!(begin(&closed, Via::Vip, 0).unwrap().chosen().as_str(), "blue");
        let off = snapshot_of(&live, service("a", 80, blue_green(100, 0)), Some(LaneMode::Off), Some(&open));
        assert_eq!(begin(&off, Via::Vip, 0).unwrap().chosen_why(), Why::Weight);
    }
}

#[test]
fn promise_1_lanes_take_no_turn() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(97, 3)), Some(LaneMode::Prefer), None);
    let port = &a(&snapshot).ports[0];
    for split in 1..=1000_u64 {
        for _ in 0..split % 3 {
            in_lane(&snapshot).next(a(&snapshot)).unwrap();
        }
        let other = Course::begin(&route(Via::Vip), port, (Ipv4Addr::new(192, 0, 2, 9).into(), None), 0);
        other.unwrap().next(a(&snapshot)).unwrap();
        let (turns, colors) = decided(&snapshot);
        assert_eq!((turns, colors.iter().sum::<u64>()), (split, split));
        // Two colors stay within half a connection of their share.
        assert!((200 * colors[1]).abs_diff(6 * split) <= 100, "{} of {split}", colors[1]);
    }
    assert_eq!(decided(&snapshot).1, [970, 30]);
}

#[test]
fn prefer_is_split_once_when_nothing_of_its_color_works() {
    use Why::{Lane, Weight};
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(100, 0)), Some(LaneMode::Prefer), None);
    let mut course = in_lane(&snapshot);
    let all = tries(&mut course, a(&snapshot));
    assert_eq!(all, [(Lane, 200), (Lane, 201), (Weight, 100), (Weight, 101)], "two retries in all");
    assert_eq!((course.chosen().as_str(), course.refusal(None)), ("blue", ErrorReason::Removed));
    assert_eq!(decided(&snapshot).1, [1, 0]);
    let green = &a(&snapshot).ports[0].colors[1].live;
    assert_eq!(green.lane_fallbacks().load(Ordering::Relaxed), 1);
}

#[test]
fn prefer_that_is_split_to_the_color_of_its_lane_tries_nobody_twice() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(1, 1)), Some(LaneMode::Prefer), None);
    for _ in 0..2 {
        let mut course = begin(&snapshot, Via::Vip, 9).unwrap();
        let mut ports = all_ports(&mut course, a(&snapshot));
        assert!(ports[..2].iter().all(|port| *port >= 200), "{ports:?}");
        ports.sort_unstable();
        assert_eq!(ports, [100, 101, 102, 200, 201]);
    }
    assert_eq!(decided(&snapshot).1, [1, 1]);
    // What `on_color_down` says holds for what the split says, and so for its color alone.
    let live = Live::default();
    let a_rejecting = rejecting(service("a", 80, blue_green(1, 1)));
    let snapshot = snapshot_of(&live, a_rejecting, Some(LaneMode::Prefer), None);
    let both = || all_ports(&mut begin(&snapshot, Via::Vip, 9).unwrap(), a(&snapshot)).len();
    assert_eq!([both(), both()].iter().sum::<usize>(), 2 + 5);
}

#[test]
fn require_is_refused_when_nothing_of_its_color_works() {
    let live = Live::default();
    let a_service = with_fallback(service("a", 80, blue_green(100, 100)), 1, 0);
    let snapshot = snapshot_of(&live, a_service, Some(LaneMode::Require), None);
    let mut course = in_lane(&snapshot);
    assert_eq!(tries(&mut course, a(&snapshot)), [(Why::Lane, 200), (Why::Lane, 201)]);
    assert_eq!(course.refusal(Some(ErrorReason::Refused)), ErrorReason::Lane);
    assert_eq!(decided(&snapshot), (0, vec![0, 0]));
}

#[test]
fn promise_8_a_lane_without_anybody_is_refused_while_all_weights_are_zero() {
    let live = Live::default();
    let a_service = with_fallback(service("a", 80, blue_green(0, 0)), 1, 0);
    let snapshot = snapshot_of(&live, a_service, Some(LaneMode::Prefer), None);
    let mut course = in_lane(&snapshot);
    assert_eq!(all_ports(&mut course, a(&snapshot)), [200, 201]);
    assert!(course.next(a(&snapshot)).is_none());
    assert_eq!(course.refusal(None), ErrorReason::NoWeight);
}

#[test]
fn previews_have_no_lane_and_affinity_comes_after_it() {
    let live = Live::default();
    let mut sticky = service("a", 80, blue_green(100, 0));
    sticky.policy.affinity = crate::model::Affinity::SourceIp;
    let snapshot = snapshot_of(&live, sticky, Some(LaneMode::Require), None);
    let blue = Via::Preview(ColorName::parse("blue").unwrap());
    assert_eq!(begin(&snapshot, blue, 0).unwrap().chosen_why(), Why::Preview);
    in_lane(&snapshot);
    assert_eq!(begin(&snapshot, Via::Expose, 0).unwrap().chosen_why(), Why::Lane);
    assert_eq!(decided(&snapshot).1, [0, 0]);
}
