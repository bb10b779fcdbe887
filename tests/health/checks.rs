//! What checks find out about backends of every kind.

use std::time::{Duration, Instant};

use teal::model::{CheckKind, HealthCheck};
use teal::state::HealthState::{Healthy, Pending, Unhealthy};

use crate::checker::{Answering, Checker, Switch, Then, checked, get, health, often, until};
use crate::support::{Backend, Down, House, Silent, ask, blue, eventually, green};

fn house_of(kind: CheckKind, addresses: &[std::net::SocketAddr]) -> House {
    House::new(vec![checked(often(kind), vec![blue(100, addresses)])])
}

fn rendered(house: &House) -> String {
    let mut text = String::new();
    house.live.series().render(&mut text);
    text
}

#[test]
fn a_backend_that_dies_is_left_out_and_used_again_when_it_is_back() {
    let mut switch = Switch::on();
    let other = Backend::saying("other");
    let house = house_of(CheckKind::Tcp, &[switch.address, other.address]);
    let checker = Checker::of(&house);
    until(&house, switch.address, Healthy);
    until(&house, other.address, Healthy);
    switch.turn_off();
    until(&house, switch.address, Unhealthy);
    let retries = house.retries("blue");
    for _ in 0..10 {
        assert_eq!(ask(house.vip()), "other");
    }
    assert_eq!(house.retries("blue"), retries, "the dead one is not even tried");
    switch.turn_on();
    until(&house, switch.address, Healthy);
    let said: Vec<String> = (0..10).map(|_| ask(house.vip())).collect();
    assert_eq!(said.iter().filter(|text| *text == "alive").count(), 5);
    let text = rendered(&house);
    for (to, count) in [("healthy", 3), ("unhealthy", 1)] {
        let series =
            format!("teal_health_transitions_total{{service=\"a\",port=\"0\",color=\"blue\",to=\"{to}\"}}");
        assert!(text.contains(&format!("{series} {count}\n")), "{to}: {text}");
    }
    assert!(text.contains("teal_health_check_duration_seconds_count{kind=\"tcp\",result=\"passed\"}"));
    assert!(text.contains("teal_health_check_duration_seconds_count{kind=\"tcp\",result=\"failed\"}"));
    drop(checker);
}

#[test]
fn refusing_and_silent_endpoints_are_found_by_their_first_check() {
    let (down, silent, works) = (Down::new(), Silent::new(), Backend::saying("works"));
    let house = house_of(CheckKind::Tcp, &[down.address, silent.address, works.address]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    assert_eq!(health(&house, down.address), Unhealthy);
    assert_eq!(health(&house, silent.address), Unhealthy);
    assert_eq!(health(&house, works.address), Healthy);
}

/// Whether an HTTP check of a server that answers so passes.
fn passes(kind: CheckKind, answer: &'static str, then: Then) -> bool {
    let server = Answering::with(answer, then);
    let house = house_of(kind, &[server.backend.address]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    health(&house, server.backend.address) == Healthy
}

#[test]
fn an_http_check_looks_at_the_status() {
    let of = |answer, then| passes(get("/", None), answer, then);
    assert!(of("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Close));
    assert!(!of("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", Then::Close));
    assert!(!of("\u{1}garbage\r\n\r\n", Then::Close));
    assert!(!of("", Then::Close), "closed without an answer");
    assert!(!of("", Then::Hang), "no answer at all");
    assert!(of("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsl", Then::Hang), "nobody asked for the body");
}

#[test]
fn an_http_check_looks_into_the_body() {
    let of = |answer, then| passes(get("/", Some("ready")), answer, then);
    assert!(of("HTTP/1.1 200 OK\r\n\r\nall is ready", Then::Hang));
    assert!(!of("HTTP/1.1 200 OK\r\n\r\nall is re", Then::Hang), "a slow body");
    assert!(!of("HTTP/1.1 200 OK\r\n\r\nno", Then::Close));
}

#[test]
fn another_port_may_be_checked() {
    let (works, side) = (Backend::saying("works"), Down::new());
    let check = teal::model::ActiveCheck { port: Some(side.address.port()), ..often(CheckKind::Tcp) };
    let house = House::new(vec![checked(check, vec![blue(100, &[works.address])])]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    assert_eq!(health(&house, works.address), Unhealthy);
    assert_eq!(works.accepted(), 0);
}

#[test]
fn endpoints_with_the_same_address_share_their_checks() {
    let server = Answering::with("HTTP/1.1 200 OK\r\n\r\n", Then::Close);
    let address = server.backend.address;
    let mut check = often(get("/", None));
    check.interval = Duration::from_secs(60);
    let house = House::new(vec![checked(check, vec![blue(100, &[address]), green(0, &[address])])]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    for color in ["blue", "green"] {
        assert_eq!(house.color(color, |color| color.endpoints[0].health()), Healthy);
    }
    assert_eq!(server.backend.accepted(), 1);
}

#[test]
fn checks_follow_the_configuration() {
    let (first, second) = (Backend::saying("first"), Down::new());
    let colors = || vec![blue(100, &[first.address]), green(0, &[second.address])];
    let house = House::new(vec![teal::model::testing::service("a", 0, colors())]);
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    assert_eq!(first.accepted(), 0, "nothing is checked");
    house.apply(vec![checked(often(CheckKind::Tcp), colors())]);
    until(&house, first.address, Healthy);
    until(&house, second.address, Unhealthy);
    // A new endpoint is asked at once, also where its question is asked rarely already.
    let mut rare = often(CheckKind::Tcp);
    rare.interval = Duration::from_secs(3600);
    house.apply(vec![checked(rare.clone(), colors())]);
    let third = Backend::saying("third");
    let mut more = colors();
    more[0] = blue(100, &[first.address, third.address, second.address]);
    house.apply(vec![checked(rare, more)]);
    until(&house, third.address, Healthy);
    eventually("the shared one is known too", || {
        house.color("blue", |color| color.endpoints[2].health()) == Unhealthy
    });
    let mut off = checked(often(CheckKind::Tcp), colors());
    off.policy.health = HealthCheck::None;
    house.apply(vec![off]);
    let seen = first.accepted();
    let end = Instant::now() + Duration::from_millis(300);
    eventually("time passes", || Instant::now() > end);
    assert!(first.accepted() <= seen + 1, "checks go on");
}

#[test]
fn an_endpoint_that_comes_back_while_it_is_still_used_is_not_presumed_to_work() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let of = |address| vec![checked(often(CheckKind::Tcp), vec![blue(100, &[address])])];
    let house = House::new(of(first.address));
    let checker = Checker::of(&house);
    checker.wait_first_round(&house);
    let kept = crate::support::connect(house.vip());
    eventually("it is open", || house.open("blue") == 1);
    let live = house.color("blue", |color| std::sync::Arc::clone(&color.endpoints[0].live));
    assert_eq!(live.health.state(), Healthy);
    house.apply(of(second.address));
    eventually("it is forgotten", || live.health.state() == Pending);
    drop((kept, checker));
}
