//! Passive ejection over sockets: endpoints to which connections fail.

use std::time::Duration;

use teal::model::{CheckKind, HealthCheck, OnAllDown, Outlier, Service};
use teal::state::ErrorReason;
use teal::state::HealthState::{Healthy, Unchecked};

use crate::checker::{Checker, Switch, checked, health, often, until};
use crate::support::{Backend, Down, House, ask, assert_refused, blue, eventually};

const OUTLIER: Outlier = Outlier {
    consecutive_failures: 3,
    ejection: Duration::from_secs(3600),
    max_ejection: Duration::from_secs(3600),
    max_ejected_percent: 50,
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
