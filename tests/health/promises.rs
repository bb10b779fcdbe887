//! Promises 5, 6 and 8 where checks have something to say, over sockets.

use std::time::{Duration, Instant};

use teal::model::{CheckKind, Color, OnAllDown, Service};
use teal::state::ErrorReason;
use teal::state::HealthState::{Healthy, Pending, Unhealthy};

use crate::checker::{Answering, Checker, Switch, Then, checked, get, health, often, until};
use crate::support::{Backend, Down, House, ask, assert_refused, blue, eventually, green};

/// A check that is done once and then not for an hour.
fn once(kind: CheckKind) -> teal::model::ActiveCheck {
    let mut check = often(kind);
    check.interval = Duration::from_secs(3600);
    check
}

#[test]
fn promise_5_no_reload_and_no_weight_change_makes_a_dead_endpoint_look_alive() {
    let (down, works) = (Down::new(), Backend::saying("works"));
    let colors = |weight| vec![blue(weight, &[works.address, down.address]), green(1, &[works.address])];
    let service = |weight| checked(once(CheckKind::Tcp), colors(weight));
    let house = House::new(vec![service(100)]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    for weight in [0, 100, 7, 1000, 1] {
        house.apply(vec![service(weight)]);
        assert_eq!(health(&house, down.address), Unhealthy, "weight {weight}");
    }
    // Another order, another weight of the endpoint, other settings of the check.
    let mut moved = blue(100, &[down.address, works.address]);
    moved.endpoints[0].weight = teal::model::EndpointWeight::new(9).unwrap();
    let mut other = checked(often(CheckKind::Tcp), vec![moved, green(1, &[works.address])]);
    other.policy.retries = 0;
    house.apply(vec![other]);
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        assert_eq!(health(&house, down.address), Unhealthy);
        assert_eq!(ask(house.vip()), "works");
    }
    assert_eq!(house.retries("blue"), 0);
}

#[test]
fn promise_5_the_first_check_decides_alone() {
    let (down, works) = (Down::new(), Backend::saying("works"));
    let mut check = once(CheckKind::Tcp);
    (check.rise, check.fall) = (100, 100);
    let house = House::new(vec![checked(check, vec![blue(100, &[down.address, works.address])])]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    assert_eq!(health(&house, down.address), Unhealthy);
    assert_eq!(health(&house, works.address), Healthy);
}

#[test]
fn promise_5_a_pending_endpoint_is_used_only_where_no_checked_one_is_healthy() {
    let known = Backend::saying("known");
    // Answers connections, but not checks.
    let fresh = Answering::with("", Then::Hang);
    let mut check = once(get("/", None));
    check.timeout = Duration::from_secs(3600);
    let only = |addresses: &[std::net::SocketAddr]| vec![checked(check.clone(), vec![blue(100, addresses)])];
    let house = House::new(only(&[fresh.backend.address, known.address]));
    let checker = Checker::of(&house);
    eventually("it is asked", || fresh.heads.load(std::sync::atomic::Ordering::SeqCst) == 1);
    until(&house, known.address, Unhealthy);
    assert_eq!(health(&house, fresh.backend.address), Pending);
    let before = known.accepted();
    for round in 1..=5 {
        drop(crate::support::connect(house.vip()));
        eventually("the pending one is used", || house.served("blue") == round);
    }
    assert_eq!(known.accepted(), before, "the unhealthy one is not");
    drop(checker);
}

fn all_down(what: OnAllDown, colors: Vec<Color>) -> Vec<Service> {
    let mut service = checked(often(get("/missing", None)), colors);
    service.policy.on_all_down = what;
    vec![service]
}

#[test]
fn a_broken_checker_is_no_outage() {
    let (a, b) = (Backend::saying("a"), Backend::saying("b"));
    let colors = || vec![blue(100, &[a.address]), green(100, &[b.address])];
    let house = House::new(all_down(OnAllDown::Try, colors()));
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    eventually("status shows it", || checker.has_problem("health a:"));
    for _ in 0..10 {
        ask(house.vip());
    }
    assert_eq!((house.served("blue"), house.served("green")), (5, 5), "the split stays exact");
    let mut text = String::new();
    house.live.series().render(&mut text);
    assert!(
        text.contains("teal_all_down_tries_total{service=\"a\",port=\"0\",color=\"blue\"} 5\n"),
        "{text}"
    );
    // One of them works: it takes what is the other's.
    let good = Answering::with("HTTP/1.1 200 OK\r\n\r\n", Then::Close);
    house.apply(all_down(OnAllDown::Try, vec![blue(100, &[a.address]), green(100, &[good.backend.address])]));
    until(&house, good.backend.address, Healthy);
    eventually("it is over", || !checker.has_problem("health a:"));
    let before = house.served("blue");
    for _ in 0..4 {
        drop(crate::support::connect(house.vip()));
    }
    eventually("green serves them all", || house.served("green") >= 5 + 4);
    assert_eq!(house.served("blue"), before);
}

#[test]
fn promise_8_reject_refuses_at_once_when_all_is_down() {
    let works = Backend::saying("works");
    let house = House::new(all_down(OnAllDown::Reject, vec![blue(100, &[works.address])]));
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    let accepted = works.accepted();
    assert_refused(house.vip());
    assert_refused(house.preview("blue"));
    assert_eq!(house.errors("blue", ErrorReason::Down), 2);
    assert!(works.accepted() - accepted <= 2, "only checks come");
    assert_eq!(house.served("blue"), 0);
    drop(checker);
}

#[test]
fn promise_6_a_color_whose_endpoints_are_down_spills_and_zero_stays_zero() {
    let (mut switch, other, zero) = (Switch::on(), Backend::saying("other"), Backend::saying("zero"));
    let colors = vec![
        blue(100, &[switch.address]),
        green(100, &[other.address]),
        teal::model::testing::color("red", 0, &[zero.address]),
    ];
    let house = House::new(vec![checked(often(CheckKind::Tcp), colors)]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    switch.turn_off();
    until(&house, switch.address, Unhealthy);
    for _ in 0..10 {
        assert_eq!(ask(house.vip()), "other");
    }
    assert_eq!((house.decided("blue"), house.decided("green")), (5, 5));
    assert_eq!((house.retries("green"), house.violations(), house.served("red")), (0, 0, 0));
    drop(checker);
}
