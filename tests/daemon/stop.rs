//! Promise 14: stopping drains.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::clients::{Held, backend, http, is_refused, resolve};
use crate::process::{DEADLINE, PORT, Place, Teal, service, until};

fn start(place: &Place, grace: &str) -> Teal {
    place.write(
        &format!("[shutdown]\ngrace = \"{grace}\"\n"),
        &[service("a", &[("blue", 1, backend("blue"))])],
    );
    place.start()
}

#[test]
fn promise_14_stopping_gives_open_connections_their_grace_and_then_cuts_them() {
    let place = Place::new();
    // A SYN that a closing listener ignores is sent again after a second.
    let mut teal = start(&place, "5s");
    let (vip, status) = (teal.vip("a"), teal.status());
    let mut held = Held::new(vip, 4);
    let begin = Instant::now();
    teal.terminate();
    until("nobody is let in", || is_refused(vip));
    held.assert_alive();
    // Names go on, and whoever balances over hosts is told.
    assert_eq!(resolve(status.dns.listen[0], "a.local.").len(), 1);
    let ready = http(crate::clients::connect(status.metrics.unwrap()), "GET /readyz");
    assert!(ready.0.starts_with("HTTP/1.1 503"), "{}", ready.0);
    assert_eq!(ready.1, "stopping\n");
    assert_eq!(teal.status().phase, "stopping");
    held.assert_cut();
    assert!(begin.elapsed() >= Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(teal.wait().code(), Some(0));
    until("the number is logged", || {
        teal.log_has("cut connections that were still open connections=1") && teal.log_has("stopped cut=1")
    });
    assert!(!place.socket().exists());
}

#[test]
fn stopping_ends_with_the_last_connection() {
    let place = Place::new();
    let mut teal = start(&place, "10m");
    let mut held = Held::new(teal.vip("a"), 4);
    let vip = teal.vip("a");
    teal.terminate();
    until("nobody is let in", || is_refused(vip));
    held.assert_alive();
    drop(held);
    assert_eq!(teal.wait().code(), Some(0));
    until("the number is logged", || teal.log_has("stopped cut=0"));
}

#[test]
fn stopping_without_connections_takes_no_grace() {
    let place = Place::new();
    start(&place, "10m").stop();
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let place = Place::new();
    let mut teal = start(&place, "10m");
    let mut held = Held::new(teal.vip("a"), 4);
    teal.terminate();
    until("it drains", || teal.log_has("stopping: no new connections"));
    held.assert_alive();
    teal.terminate();
    held.assert_cut();
    assert_eq!(teal.wait().code(), Some(0));
}

#[test]
fn what_stops_does_not_listen_again() {
    let (place, blue) = (Place::new(), backend("blue"));
    let blocked = place.address(20);
    let holder = TcpListener::bind((blocked, PORT)).unwrap();
    let other = service("b", &[("blue", 1, blue)]).replace("ports", &format!("vip = \"{blocked}\"\nports"));
    let grace = "[shutdown]\ngrace = \"10m\"\n";
    place.write(grace, &[service("a", &[("blue", 1, blue)]), other.clone()]);
    let teal = place.start();
    let vip = teal.vip("a");
    let mut held = Held::new(vip, 4);
    teal.terminate();
    until("nobody is let in", || is_refused(vip));
    // Neither what could not listen before, nor what a new configuration wants.
    drop(holder);
    place.write(grace, &[service("a", &[("green", 1, blue)]), other]);
    let (code, said) = place.reload(&["--allow-removal"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("teal is stopping"), "{said}");
    let longer_than_a_retry = Instant::now() + Duration::from_millis(1500);
    until("time has passed", || {
        assert!(is_refused(vip) && is_refused((blocked, PORT).into()));
        Instant::now() > longer_than_a_retry
    });
    held.assert_alive();
}

#[test]
fn a_reload_that_waits_does_not_keep_sigterm_waiting() {
    let place = Place::new();
    let mut teal = start(&place, "10m");
    let writer = std::fs::OpenOptions::new().append(true).open(place.config()).unwrap();
    std::io::Write::write_all(&mut &writer, b"# half").unwrap();
    let begin = Instant::now();
    teal.signal(rustix::process::Signal::HUP);
    teal.terminate();
    until("it stops", || teal.log_has("stopping: no new connections"));
    println!("SIGTERM to stopping: {:?}", begin.elapsed());
    assert_eq!(teal.wait().code(), Some(0));
    assert!(begin.elapsed() < DEADLINE);
}
