//! The course of a connection where checks have something to say.

use super::tests::{
    CLIENT, all_ports, begin, blue_green, endpoints, rejecting, route, snapshot_of, state, tries,
    with_fallback,
};
use super::*;
use crate::model::testing::{color, service};
use crate::model::{HealthCheck, Service};
use crate::state::{HealthState, Live, Snapshot, Verdict};

fn checked(mut service: Service) -> Service {
    service.policy.health = HealthCheck::tcp();
    service
}

fn on_all_down(mut service: Service, what: OnAllDown) -> Service {
    service.policy.on_all_down = what;
    service
}

/// Says of endpoints, by port, what checks would.
fn say(snapshot: &Snapshot, said: HealthState, is_meant: impl Fn(u16) -> bool) {
    for color in &state(snapshot).ports[0].colors {
        for endpoint in color.endpoints.iter().filter(|endpoint| is_meant(endpoint.address.port())) {
            endpoint.live.health.set(Verdict { state: said, against: 0 });
        }
    }
}

fn snapshot_with(live: &Live, service: Service, said: HealthState) -> Snapshot {
    let snapshot = snapshot_of(live, service, None);
    say(&snapshot, said, |_| true);
    snapshot
}

fn course_of(snapshot: &Snapshot, via: Via) -> Course {
    begin(snapshot, via, 9)
}

fn preview(color: &str) -> Via {
    Via::Preview(ColorName::parse(color).unwrap())
}

#[test]
fn promise_5_a_dead_endpoint_gets_nothing_and_the_others_share_its_turns() {
    let live = Live::default();
    let snapshot = snapshot_with(&live, checked(service("a", 80, blue_green(100, 0))), HealthState::Healthy);
    say(&snapshot, HealthState::Unhealthy, |port| port == 101);
    let mut turns = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let attempt = course_of(&snapshot, Via::Vip).next(state(&snapshot)).unwrap();
        *turns.entry(attempt.endpoint.address.port()).or_insert(0) += 1;
    }
    assert_eq!(turns, [(100, 30), (102, 30)].into());
    // Nor is it a retry's last way out.
    assert_eq!(tries(&mut course_of(&snapshot, Via::Vip), state(&snapshot)).len(), 2);
}

#[test]
fn promise_5_no_weight_change_and_no_reload_revives_a_dead_endpoint() {
    let live = Live::default();
    let before = snapshot_with(&live, checked(service("a", 80, blue_green(100, 0))), HealthState::Healthy);
    say(&before, HealthState::Unhealthy, |port| port == 100);
    // Another weight, another place in the list, another weight of the endpoint, a further neighbour.
    let mut moved = color("blue", 1, &[102, 103, 100].map(|port| endpoints(port, 1)[0]));
    moved.endpoints[2].weight = crate::model::EndpointWeight::new(7).unwrap();
    let changed = checked(service("a", 80, vec![moved, color("green", 99, &endpoints(200, 2))]));
    let after = snapshot_of(&live, changed, Some(&before));
    let blue = &state(&after).ports[0].colors[0];
    let states: Vec<_> = blue.endpoints.iter().map(|e| (e.address.port(), e.health())).collect();
    let expected = [(102, HealthState::Healthy), (103, HealthState::Pending), (100, HealthState::Unhealthy)];
    assert_eq!(states, expected);
    for _ in 0..500 {
        let mut course = course_of(&after, Via::Vip);
        assert!(all_ports(&mut course, state(&after)).iter().all(|port| *port != 100));
    }
}

#[test]
fn promise_5_a_pending_endpoint_is_used_only_where_no_checked_one_is_healthy() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, checked(service("a", 80, blue_green(100, 0))), None);
    say(&snapshot, HealthState::Healthy, |port| port == 102);
    for _ in 0..10 {
        let first = course_of(&snapshot, Via::Vip).next(state(&snapshot)).unwrap();
        assert_eq!(first.endpoint.address.port(), 102);
    }
    // It fails: those that nobody has checked are better than none.
    let ports = all_ports(&mut course_of(&snapshot, Via::Vip), state(&snapshot));
    assert_eq!((ports[0], ports.len()), (102, 3));
    say(&snapshot, HealthState::Unhealthy, |port| port == 102);
    for _ in 0..10 {
        let first = course_of(&snapshot, Via::Vip).next(state(&snapshot)).unwrap();
        assert!([100, 101].contains(&first.endpoint.address.port()));
    }
}

#[test]
fn a_color_that_is_down_spills_without_a_try_and_without_another_turn_of_the_split() {
    let live = Live::default();
    let snapshot = snapshot_with(&live, checked(service("a", 80, blue_green(100, 1))), HealthState::Healthy);
    say(&snapshot, HealthState::Unhealthy, |port| port < 200);
    let mut course = begin(&snapshot, Via::Vip, 0);
    let attempt = course.next(state(&snapshot)).unwrap();
    assert_eq!((attempt.why, attempt.order), (Why::Spill, Order::First));
    assert_eq!((course.chosen().as_str(), attempt.color.as_str()), ("blue", "green"));
    assert!(course.next(state(&snapshot)).is_none());
    assert_eq!(state(&snapshot).ports[0].split.decided(), 1);
}

#[test]
fn a_color_that_is_down_is_refused_where_nothing_may_take_over() {
    let live = Live::default();
    let service = checked(rejecting(service("a", 80, blue_green(100, 1))));
    let snapshot = snapshot_with(&live, service, HealthState::Healthy);
    say(&snapshot, HealthState::Unhealthy, |port| port < 200);
    let mut course = course_of(&snapshot, Via::Vip);
    assert!(course.next(state(&snapshot)).is_none(), "green works, so this is no broken checker");
    assert_eq!(course.refusal(None), ErrorReason::Down);
}

#[test]
fn promise_6_a_color_that_was_down_is_tried_when_it_is_back_and_nobody_else_is_left() {
    let live = Live::default();
    let snapshot = snapshot_with(&live, checked(service("a", 80, blue_green(100, 1))), HealthState::Healthy);
    say(&snapshot, HealthState::Unhealthy, |port| port == 201 || port < 200);
    let mut course = begin(&snapshot, Via::Vip, 0);
    assert_eq!(course.next(state(&snapshot)).unwrap().endpoint.address.port(), 200);
    say(&snapshot, HealthState::Healthy, |port| port == 101);
    let back = course.next(state(&snapshot)).unwrap();
    assert_eq!((back.why, back.order, back.endpoint.address.port()), (Why::Weight, Order::NextColor, 101));
    assert!(course.next(state(&snapshot)).is_none());
}

#[test]
fn promise_6_who_did_not_answer_and_was_down_for_a_while_is_tried_again() {
    let live = Live::default();
    let service = checked(service("a", 80, vec![color("blue", 1, &endpoints(100, 3))]));
    let snapshot = snapshot_with(&live, service, HealthState::Healthy);
    let mut course = course_of(&snapshot, Via::Vip);
    let first = course.next(state(&snapshot)).unwrap();
    course.note_unanswered(&first);
    let silent = first.endpoint.address;
    let second = course.next(state(&snapshot)).unwrap();
    course.note_unanswered(&second);
    say(&snapshot, HealthState::Unhealthy, |port| port != second.endpoint.address.port());
    assert_eq!(course.next(state(&snapshot)).unwrap().endpoint.address, second.endpoint.address);
    say(&snapshot, HealthState::Healthy, |port| port == silent.port());
    assert_eq!(course.next(state(&snapshot)).unwrap().endpoint.address, silent);
}

#[test]
fn under_reject_a_fallback_serves_when_every_color_with_weight_is_down() {
    let live = Live::default();
    let mut colors = blue_green(100, 1);
    colors.push(color("red", 0, &endpoints(300, 1)));
    let service = with_fallback(rejecting(checked(service("a", 80, colors))), 0, 2);
    let snapshot = snapshot_with(&live, service, HealthState::Healthy);
    say(&snapshot, HealthState::Unhealthy, |port| port < 200);
    assert!(course_of(&snapshot, Via::Vip).next(state(&snapshot)).is_none(), "green works");
    say(&snapshot, HealthState::Unhealthy, |port| port < 300);
    let mut course = course_of(&snapshot, Via::Vip);
    assert_eq!(course.next(state(&snapshot)).unwrap().why, Why::Fallback);
}

#[test]
fn when_all_is_down_everything_with_weight_is_tried_all_the_same_and_counted() {
    use Why::{Spill, Weight};
    let live = Live::default();
    let snapshot =
        snapshot_with(&live, checked(service("a", 80, blue_green(100, 1))), HealthState::Unhealthy);
    let tried = tries(&mut course_of(&snapshot, Via::Vip), state(&snapshot));
    assert_eq!(tried, [(Weight, 100), (Weight, 101), (Weight, 102), (Spill, 200), (Spill, 201)]);
    let counted = state(&snapshot).ports[0].colors.iter();
    let counted: Vec<u64> =
        counted.map(|color| color.live.all_down_tries().load(Ordering::Relaxed)).collect();
    assert_eq!(counted, [3, 2]);
    assert!(state(&snapshot).ports[0].is_down());
}

#[test]
fn promise_8_when_all_is_down_reject_refuses_at_once() {
    let live = Live::default();
    let service = on_all_down(checked(service("a", 80, blue_green(100, 1))), OnAllDown::Reject);
    let snapshot = snapshot_with(&live, service, HealthState::Unhealthy);
    for via in [Via::Vip, Via::Expose, preview("blue")] {
        let mut course = course_of(&snapshot, via);
        assert!(course.next(state(&snapshot)).is_none());
        assert_eq!(course.refusal(None), ErrorReason::Down);
    }
}

#[test]
fn a_fallback_that_works_comes_before_trying_what_is_down_and_is_tried_once() {
    use Why::{Fallback, Weight};
    let live = Live::default();
    let service = checked(with_fallback(service("a", 80, blue_green(100, 0)), 0, 1));
    let snapshot = snapshot_with(&live, service, HealthState::Unhealthy);
    say(&snapshot, HealthState::Healthy, |port| port == 200);
    let tried = tries(&mut course_of(&snapshot, Via::Vip), state(&snapshot));
    assert_eq!(tried, [(Fallback, 200), (Weight, 100), (Weight, 101), (Weight, 102)]);
}

#[test]
fn promise_2_weight_zero_gets_nothing_however_far_down_the_others_are() {
    let live = Live::default();
    for what in [OnAllDown::Try, OnAllDown::Reject] {
        let service = on_all_down(checked(service("a", 80, blue_green(100, 0))), what);
        let snapshot = snapshot_with(&live, service, HealthState::Unhealthy);
        say(&snapshot, HealthState::Healthy, |port| port >= 200);
        let ports = all_ports(&mut course_of(&snapshot, Via::Vip), state(&snapshot));
        assert!(ports.iter().all(|port| *port < 200), "{ports:?}");
    }
}

#[test]
fn a_preview_obeys_health_and_tries_its_color_when_all_of_it_is_down() {
    let live = Live::default();
    let snapshot = snapshot_with(&live, checked(service("a", 80, blue_green(100, 0))), HealthState::Healthy);
    say(&snapshot, HealthState::Unhealthy, |port| port == 200);
    let green = || course_of(&snapshot, preview("green"));
    assert_eq!(all_ports(&mut green(), state(&snapshot)), [201]);
    say(&snapshot, HealthState::Unhealthy, |port| port == 201);
    let mut ports = all_ports(&mut green(), state(&snapshot));
    ports.sort_unstable();
    assert_eq!(ports, [200, 201]);
}

#[test]
fn without_checks_health_does_not_count() {
    let live = Live::default();
    let snapshot = snapshot_with(&live, service("a", 80, blue_green(100, 0)), HealthState::Unhealthy);
    assert_eq!(all_ports(&mut course_of(&snapshot, Via::Vip), state(&snapshot)).len(), 3);
    assert!(!state(&snapshot).ports[0].is_down());
    assert_eq!(
        Course::begin(&route(Via::Vip), &state(&snapshot).ports[0], (CLIENT, None), 0).unwrap().refusal(None),
        ErrorReason::Removed
    );
}

/// Ejects endpoints, by port.
fn eject(snapshot: &Snapshot, is_meant: impl Fn(u16) -> bool) {
    let until = Some(std::time::Instant::now());
    for color in &state(snapshot).ports[0].colors {
        for endpoint in color.endpoints.iter().filter(|endpoint| is_meant(endpoint.address.port())) {
            let record = crate::state::EjectionRecord { until, ..Default::default() };
            endpoint.live.outlier.note(record);
        }
    }
}

#[test]
fn an_ejected_endpoint_gets_nothing_while_another_is_left_and_comes_before_those_that_are_down() {
    let live = Live::default();
    let snapshot = snapshot_with(&live, checked(service("a", 80, blue_green(100, 0))), HealthState::Healthy);
    eject(&snapshot, |port| port == 100);
    say(&snapshot, HealthState::Pending, |port| port == 101);
    assert_eq!(all_ports(&mut course_of(&snapshot, Via::Vip), state(&snapshot)), [102, 101]);
    // Nothing else is left: all the same, the ejected one first.
    say(&snapshot, HealthState::Unhealthy, |port| port == 101 || port == 102);
    assert!(state(&snapshot).ports[0].is_down());
    let ports = all_ports(&mut course_of(&snapshot, Via::Vip), state(&snapshot));
    assert_eq!((ports[0], ports.len()), (100, 3));
}

#[test]
fn promise_6_who_turns_healthy_between_two_looks_is_tried() {
    let live = Live::default();
    for (via, weights) in [(Via::Vip, (100, 0)), (Via::Vip, (1, 1)), (preview("blue"), (100, 0))] {
        let service = checked(service("a", 80, blue_green(weights.0, weights.1)));
        let snapshot = snapshot_with(&live, service, HealthState::Unhealthy);
        let (service, mut course) = (state(&snapshot), course_of(&snapshot, via));
        // What `next` does, one look after the other.
        assert!(course.next_in_leg(service, &service.ports[0]).is_none());
        say(&snapshot, HealthState::Healthy, |port| port == 101);
        assert!(course.last_resort(service, &service.ports[0]).is_some());
        assert_eq!(course.refusal(None), ErrorReason::Down);
    }
}

#[test]
fn promise_6_a_pick_decides_by_one_look_at_each_endpoint() {
    let live = Live::default();
    let service = checked(service("a", 80, vec![color("blue", 1, &endpoints(100, 1))]));
    let snapshot = snapshot_with(&live, service, HealthState::Pending);
    let blue = &state(&snapshot).ports[0].colors[0];
    let changes = [(Standing::Unknown, Standing::Works), (Standing::Works, Standing::Unknown)];
    for ((first, then), after) in changes.into_iter().flat_map(|change| (0..4).map(move |n| (change, n))) {
        let looks = Cell::new(0);
        let standing = |_| {
            looks.set(looks.get() + 1);
            Some(if looks.get() <= after { first } else { then })
        };
        let mut course = course_of(&snapshot, Via::Vip);
        assert_eq!(course.pick(blue, &standing), Some(0), "{first:?}, then {then:?} after {after} looks");
    }
}
