//! The course of a connection, without sockets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::model::{Color, OnColorDown, Service, ServiceName};
use crate::state::build::{Addresses, Parts, build};
use crate::state::{Answers, Live, Snapshot};

/// `count` endpoints whose ports begin at `first`.
pub(super) fn endpoints(first: u16, count: u16) -> Vec<SocketAddr> {
    (first..first + count).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

pub(super) fn blue_green(blue: i64, green: i64) -> Vec<Color> {
    vec![color("blue", blue, &endpoints(100, 3)), color("green", green, &endpoints(200, 2))]
}

pub(super) fn snapshot_of(live: &Live, service: Service, before: Option<&Snapshot>) -> Snapshot {
    let previews = vec![Ipv4Addr::new(127, 80, 0, 2); service.colors.len()];
    let addresses = Addresses { vip: Ipv4Addr::new(127, 80, 0, 1), previews };
    let addresses = BTreeMap::from([(service.name.clone(), addresses)]);
    let catalog = Arc::new(catalog(vec![service]));
    let answers = Answers::build(&catalog, &addresses, 1);
    build(&Parts { catalog, addresses: &addresses, answers, live, rotation: 0 }, before)
}

pub(super) fn route(via: Via) -> Route {
    Route { service: ServiceName::parse("a").unwrap(), port: 80, via }
}

pub(super) fn state(snapshot: &Snapshot) -> &ServiceState {
    snapshot.services.values().next().unwrap()
}

pub(super) fn begin(snapshot: &Snapshot, via: Via, retries: u32) -> Course {
    Course::begin(&route(via), &state(snapshot).ports[0], retries).unwrap()
}

/// Everything that a connection tries when every try fails.
pub(super) fn tries(course: &mut Course, service: &ServiceState) -> Vec<(Why, u16)> {
    std::iter::from_fn(|| course.next(service))
        .map(|attempt| (attempt.why, attempt.endpoint.address.port()))
        .collect()
}

/// The same without the reasons.
pub(super) fn all_ports(course: &mut Course, service: &ServiceState) -> Vec<u16> {
    tries(course, service).into_iter().map(|(_, port)| port).collect()
}

fn all_tries(service: Service, retries: u32) -> Vec<(Why, u16)> {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service, None);
    tries(&mut begin(&snapshot, Via::Vip, retries), state(&snapshot))
}

pub(super) fn rejecting(mut service: Service) -> Service {
    service.policy.on_color_down = OnColorDown::Reject;
    service
}

pub(super) fn with_fallback(mut service: Service, from: usize, to: usize) -> Service {
    service.colors[from].fallback = Some(service.colors[to].name.clone());
    service
}

#[test]
fn retries_go_to_each_endpoint_once_and_end_when_all_were_tried() {
    use Why::Weight;
    let only_blue = || service("a", 80, blue_green(100, 0));
    assert_eq!(all_tries(only_blue(), 9), [(Weight, 100), (Weight, 101), (Weight, 102)]);
    assert_eq!(all_tries(only_blue(), 1), [(Weight, 100), (Weight, 101)]);
    assert_eq!(all_tries(only_blue(), 0), [(Weight, 100)]);
}

#[test]
fn a_spill_goes_on_with_the_retries_that_are_left_and_has_one_try_at_least() {
    use Why::{Spill, Weight};
    let service = || service("a", 80, blue_green(100, 1));
    assert_eq!(all_tries(service(), 2), [(Weight, 100), (Weight, 101), (Weight, 102), (Spill, 200)]);
    let all = [(Weight, 100), (Weight, 101), (Weight, 102), (Spill, 200), (Spill, 201)];
    assert_eq!(all_tries(service(), 3), all);
    assert_eq!(all_tries(service(), 0), [(Weight, 100), (Spill, 200)]);
}

#[test]
fn a_spill_tries_the_heaviest_first_and_ties_by_name() {
    let one = |name, weight, port| color(name, weight, &endpoints(port, 1));
    let colors = vec![one("a", 900, 1), one("d", 30, 2), one("c", 30, 3), one("b", 60, 4), one("e", 0, 5)];
    let ports: Vec<u16> = all_tries(service("a", 80, colors), 0).iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [1, 4, 3, 2]);
}

#[test]
fn reject_tries_no_other_color() {
    assert_eq!(all_tries(rejecting(service("a", 80, blue_green(100, 1))), 0), [(Why::Weight, 100)]);
}

#[test]
fn weight_zero_is_not_tried_however_far_down_the_others_are() {
    assert!(all_tries(service("a", 80, blue_green(100, 0)), 9).iter().all(|(_, port)| *port < 200));
}

#[test]
fn a_fallback_comes_after_all_colors_with_weight_and_may_have_weight_zero() {
    use Why::{Fallback, Spill, Weight};
    let mut colors = blue_green(100, 0);
    colors.push(color("red", 1, &endpoints(300, 1)));
    let service = with_fallback(service("a", 80, colors), 0, 1);
    assert_eq!(all_tries(service.clone(), 0), [(Weight, 100), (Spill, 300), (Fallback, 200)]);
    // Another color has weight and may not be tried: it is not known to be down.
    assert_eq!(all_tries(rejecting(service), 0), [(Weight, 100)]);
}

#[test]
fn under_reject_a_fallback_serves_when_no_other_color_has_weight() {
    let service = rejecting(with_fallback(service("a", 80, blue_green(100, 0)), 0, 1));
    assert_eq!(all_tries(service, 0), [(Why::Weight, 100), (Why::Fallback, 200)]);
}

#[test]
fn a_fallback_that_was_tried_as_a_spill_is_not_tried_again() {
    let service = with_fallback(service("a", 80, blue_green(100, 1)), 0, 1);
    assert_eq!(all_tries(service, 0), [(Why::Weight, 100), (Why::Spill, 200)]);
}

#[test]
fn a_color_that_lost_its_weight_meanwhile_is_left_for_one_that_has_it() {
    for service in [service("a", 80, blue_green(100, 0)), rejecting(service("a", 80, blue_green(100, 0)))] {
        let live = Live::default();
        let before = snapshot_of(&live, service.clone(), None);
        let mut course = begin(&before, Via::Vip, 2);
        course.next(state(&before)).unwrap();
        let switched = Service { colors: blue_green(0, 100), ..service };
        let after = snapshot_of(&live, switched, Some(&before));
        let attempt = course.next(state(&after)).unwrap();
        assert_eq!((attempt.why, attempt.color.as_str()), (Why::Spill, "green"));
        assert!(!attempt.weight.is_zero());
    }
}

#[test]
fn an_endpoint_removed_meanwhile_is_skipped_and_a_new_one_tried() {
    let live = Live::default();
    let before = snapshot_of(&live, service("a", 80, blue_green(100, 0)), None);
    let mut course = begin(&before, Via::Vip, 9);
    assert_eq!(course.next(state(&before)).unwrap().endpoint.address.port(), 100);
    let moved = vec![color("blue", 100, &endpoints(102, 2)), color("green", 0, &endpoints(200, 2))];
    let after = snapshot_of(&live, service("a", 80, moved), Some(&before));
    let ports: Vec<u16> = tries(&mut course, state(&after)).iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [102, 103]);
}

#[test]
fn a_preview_stays_in_its_color_at_any_weight() {
    let live = Live::default();
    let service = with_fallback(service("a", 80, blue_green(100, 0)), 1, 0);
    let snapshot = snapshot_of(&live, service, None);
    let mut course = begin(&snapshot, Via::Preview(ColorName::parse("green").unwrap()), 9);
    assert_eq!(tries(&mut course, state(&snapshot)), [(Why::Preview, 200), (Why::Preview, 201)]);
    assert_eq!(course.chosen_live().decisions.load(Ordering::Relaxed), 0);
}

#[test]
fn a_connection_takes_one_turn_of_the_split_whatever_it_tries() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(50, 50)), None);
    for _ in 0..10 {
        tries(&mut begin(&snapshot, Via::Expose, 9), state(&snapshot));
    }
    let port = &state(&snapshot).ports[0];
    assert_eq!(port.split.decided(), 10);
    let decisions = port.colors.iter().map(|color| color.live.decisions.load(Ordering::Relaxed));
    assert_eq!(decisions.collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn all_weights_zero_decide_nothing_even_with_a_fallback() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, with_fallback(service("a", 80, blue_green(0, 0)), 0, 1), None);
    let outcome = Course::begin(&route(Via::Vip), &state(&snapshot).ports[0], 2);
    assert_eq!(outcome.unwrap_err(), ErrorReason::NoWeight);
}

#[test]
fn only_the_first_try_is_no_retry() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(100, 1)), None);
    let mut course = begin(&snapshot, Via::Vip, 1);
    let orders: Vec<_> = std::iter::from_fn(|| course.next(state(&snapshot))).map(|a| a.order).collect();
    assert_eq!(orders, [Order::First, Order::Further, Order::Further]);
}
