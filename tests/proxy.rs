//! Whom the proxy connects to whom: over real connections, in this process.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{
    Backend, Down, House, Silent, ask, ask_from, assert_refused, blue, connect, eventually, green, read_all,
    reset,
};
use teal::model::testing::{catalog, service};
use teal::model::{AcceptRate, Affinity, AllowFrom, Balance, ConnectionLimits, OnColorDown};
use teal::proxy::{Via, wanted};
use teal::state::{ClosedReason, ErrorReason};

#[test]
fn promise_1_the_split_is_exact_over_connections_from_many_threads() {
    let (one, other) = (Backend::saying("blue"), Backend::saying("green"));
    let house = House::of(vec![blue(97, &[one.address]), green(3, &[other.address])]);
    let vip = house.vip();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| assert!(!ask(vip).is_empty())));
        }
    });
    assert_eq!((house.served("blue"), house.served("green")), (970, 30));
    assert_eq!((house.decided("blue"), house.decided("green")), (970, 30));
    assert_eq!((one.accepted(), other.accepted()), (970, 30));
}

#[test]
fn promise_6_a_refused_try_goes_to_another_endpoint_of_the_color() {
    let (down, up) = (Down::new(), Backend::saying("up"));
    let house = House::of(vec![blue(1, &[down.address, up.address]), green(0, &[down.address])]);
    for _ in 0..10 {
        assert_eq!(ask(house.vip()), "up");
    }
    assert_eq!((house.served("blue"), house.retries("blue")), (10, 5));
}

#[test]
fn a_single_endpoint_that_lost_a_syn_is_tried_again() {
    let silent = Silent::new();
    let mut a = service("a", 0, vec![blue(1, &[silent.address])]);
    (a.policy.connect_timeout, a.policy.retries) = (Duration::from_millis(50), 1000);
    a.policy.connect_total_timeout = Duration::from_secs(60);
    let house = House::new(vec![a]);
    let client = connect(house.vip());
    eventually("a second try", || house.retries("blue") >= 1);
    silent.begin_to_answer();
    eventually("it is served", || house.served("blue") == 1);
    drop(client);
}

#[test]
fn least_connections_fill_endpoints_evenly_and_leave_nothing_behind() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo(), Backend::echo()];
    let mut a = service("a", 0, vec![blue(1, &backends.each_ref().map(|backend| backend.address))]);
    a.policy.balance = Balance::LeastConnections;
    let house = House::new(vec![a]);
    let mut held = Vec::new();
    for count in 1..=80 {
        held.push(connect(house.vip()));
        // One after the other: what threads do at the same moment does not matter here.
        eventually("the connection is served", || house.open("blue") == count);
    }
    let places = || {
        house.color("blue", |color| color.endpoints.iter().map(|e| e.live.places.taken()).collect::<Vec<_>>())
    };
    assert!(places().iter().all(|taken| (18..=22).contains(taken)), "{:?}", places());
    drop(held);
    eventually("all have ended", || house.open("blue") == 0);
    eventually("no place is taken", || places() == [0; 4]);
}

#[test]
fn a_source_stays_with_its_endpoint_and_a_dead_one_is_left_for_the_next() {
    let (down, others) = (Down::new(), [Backend::saying("one"), Backend::saying("two")]);
    let service = |endpoints: &[SocketAddr]| {
        let mut a = service("a", 0, vec![blue(1, endpoints)]);
        a.policy.balance = Balance::SourceHash;
        a
    };
    let house = House::new(vec![service(&others.each_ref().map(|backend| backend.address))]);
    let mine = ask(house.vip());
    // Other source ports, and later the endpoints in another order and a dead one among them.
    for _ in 0..20 {
        assert_eq!(ask(house.vip()), mine);
    }
    house.apply(vec![service(&[down.address, others[1].address, others[0].address])]);
    for _ in 0..20 {
        assert_eq!(ask(house.vip()), mine);
    }
}

#[test]
fn with_affinity_clients_only_move_to_the_color_that_grows() {
    let (one, other) = (Backend::saying("blue"), Backend::saying("green"));
    let of = |weight| {
        let mut a =
            service("a", 0, vec![blue(100 - weight, &[one.address]), green(weight, &[other.address])]);
        a.policy.affinity = Affinity::SourceIp;
        vec![a]
    };
    let house = House::new(of(0));
    let mut on_green = vec![false; 60];
    for weight in [0, 10, 25, 50, 100] {
        house.apply(of(weight));
        for (client, was_green) in (1..).zip(&mut on_green) {
            let is_green = ask_from([127, 0, 99, client].into(), house.vip()) == "green";
            assert!(is_green || !*was_green, "client {client} went back at {weight}");
            *was_green = is_green;
        }
        let count = on_green.iter().filter(|is_green| **is_green).count();
        let (least, most) = [(0, 0), (1, 15), (5, 28), (17, 43), (60, 60)]
            [[0, 10, 25, 50, 100].iter().position(|step| *step == weight).unwrap()];
        assert!((least..=most).contains(&count), "{count} of 60 clients on green at {weight}");
    }
    assert_eq!((house.decided("blue") + house.decided("green"), house.violations()), (300, 0));
}

#[test]
fn promise_6_a_silent_endpoint_costs_a_timeout_and_another_one_serves() {
    let (silent, up) = (Silent::new(), Backend::saying("up"));
    let mut a = service("a", 0, vec![blue(1, &[silent.address, up.address])]);
    a.policy.connect_timeout = Duration::from_millis(50);
    let house = House::new(vec![a]);
    assert_eq!(ask(house.vip()), "up");
    assert_eq!(house.retries("blue"), 1);
}

/// Uses up the retry budget of service "a", for longer than a test takes.
fn exhaust_retry_budget(house: &House) {
    let snapshot = house.snapshot.load();
    let budget = &snapshot.services["a"].ports[0].live.retry_budget;
    // In every bucket of a window in the future, so that retries of now cannot displace them all.
    for second in 1000..1010 {
        for _ in 0..100 {
            budget.note_connection(second);
            assert!(budget.take(second, 100));
        }
    }
}

#[test]
fn without_retry_budget_a_connection_is_not_retried_but_spills() {
    let (down, up, other) = (Down::new(), Backend::saying("blue"), Backend::saying("green"));
    let of = |green_weight| {
        let colors = vec![blue(1000, &[down.address, up.address]), green(green_weight, &[other.address])];
        let mut a = service("a", 0, colors);
        a.policy.retry_budget_percent = 0;
        vec![a]
    };
    let house = House::new(of(0));
    exhaust_retry_budget(&house);
    for _ in 0..5 {
        assert_refused(house.vip());
        assert_eq!(ask(house.vip()), "blue");
    }
    let exhausted =
        || house.color("blue", |color| color.live.retry_budget_exhausted().load(Ordering::Relaxed));
    assert_eq!((exhausted(), house.retries("blue"), house.errors("blue", ErrorReason::Refused)), (5, 0, 5));
    // A further color is no retry: it must serve what it can.
    house.apply(of(1));
    for _ in 0..10 {
        assert!(!ask(house.vip()).is_empty());
    }
    assert_eq!((exhausted(), house.served("green"), house.errors("blue", ErrorReason::Refused)), (10, 5, 5));
}

#[test]
fn promise_6_the_whole_connect_phase_is_bounded() {
    let silent = [Silent::new(), Silent::new(), Silent::new()];
    let mut a = service("a", 0, vec![blue(1, &silent.each_ref().map(|silent| silent.address))]);
    a.policy.connect_timeout = Duration::from_secs(3600);
    a.policy.connect_total_timeout = Duration::from_millis(50);
    let house = House::new(vec![a]);
    assert_refused(house.vip());
    assert_eq!((house.errors("blue", ErrorReason::Timeout), house.retries("blue")), (1, 0));
}

#[test]
fn promise_6_a_color_that_is_down_spills_to_another_with_weight() {
    let (down, up) = (Down::new(), Backend::saying("green"));
    let house = House::of(vec![blue(1, &[down.address]), green(1, &[up.address])]);
    for _ in 0..10 {
        assert_eq!(ask(house.vip()), "green");
    }
    assert_eq!((house.decided("blue"), house.decided("green")), (5, 5));
    assert_eq!((house.served("blue"), house.served("green")), (0, 10));
    let spilled = house.color("blue", |color| color.live.spilled(&"green".parse_color()));
    assert_eq!(spilled.load(Ordering::Relaxed), 5);
    assert_eq!(house.violations(), 0);
}

#[test]
fn promise_8_reject_refuses_instead_of_spilling() {
    let (down, up) = (Down::new(), Backend::saying("green"));
    let mut a = service("a", 0, vec![blue(1000, &[down.address]), green(1, &[up.address])]);
    a.policy.on_color_down = OnColorDown::Reject;
    let house = House::new(vec![a]);
    assert_refused(house.vip());
    assert_eq!((house.errors("blue", ErrorReason::Refused), up.accepted()), (1, 0));
}

#[test]
fn a_fallback_serves_when_all_colors_with_weight_are_down() {
    let (down, up) = (Down::new(), Backend::saying("green"));
    let mut first = blue(100, &[down.address]);
    first.fallback = Some("green".parse_color());
    let house = House::of(vec![first, green(0, &[up.address])]);
    assert_eq!(ask(house.vip()), "green");
    assert_eq!((house.served("green"), house.violations()), (1, 0));
}

#[test]
fn promise_2_zero_is_zero_even_when_the_other_color_is_down() {
    let (down, up) = (Down::new(), Backend::saying("green"));
    let house = House::of(vec![blue(100, &[down.address]), green(0, &[up.address])]);
    for _ in 0..20 {
        assert_refused(house.vip());
    }
    assert_eq!((house.errors("blue", ErrorReason::Refused), up.accepted(), house.violations()), (20, 0, 0));
}

#[test]
fn promise_2_and_3_while_weights_change_under_load_zero_gets_nothing_and_nobody_is_refused() {
    let (one, other) = (Backend::saying("blue"), Backend::saying("green"));
    let of = |weights: (i64, i64)| {
        service("a", 0, vec![blue(weights.0, &[one.address]), green(weights.1, &[other.address])])
    };
    let (house, over) = (House::new(vec![of((1, 0))]), AtomicBool::new(false));
    let vip = house.vip();
    let asked = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while !over.load(Ordering::Relaxed) {
                        assert!(["blue", "green"].contains(&ask(vip).as_str()));
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for weights in [(0, 1), (1, 0)].into_iter().cycle().take(60) {
            house.apply(vec![of(weights)]);
            // Whoever comes from now on has to go there, whatever the others do meanwhile.
            let expected = if weights.0 > 0 { "blue" } else { "green" };
            (0..5).for_each(|_| assert_eq!(ask(vip), expected));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    assert_eq!(house.served("blue") + house.served("green"), asked as u64 + 300);
    assert_eq!(house.violations(), 0);
}

#[test]
fn promise_2_all_weights_zero_refuse_and_a_preview_serves_all_the_same() {
    let up = Backend::saying("green");
    let house = House::of(vec![blue(0, &[up.address]), green(0, &[up.address])]);
    assert_refused(house.vip());
    assert_eq!((house.early_errors(ErrorReason::NoWeight), up.accepted()), (1, 0));
    assert_eq!(ask(house.preview("green")), "green");
    assert_eq!((house.served("green"), house.decided("green"), house.violations()), (1, 0, 0));
}

#[test]
fn promise_15_at_the_limit_connections_are_refused_and_take_no_turn() {
    let echo = Backend::echo();
    let house = House::of(vec![blue(1, &[echo.address])]);
    house.plane.shared().set_connections_max(1);
    let held = connect(house.vip());
    eventually("the first connection is served", || house.open("blue") == 1);
    assert_refused(house.vip());
    assert_eq!((house.early_errors(ErrorReason::Limit), house.decided("blue")), (1, 1));
    drop(held);
    eventually("the first connection has ended", || house.plane.open_count() == 0);
    house.plane.shared().set_connections_max(2);
    drop(connect(house.vip()));
}

/// A house of one color under limits, one connection held open in it, and what it may still do.
fn held_under(limits: ConnectionLimits) -> (House, std::net::TcpStream, Backend) {
    let echo = Backend::echo();
    let mut a = service("a", 0, vec![blue(1, &[echo.address])]);
    a.policy.limits = limits;
    let house = House::new(vec![a]);
    let held = connect(house.vip());
    eventually("the first connection is served", || house.open("blue") == 1);
    (house, held, echo)
}

#[test]
fn promise_15_each_limit_of_a_service_refuses_at_once_takes_no_turn_and_has_its_reason() {
    let (one, none) = (NonZeroU32::new(1), ConnectionLimits::default());
    let hour = Duration::from_secs(3600);
    let rate = one.map(|count| AcceptRate { count, per: hour });
    for (limits, reason) in [
        (ConnectionLimits { service: one, ..none }, ErrorReason::LimitService),
        (ConnectionLimits { source: one, ..none }, ErrorReason::LimitSource),
        (ConnectionLimits { rate, ..none }, ErrorReason::LimitRate),
    ] {
        let (house, held, _echo) = held_under(limits);
        assert_refused(house.vip());
        assert_eq!((house.early_errors(reason), house.decided("blue")), (1, 1), "{reason:?}");
        drop(held);
        eventually("the first connection has ended", || house.plane.open_count() == 0);
        if limits.rate.is_none() {
            drop(connect(house.vip()));
            eventually("its place is free", || house.served("blue") == 2);
        }
    }
}

#[test]
fn an_endpoint_at_its_limit_refuses_where_no_other_is_left() {
    let limits = ConnectionLimits { endpoint: NonZeroU32::new(1), ..ConnectionLimits::default() };
    let (house, held, echo) = held_under(limits);
    assert_refused(house.vip());
    assert_eq!(house.errors("blue", ErrorReason::LimitEndpoint), 1);
    eventually("the backend has taken it", || echo.accepted() == 1);
    drop(held);
    eventually("the first connection has ended", || house.open("blue") == 0);
    drop(connect(house.vip()));
    eventually("its place is free", || house.served("blue") == 2);
}

#[test]
fn promise_15_a_limit_holds_exactly_while_many_come_at_once() {
    let echo = Backend::echo();
    let mut a = service("a", 0, vec![blue(1, &[echo.address])]);
    a.colors[0].max_connections = NonZeroU32::new(7);
    let house = House::new(vec![a]);
    let vip = house.vip();
    let held: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..40).map(|_| scope.spawn(move || std::net::TcpStream::connect(vip).ok())).collect();
        clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    });
    eventually("all are decided", || house.errors("blue", ErrorReason::LimitColor) == 33);
    assert_eq!((house.open("blue"), house.served("blue")), (7, 7));
    drop(held);
}

#[test]
fn source_addresses_are_used_in_turn() {
    let (tell, sources) = std::sync::mpsc::channel();
    let backend = Backend::new(move |stream| tell.send(stream.peer_addr().unwrap().ip()).unwrap());
    let mut a = service("a", 0, vec![blue(1, &[backend.address])]);
    a.policy.source_addresses = ["127.9.0.1", "::1", "127.9.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
    let house = House::new(vec![a]);
    let seen: Vec<_> = (0..4)
        .map(|_| {
            ask(house.vip());
            sources.recv().unwrap().to_string()
        })
        .collect();
    assert_eq!(seen, ["127.9.0.1", "127.9.0.2", "127.9.0.1", "127.9.0.2"]);
}

#[test]
fn a_source_address_that_cannot_be_used_is_passed_over_and_counted() {
    let up = Backend::saying("up");
    let mut a = service("a", 0, vec![blue(1, &[up.address])]);
    // Of the range for documentation (RFC 5737): no host has it.
    a.policy.source_addresses = ["192.0.2.1", "127.9.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
    let house = House::new(vec![a.clone()]);
    assert_eq!((ask(house.vip()), ask(house.vip())), ("up".to_owned(), "up".to_owned()));
    let exhausted =
        || house.color("blue", |color| color.live.source_ports_exhausted().load(Ordering::Relaxed));
    assert_eq!((exhausted(), house.retries("blue")), (1, 0));
    a.policy.source_addresses.pop();
    house.apply(vec![a]);
    assert_refused(house.vip());
    assert_eq!((exhausted(), house.errors("blue", ErrorReason::Resources)), (2, 1));
}

#[test]
fn who_is_not_allowed_gets_rst_at_vips_but_not_at_exposed_addresses() {
    let up = Backend::saying("blue");
    let mut a = service("a", 0, vec![blue(1, &[up.address])]);
    a.ports[0].expose = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let mut catalog = catalog(vec![a]);
    catalog.settings.vip.allow_from = AllowFrom(Vec::new());
    let house = House::with(catalog);
    assert_refused(house.vip());
    assert_refused(house.preview("blue"));
    assert_eq!((house.early_errors(ErrorReason::NotAllowed), house.decided("blue")), (2, 0));
    assert_eq!(ask(house.plane.bound()[&SocketAddr::from(([127, 0, 0, 1], 0))]), "blue");
}

#[test]
fn a_client_that_goes_away_while_connecting_is_not_waited_for() {
    let silent = Silent::new();
    let mut a = service("a", 0, vec![blue(1, &[silent.address])]);
    (a.policy.connect_timeout, a.policy.connect_total_timeout) =
        (Duration::from_secs(3600), Duration::from_secs(3600));
    let house = House::new(vec![a]);
    let client = connect(house.vip());
    eventually("the client is known", || house.decided("blue") == 1);
    reset(client);
    eventually("the client is counted as gone", || house.errors("blue", ErrorReason::ClientGone) == 1);
    eventually("its place is free", || house.plane.open_count() == 0);
}

#[test]
fn a_client_that_only_said_fin_while_connecting_is_served() {
    let (silent, echo) = (Silent::new(), Backend::echo());
    let mut a = service("a", 0, vec![blue(1, &[silent.address, echo.address])]);
    a.policy.connect_timeout = Duration::from_millis(50);
    let house = House::new(vec![a]);
    let mut client = connect(house.vip());
    client.write_all(b"early").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "early");
}

#[test]
fn promise_3_a_change_of_weights_touches_no_open_connection() {
    let echo = Backend::echo();
    let of = |weights: (i64, i64)| {
        service("a", 0, vec![blue(weights.0, &[echo.address]), green(weights.1, &[echo.address])])
    };
    let house = House::new(vec![of((100, 0))]);
    let vip = house.vip();
    let mut held = connect(vip);
    held.write_all(b"before ").unwrap();
    eventually("the connection is served", || house.served("blue") == 1);
    house.apply(vec![of((0, 100))]);
    assert_eq!(house.vip(), vip, "the listener was bound anew");
    drop(connect(vip));
    eventually("a new connection follows the new weights", || house.served("green") == 1);
    held.write_all(b"after").unwrap();
    held.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut held), "before after");
    assert_eq!(house.served("blue"), 1);
}

#[test]
fn what_waits_in_the_queue_of_a_removed_listener_is_served() {
    let up = Backend::saying("blue");
    let house = House::of(vec![blue(1, &[up.address])]);
    let vip = house.vip();
    let releases = house.hold_all();
    let waiting: Vec<_> = (0..200).map(|_| connect(vip)).collect();
    house.apply(Vec::new());
    drop(releases);
    for mut client in waiting {
        assert_eq!(read_all(&mut client), "blue");
    }
    // Before the socket is closed a SYN is not answered, afterwards it is refused.
    eventually("nobody listens", || {
        let outcome = std::net::TcpStream::connect_timeout(&vip, Duration::from_millis(50));
        outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
}

#[test]
fn an_address_that_comes_back_at_once_is_bound_again() {
    let up = Backend::saying("blue");
    let port = up.address.port();
    let of = || vec![service("z", port, vec![blue(1, &[up.address])])];
    let house = House::new(of());
    for _ in 0..3 {
        house.apply(Vec::new());
        house.apply(of());
        assert_eq!(ask(SocketAddr::from(([127, 80, b'z', 1], port))), "blue");
    }
}

#[test]
fn a_port_in_use_refuses_the_change_and_names_the_holder() {
    let (foreign, up) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), Backend::saying("blue"));
    let house = House::of(vec![blue(1, &[up.address])]);
    let bound = house.plane.bound();
    let mut b = service("b", 0, vec![blue(1, &[up.address])]);
    b.ports[0].expose = vec![foreign.local_addr().unwrap()];
    let next = house.successor(catalog(vec![b]));
    let failures = house.block_on(house.plane.prepare(wanted(&next))).err().unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].route.via, Via::Expose);
    assert!(failures[0].to_string().contains(&format!("pid {}", std::process::id())), "{}", failures[0]);
    assert_eq!(house.plane.bound(), bound);
    assert_eq!(ask(house.vip()), "blue");

    let (prepared, failures) = house.block_on(house.plane.prepare_partial(wanted(&next)));
    assert_eq!(failures.len(), 1);
    house.plane.commit(prepared, &next).unwrap();
    assert_eq!(house.plane.bound().len(), 2);
}

#[test]
fn promise_14_stopping_closes_the_listeners_and_leaves_open_connections_alone() {
    let echo = Backend::echo();
    let house = House::of(vec![blue(1, &[echo.address])]);
    let vip = house.vip();
    let mut held = connect(vip);
    eventually("the connection is served", || house.open("blue") == 1);
    house.block_on(house.plane.stop_accepting());
    assert!(std::net::TcpStream::connect(vip).is_err());
    held.write_all(b"still").unwrap();
    held.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut held), "still");
    drop(held);
    house.block_on(house.plane.shared().wait_none_open());
    assert_eq!(house.closed("blue", ClosedReason::Finished), 1);
}

/// Names in tests are right.
trait ParseColor {
    fn parse_color(&self) -> teal::model::ColorName;
}

impl ParseColor for str {
    fn parse_color(&self) -> teal::model::ColorName {
        teal::model::ColorName::parse(self).unwrap()
    }
}
