//! Slow start over sockets: an endpoint that checks find healthy again.

use std::time::Duration;

use teal::model::CheckKind;
use teal::state::HealthState::{Healthy, Unhealthy};

use crate::checker::{Checker, Switch, checked, often, until};
use crate::support::{Backend, House, ask, blue, eventually};

#[test]
fn an_endpoint_that_recovers_gets_a_tenth_at_first_and_one_that_was_there_at_the_start_all() {
    let (mut switch, other) = (Switch::on(), Backend::saying("other"));
    let mut service = checked(often(CheckKind::Tcp), vec![blue(100, &[switch.address, other.address])]);
    // Longer than the test, so that the share stays where it begins.
    service.policy.slow_start = Some(Duration::from_secs(3600));
    let house = House::new(vec![service]);
    let checker = Checker::of(&house);
    until(&house, switch.address, Healthy);
    until(&house, other.address, Healthy);
    let percent = || house.color("blue", |color| color.endpoints[0].live.slow_start.share.get().percent());
    eventually("it was there before", || percent() == 100);
    let alive = |count| (0..count).filter(|_| ask(house.vip()) == "alive").count();
    assert_eq!(alive(20), 10);
    switch.turn_off();
    until(&house, switch.address, Unhealthy);
    eventually("it is out of use", || percent() == 9);
    switch.turn_on();
    until(&house, switch.address, Healthy);
    // A tenth against a whole: one of eleven.
    let served = alive(110);
    assert!((9..=11).contains(&served), "{served}");
    let growing = || house.color("blue", |color| color.endpoints[0].live.slow_start.growing_percent());
    eventually("status shows it", || growing() == Some(9));
    drop(checker);
}
