//! The course of a connection, without sockets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::model::{Affinity, Balance, Color, OnColorDown, Service, ServiceName};
use crate::state::build::{Addresses, Parts, build};
use crate::state::{Answers, Live, Snapshot};

/// `count` endpoints whose ports begin at `first`.
pub(in crate::proxy) fn endpoints(first: u16, count: u16) -> Vec<SocketAddr> {
    (first..first + count).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

pub(super) fn blue_green(blue: i64, green: i64) -> Vec<Color> {
    vec![color("blue", blue, &endpoints(100, 3)), color("green", green, &endpoints(200, 2))]
}

pub(in crate::proxy) fn snapshot_of(live: &Live, service: Service, before: Option<&Snapshot>) -> Snapshot {
    let previews = vec![Ipv4Addr::new(127, 80, 0, 2); service.colors.len()];
    let addresses = Addresses { vip: Ipv4Addr::new(127, 80, 0, 1), previews };
    let addresses = BTreeMap::from([(service.name.clone(), addresses)]);
    let catalog = Arc::new(catalog(vec![service]));
    let answers = Answers::build(&catalog, &addresses, 1);
    build(
        &Parts { catalog, addresses: &addresses, answers, releases: Arc::default(), live, rotation: 0 },
        before,
    )
}

pub(super) fn route(via: Via) -> Route {
    Route { service: ServiceName::parse("a").unwrap(), port: 80, via }
}

pub(in crate::proxy) fn state(snapshot: &Snapshot) -> &ServiceState {
    snapshot.services.values().next().unwrap()
}

pub(in crate::proxy) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

pub(in crate::proxy) fn begin_from(client: IpAddr, snapshot: &Snapshot, via: Via, retries: u32) -> Course {
    Course::begin(&route(via), &state(snapshot).ports[0], (client, None), retries).unwrap()
}

pub(super) fn begin(snapshot: &Snapshot, via: Via, retries: u32) -> Course {
    begin_from(CLIENT, snapshot, via, retries)
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
fn promise_6_retries_go_to_each_endpoint_once_and_end_when_all_were_tried() {
    use Why::Weight;
    let only_blue = || service("a", 80, blue_green(100, 0));
    assert_eq!(all_tries(only_blue(), 9), [(Weight, 100), (Weight, 101), (Weight, 102)]);
    assert_eq!(all_tries(only_blue(), 1), [(Weight, 100), (Weight, 101)]);
    assert_eq!(all_tries(only_blue(), 0), [(Weight, 100)]);
}

#[test]
fn promise_6_who_did_not_answer_is_tried_again_when_nobody_else_is_left() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, vec![color("blue", 1, &endpoints(100, 2))]), None);
    let mut course = begin(&snapshot, Via::Vip, 3);
    let mut tried = Vec::new();
    // The first endpoint never answers, the second refuses.
    while let Some(attempt) = course.next(state(&snapshot)) {
        tried.push(attempt.endpoint.address);
        if attempt.endpoint.address == tried[0] {
            course.note_unanswered(&attempt);
        }
    }
    assert_eq!(tried.len(), 4, "one try and three retries");
    assert!(tried[1] != tried[0] && tried[2] == tried[0] && tried[3] == tried[0]);
}

#[test]
fn promise_2_who_did_not_answer_is_not_tried_again_once_its_color_lost_its_weight() {
    let live = Live::default();
    let before = snapshot_of(&live, service("a", 80, blue_green(1, 0)), None);
    let mut course = begin(&before, Via::Vip, 9);
    while let Some(attempt) = course.next(state(&before)) {
        course.note_unanswered(&attempt);
        if course.retries_left == 5 {
            break;
        }
    }
    let after = snapshot_of(&live, service("a", 80, blue_green(0, 0)), Some(&before));
    assert!(course.next(state(&after)).is_none());
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
fn promise_2_weight_zero_is_not_tried_however_far_down_the_others_are() {
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
fn promise_2_a_color_that_lost_its_weight_meanwhile_is_left_for_one_that_has_it() {
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
fn promise_1_vip_and_expose_share_one_sequence_and_each_port_has_its_own() {
    let live = Live::default();
    let mut both = service("a", 80, blue_green(2, 1));
    both.ports.push(crate::model::Port { listen: 81, ..both.ports[0].clone() });
    let snapshot = snapshot_of(&live, both, None);
    let chosen = |port: usize, via| {
        let route = Route { port: 80 + u16::try_from(port).unwrap(), ..route(via) };
        Course::begin(&route, &state(&snapshot).ports[port], (CLIENT, None), 0).unwrap().chosen().to_string()
    };
    // Previews take no turn, and what happens on one port is nothing to the other.
    let green = || Via::Preview(ColorName::parse("green").unwrap());
    let in_turn = || [chosen(0, Via::Vip), chosen(0, green()), chosen(0, Via::Expose), chosen(0, Via::Vip)];
    let first = in_turn();
    assert_eq!(first[1], "green");
    assert_eq!([&first[0], &first[2], &first[3]].into_iter().filter(|color| *color == "blue").count(), 2);
    let other = [chosen(1, Via::Expose), chosen(1, Via::Vip), chosen(1, Via::Expose)];
    assert_eq!(other.as_slice(), [&first[0], &first[2], &first[3]].map(Clone::clone));
}

#[test]
fn promise_2_a_fallback_that_is_none_any_more_is_not_tried_further() {
    let live = Live::default();
    let before = with_fallback(service("a", 80, blue_green(100, 0)), 0, 1);
    let before = snapshot_of(&live, before, None);
    let mut course = begin(&before, Via::Vip, 4);
    let last = std::iter::from_fn(|| course.next(state(&before))).take(4).last().unwrap();
    assert_eq!((last.why, last.color.as_str()), (Why::Fallback, "green"));
    course.note_unanswered(&last);
    let after = snapshot_of(&live, service("a", 80, blue_green(100, 0)), Some(&before));
    assert!(course.next(state(&after)).is_none(), "nobody says that green may have it");
}

#[test]
fn promise_6_an_endpoint_removed_meanwhile_is_skipped_and_a_new_one_tried() {
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
fn promise_8_all_weights_zero_decide_nothing_even_with_a_fallback() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, with_fallback(service("a", 80, blue_green(0, 0)), 0, 1), None);
    let outcome = Course::begin(&route(Via::Vip), &state(&snapshot).ports[0], (CLIENT, None), 2);
    assert_eq!(outcome.unwrap_err(), ErrorReason::NoWeight);
}

#[test]
fn retries_stay_in_a_color() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(100, 1)), None);
    let mut course = begin(&snapshot, Via::Vip, 1);
    let orders: Vec<_> = std::iter::from_fn(|| course.next(state(&snapshot))).map(|a| a.order).collect();
    assert_eq!(orders, [Order::First, Order::Retry, Order::NextColor]);
}

#[test]
fn a_retry_that_the_budget_refuses_was_no_try() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, service("a", 80, blue_green(100, 1)), None);
    let mut course = begin(&snapshot, Via::Vip, 2);
    let first = course.next(state(&snapshot)).unwrap();
    let refused = course.next(state(&snapshot)).unwrap();
    course.refuse_retry(refused.order);
    assert_eq!((course.tries(), course.last().2), (1, Some(first.endpoint.address)));
    // One that did not answer in time was tried all the same.
    let mut course = begin(&snapshot, Via::Preview(ColorName::parse("green").unwrap()), 2);
    let tried: Vec<_> = (0..2).map_while(|_| course.next(state(&snapshot))).collect();
    for attempt in &tried {
        course.note_unanswered(attempt);
    }
    let again = course.next(state(&snapshot)).unwrap();
    course.refuse_retry(again.order);
    assert_eq!((course.tries(), course.last().2), (2, Some(tried[1].endpoint.address)));
}

fn balanced(balance: Balance, count: u16) -> Service {
    let mut service = service("a", 80, vec![color("blue", 1, &endpoints(100, count))]);
    service.policy.balance = balance;
    service
}

fn claims(snapshot: &Snapshot) -> Vec<u32> {
    state(snapshot).ports[0].colors[0].endpoints.iter().map(|endpoint| endpoint.live.places.taken()).collect()
}

#[test]
fn least_connections_counts_from_the_pick_until_the_end_of_a_try() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, balanced(Balance::LeastConnections, 8), None);
    // A burst: nobody has connected yet when the last one is decided.
    let mut burst = Vec::new();
    for _ in 0..800 {
        burst.push(begin(&snapshot, Via::Vip, 0).next(state(&snapshot)).unwrap());
    }
    let busy = claims(&snapshot);
    assert!(busy.iter().all(|claims| (97..=103).contains(claims)), "{busy:?}");
    drop(burst);
    assert_eq!(claims(&snapshot), [0; 8]);
}

#[test]
fn source_hash_sends_a_client_to_one_endpoint_at_any_time() {
    let live = Live::default();
    let before = snapshot_of(&live, balanced(Balance::SourceHash, 8), None);
    let after = snapshot_of(&live, balanced(Balance::SourceHash, 7), Some(&before));
    for client in 0..200u8 {
        let course = |snapshot| begin_from(Ipv4Addr::new(192, 0, 2, client).into(), snapshot, Via::Vip, 9);
        let tries_before = tries(&mut course(&before), state(&before));
        assert_eq!(tries_before, tries(&mut course(&before), state(&before)));
        assert_eq!(tries_before.len(), 8);
        // The last endpoint leaves: everybody's order stays as it was without it.
        let left: Vec<_> = tries_before.into_iter().filter(|(_, port)| *port != 107).collect();
        assert_eq!(tries(&mut course(&after), state(&after)), left);
    }
}

#[test]
fn another_balance_is_another_pick_and_the_same_one_is_kept() {
    let live = Live::default();
    let pick = |snapshot: &Snapshot| Arc::clone(&state(snapshot).ports[0].colors[0].pick);
    let turns = snapshot_of(&live, balanced(Balance::RoundRobin, 3), None);
    let hashed = snapshot_of(&live, balanced(Balance::SourceHash, 3), Some(&turns));
    assert_eq!(pick(&hashed).balance(), Balance::SourceHash);
    let mut patient = balanced(Balance::SourceHash, 3);
    patient.policy.retries = 9;
    let same = snapshot_of(&live, patient, Some(&hashed));
    assert!(Arc::ptr_eq(&pick(&hashed), &pick(&same)));
    // Another address is another endpoint, whatever its place in the list.
    let mut moved = balanced(Balance::SourceHash, 3);
    moved.colors = vec![color("blue", 1, &endpoints(101, 3))];
    assert!(!Arc::ptr_eq(&pick(&hashed), &pick(&snapshot_of(&live, moved, Some(&same)))));
}

fn sticky(mut service: Service) -> Service {
    service.policy.affinity = Affinity::SourceIp;
    service
}

#[test]
fn affinity_chooses_by_client_takes_no_turn_and_is_counted() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, sticky(service("a", 80, blue_green(50, 50))), None);
    let port = &state(&snapshot).ports[0];
    let mut colors = BTreeMap::<String, u32>::new();
    for client in 0..250u8 {
        let chosen = || {
            let mut course = begin_from(Ipv4Addr::new(192, 0, 2, client).into(), &snapshot, Via::Expose, 0);
            assert_eq!(course.next(state(&snapshot)).unwrap().why, Why::Affinity);
            course.chosen().to_string()
        };
        let color = chosen();
        assert!((0..3).all(|_| chosen() == color));
        *colors.entry(color).or_default() += 1;
    }
    assert!(colors.values().all(|clients| (90..=160).contains(clients)), "{colors:?}");
    assert_eq!(port.split.decided(), 0);
    let decisions = port.colors.iter().map(|color| color.live.decisions.load(Ordering::Relaxed));
    assert_eq!(decisions.sum::<u64>(), 1000);
}

#[test]
fn promise_2_affinity_obeys_weight_zero_and_spills_like_the_split() {
    let live = Live::default();
    let half = snapshot_of(&live, sticky(service("a", 80, blue_green(1, 1))), None);
    let blue = snapshot_of(&live, sticky(service("a", 80, blue_green(1, 0))), Some(&half));
    for client in 0..250u8 {
        let client = Ipv4Addr::new(192, 0, 2, client).into();
        let all = tries(&mut begin_from(client, &half, Via::Vip, 1), state(&half));
        let whys: Vec<_> = all.into_iter().map(|(why, _)| why).collect();
        assert_eq!(whys, [Why::Affinity, Why::Affinity, Why::Spill]);
        // Decided before the change, tried after it.
        let mut course = begin_from(client, &half, Via::Vip, 0);
        let why = if course.chosen().as_str() == "blue" { Why::Affinity } else { Why::Spill };
        let attempt = course.next(state(&blue)).unwrap();
        assert_eq!((attempt.why, attempt.color.as_str()), (why, "blue"));
        assert_eq!(begin_from(client, &blue, Via::Vip, 0).chosen().as_str(), "blue");
    }
    let none = snapshot_of(&live, sticky(service("a", 80, blue_green(0, 0))), None);
    let outcome = Course::begin(&route(Via::Vip), &state(&none).ports[0], (CLIENT, None), 2);
    assert_eq!(outcome.unwrap_err(), ErrorReason::NoWeight);
}

fn at_most(max: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(max)
}

/// What the next connection tries first, and its place there while it is held.
fn first_try(snapshot: &Snapshot) -> Result<Attempt, ErrorReason> {
    let mut course = begin(snapshot, Via::Vip, 2);
    course.next(state(snapshot)).ok_or_else(|| course.refusal(None))
}

fn port_of(attempt: &Attempt) -> u16 {
    attempt.endpoint.address.port()
}

#[test]
fn a_color_at_its_limit_is_as_if_it_were_down() {
    let live = Live::default();
    let limited = |mut service: Service| {
        service.colors[0].max_connections = at_most(1);
        service
    };
    let spilling = snapshot_of(&live, limited(service("a", 80, blue_green(1000, 1))), None);
    let held = first_try(&spilling).unwrap();
    let spilled = first_try(&spilling).unwrap();
    assert_eq!((held.color.as_str(), spilled.color.as_str(), spilled.why), ("blue", "green", Why::Spill));
    let rejecting = rejecting(limited(service("a", 80, blue_green(1000, 1))));
    let rejecting = snapshot_of(&live, rejecting, Some(&spilling));
    assert_eq!(first_try(&rejecting).unwrap_err(), ErrorReason::LimitColor);
    let fallback = with_fallback(limited(service("a", 80, blue_green(100, 0))), 0, 1);
    let fallback = snapshot_of(&live, fallback, Some(&rejecting));
    assert_eq!(first_try(&fallback).unwrap().why, Why::Fallback);
    let alone = snapshot_of(&live, limited(service("a", 80, blue_green(100, 0))), Some(&fallback));
    assert_eq!(first_try(&alone).unwrap_err(), ErrorReason::LimitColor);
    drop(held);
    assert_eq!(first_try(&alone).unwrap().why, Why::Weight);
}

#[test]
fn an_endpoint_at_its_limit_is_not_picked() {
    let live = Live::default();
    let mut service = service("a", 80, blue_green(100, 0));
    service.policy.limits.endpoint = at_most(1);
    let snapshot = snapshot_of(&live, service, None);
    let mut held: Vec<_> = (0..3).map(|_| first_try(&snapshot).unwrap()).collect();
    let mut ports: Vec<_> = held.iter().map(port_of).collect();
    ports.sort_unstable();
    assert_eq!(ports, [100, 101, 102]);
    assert_eq!(first_try(&snapshot).unwrap_err(), ErrorReason::LimitEndpoint);
    let free = port_of(&held.pop().unwrap());
    assert_eq!(port_of(&first_try(&snapshot).unwrap()), free);
}

#[test]
fn a_color_s_limit_counts_all_ports_of_the_service() {
    let live = Live::default();
    let mut service = service("a", 80, blue_green(100, 0));
    service.ports.push(crate::model::Port { listen: 81, ..service.ports[0].clone() });
    service.colors[0].max_connections = at_most(1);
    let snapshot = snapshot_of(&live, service, None);
    let _held = first_try(&snapshot).unwrap();
    let other = Route { port: 81, ..route(Via::Vip) };
    let mut course = Course::begin(&other, &state(&snapshot).ports[1], (CLIENT, None), 2).unwrap();
    assert!(course.next(state(&snapshot)).is_none());
    assert_eq!(course.refusal(None), ErrorReason::LimitColor);
}

#[test]
fn a_try_that_failed_gives_its_places_back() {
    let live = Live::default();
    let mut service = service("a", 80, blue_green(100, 0));
    (service.policy.limits.endpoint, service.colors[0].max_connections) = (at_most(1), at_most(1));
    let snapshot = snapshot_of(&live, service, None);
    for _ in 0..3 {
        assert_eq!(tries(&mut begin(&snapshot, Via::Vip, 9), state(&snapshot)).len(), 3);
    }
}
