//! Passive ejection over sockets: endpoints to which connections fail.

use std::io::{Read, Write};
use std::time::Duration;

use teal::model::{CheckKind, HealthCheck, OnAllDown, Outlier, Service};
use teal::state::ErrorReason;
use teal::state::HealthState::{Healthy, Unchecked};

use crate::checker::{Checker, Switch, checked, health, often, until};
use crate::support::{
    Backend, Down, House, ask, assert_refused, blue, connect, eventually, read_all, read_until_reset, reset,
};

const OUTLIER: Outlier = Outlier {
    consecutive_failures: 3,
    ejection: Duration::from_secs(3600),
    max_ejection: Duration::from_secs(3600),
    max_ejected_percent: 50,
    resets: false,
};

fn without_checks(addresses: &[std::net::SocketAddr]) -> Service {
    let mut service = checked(often(CheckKind::Tcp), vec![blue(100, addresses)]);
    service.policy.health = HealthCheck::None;
    service.policy.outlier = Some(OUTLIER);
    // Clients come faster here than the free retries of a budget allow until the first sweep.
    service.policy.retry_budget_percent = 1000;
    service
}

fn is_ejected(house: &House, index: usize) -> bool {
    house.color("blue", |color| color.endpoints[index].live.outlier.is_ejected())
}

#[test]
fn an_endpoint_that_refuses_is_ejected_and_clients_see_nothing() {
    let (down, works) = (Down::new(), Backend::saying("works"));
    let house = House::new(vec![without_checks(&[down.address, works.address])]);
    let checker = Checker::of(&house);
    eventually("it is ejected", || {
        assert_eq!(ask(house.vip()), "works");
        is_ejected(&house, 0)
    });
    let retries = house.retries("blue");
    assert!(retries >= u64::from(OUTLIER.consecutive_failures));
    for _ in 0..10 {
        assert_eq!(ask(house.vip()), "works");
    }
    assert_eq!(house.retries("blue"), retries, "it is not even tried");
    assert_eq!(health(&house, down.address), Unchecked, "health is another fact");
    let mut text = String::new();
    house.live.series().render(&mut text);
    assert!(text.contains("teal_ejections_total{service=\"a\",port=\"0\",color=\"blue\"} 1\n"), "{text}");
    // Switching it off takes back what was ejected.
    let mut off = without_checks(&[down.address, works.address]);
    off.policy.outlier = None;
    house.apply(vec![off]);
    eventually("it is back", || !is_ejected(&house, 0));
    drop(checker);
}

#[test]
fn the_only_endpoint_is_tried_all_the_same_and_back_once_that_succeeds() {
    let mut switch = Switch::on();
    let house = House::new(vec![without_checks(&[switch.address])]);
    let checker = Checker::of(&house);
    assert_eq!(ask(house.vip()), "alive");
    switch.turn_off();
    eventually("it is ejected", || {
        assert_refused(house.vip());
        is_ejected(&house, 0)
    });
    eventually("status shows it", || checker.has_problem("health a:"));
    assert_refused(house.vip());
    switch.turn_on();
    assert_eq!(ask(house.vip()), "alive");
    eventually("it is back", || !is_ejected(&house, 0));
    eventually("the problem is over", || !checker.has_problem("health a:"));
}

#[test]
fn reject_refuses_when_all_is_ejected() {
    let down = Down::new();
    let mut service = without_checks(&[down.address]);
    service.policy.on_all_down = OnAllDown::Reject;
    let house = House::new(vec![service]);
    let checker = Checker::of(&house);
    eventually("it is ejected", || {
        assert_refused(house.vip());
        is_ejected(&house, 0)
    });
    let before = house.errors("blue", ErrorReason::Down);
    assert_refused(house.vip());
    assert_eq!(house.errors("blue", ErrorReason::Down), before + 1);
    drop(checker);
}

#[test]
fn a_check_that_passes_ends_an_ejection() {
    let (switch, other) = (Switch::on(), Backend::saying("other"));
    let mut service = checked(often(CheckKind::Tcp), vec![blue(100, &[switch.address, other.address])]);
    service.policy.outlier = Some(OUTLIER);
    let house = House::new(vec![service]);
    let checker = Checker::of(&house);
    until(&house, switch.address, Healthy);
    house.color("blue", |color| (0..3).for_each(|_| color.endpoints[0].live.outlier.failed()));
    let ejections =
        || house.color("blue", |color| color.live.ejections().load(std::sync::atomic::Ordering::Relaxed));
    eventually("it is ejected", || ejections() == 1);
    eventually("a check passes", || !is_ejected(&house, 0));
    assert_eq!(health(&house, switch.address), Healthy);
    drop(checker);
}

/// A client whose one byte is answered by RST.
fn ask_in_vain(house: &House) {
    let mut client = connect(house.vip());
    client.write_all(b"?").unwrap();
    assert_eq!(read_until_reset(&mut client), 0);
}

#[test]
fn resets_before_the_first_byte_eject_where_that_is_wanted_and_only_there() {
    let resetting = || {
        Backend::new(|mut stream| {
            let _ = stream.read(&mut [0]);
            reset(stream);
        })
    };
    let house_of = |resets| {
        let backend = resetting();
        let mut service = without_checks(&[backend.address]);
        service.policy.outlier = Some(Outlier { resets, ..OUTLIER });
        (House::new(vec![service]), backend)
    };
    let ((wanted, _first), (unwanted, _second)) = (house_of(true), house_of(false));
    let checkers = (Checker::of(&wanted), Checker::of(&unwanted));
    let failures = |house: &House| house.color("blue", |color| color.endpoints[0].live.outlier.failures());
    for count in 1..=OUTLIER.consecutive_failures {
        ask_in_vain(&wanted);
        ask_in_vain(&unwanted);
        eventually("it is counted", || failures(&wanted) == count);
    }
    eventually("it is ejected", || is_ejected(&wanted, 0));
    assert_eq!(failures(&unwanted), 0);
    assert!(!is_ejected(&unwanted, 0));
    drop(checkers);
}

#[test]
fn a_byte_or_a_clean_end_ends_a_row_of_resets_and_a_reset_after_it_is_none() {
    // What the client says is what the backend does.
    let backend = Backend::new(|mut stream| {
        let mut order = [0];
        let _ = stream.read(&mut order);
        if order == *b"b" {
            stream.write_all(b"x").unwrap();
            let _ = stream.read(&mut [0]);
        }
        if order != *b"f" {
            reset(stream);
        }
    });
    let mut service = without_checks(&[backend.address]);
    service.policy.outlier = Some(Outlier { resets: true, ..OUTLIER });
    let house = House::new(vec![service]);
    let failures = || house.color("blue", |color| color.endpoints[0].live.outlier.failures());
    let two_in_vain = || {
        (0..2).for_each(|_| ask_in_vain(&house));
        eventually("they are counted", || failures() == 2);
    };
    two_in_vain();
    let mut client = connect(house.vip());
    client.write_all(b"b").unwrap();
    client.read_exact(&mut [0]).unwrap();
    eventually("a byte ends the row", || failures() == 0);
    client.write_all(b"!").unwrap();
    read_until_reset(&mut client);
    eventually("that connection has ended", || house.open("blue") == 0);
    assert_eq!(failures(), 0);
    two_in_vain();
    let mut client = connect(house.vip());
    client.write_all(b"f").unwrap();
    assert_eq!(read_all(&mut client), "");
    drop(client);
    eventually("a clean end ends the row", || failures() == 0);
}
