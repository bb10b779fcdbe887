//! Promise 3 and drains: what becomes of open connections when weights, colors and services change.

use std::net::SocketAddr;

use crate::clients::{Held, ask, backend, is_refused};
use crate::process::{Place, Teal, said, service, service_with, until};

/// A service whose connections may stay for so long once their endpoint is gone.
fn draining(name: &str, timeout: &str, colors: &[(&str, u32, SocketAddr)]) -> String {
    service_with(name, &format!("drain_timeout = \"{timeout}\""), colors)
}

fn series(name: &str, service: &str, more: &str) -> String {
    format!("teal_{name}{{service=\"{service}\",port=\"7080\",{more}}}")
}

/// Connections that were cut at the end of a drain.
fn cut(teal: &Teal, service: &str, color: &str) -> Option<u64> {
    let more = format!("color=\"{color}\",reason=\"drain_deadline\"");
    teal.metric(&series("connections_closed_total", service, &more))
}

#[test]
fn promise_3_weight_zero_ends_no_connection_and_starts_none() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    let clock = draining("clock", "0s", &[("blue", 1, blue)]);
    place.write("", &[draining("a", "0s", &[("blue", 1, blue), ("green", 0, green)]), clock]);
    let teal = place.start();
    let vip = teal.vip("a");
    let mut gone = Held::new(teal.vip("clock"), 4);
    let mut held: Vec<Held> = (0..5).map(|_| Held::new(vip, 4)).collect();
    place.write("", &[draining("a", "0s", &[("blue", 0, blue), ("green", 1, green)])]);
    place.reload_ok();
    for _ in 0..20 {
        assert_eq!(ask(vip), "green");
    }
    // Those that are open stay and are shown.
    let color = teal.color("a", "blue");
    assert_eq!((color.open, color.draining), (5, 5));
    assert!(color.oldest_draining_seconds.is_some());
    assert_eq!(teal.metric(&series("draining_connections", "a", "color=\"blue\"")), Some(5));
    assert_eq!(teal.metric(&series("draining_connections", "a", "color=\"green\"")), Some(0));
    // Whatever is cut has been cut when the series of a service removed at the same instant have left.
    gone.assert_cut();
    until("its series have left", || !teal.metrics().contains("service=\"clock\""));
    for held in &mut held {
        held.assert_alive();
    }
    drop(held);
    until("they are gone", || teal.color("a", "blue").open == 0);
    assert_eq!(cut(&teal, "a", "blue"), None);
    assert_eq!(teal.metric("teal_weight_zero_violations_total"), Some(0));
}

#[test]
fn connections_of_a_removed_color_are_cut_when_their_drain_is_over() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    place.write("", &[draining("a", "1s", &[("blue", 1, blue), ("green", 0, green)])]);
    let teal = place.start();
    let mut held = Held::new(teal.vip("a"), 4);
    place.write("", &[draining("a", "1s", &[("green", 1, green)])]);
    assert_eq!(place.reload(&["--allow-removal"]).0, Some(0));
    held.assert_alive();
    assert_eq!(teal.metric(&series("draining_connections", "a", "color=\"blue\"")), Some(1));
    // It takes none any more, so it has no weight either.
    assert_eq!(teal.metric("teal_color_weight{service=\"a\",color=\"blue\"}"), None);
    held.assert_cut();
    until("the log says so", || teal.log_has("cut connections whose drain_timeout is over connections=1"));
    until("its series leave", || !teal.metrics().contains("color=\"blue\""));
    assert_eq!(ask(teal.vip("a")), "green");
}

#[test]
fn connections_of_a_removed_endpoint_are_cut_and_counted() {
    let (place, old, new) = (Place::new(), backend("old"), backend("new"));
    place.write("", &[draining("a", "1s", &[("blue", 1, old)])]);
    let teal = place.start();
    let vip = teal.vip("a");
    let mut held = Held::new(vip, 3);
    place.write("", &[draining("a", "1s", &[("blue", 1, new)])]);
    place.reload_ok();
    let mut stays = Held::new(vip, 3);
    assert_eq!((held.name.as_str(), stays.name.as_str()), ("old", "new"));
    assert_eq!(teal.color("a", "blue").draining, 1);
    held.assert_cut();
    until("the cut is counted", || cut(&teal, "a", "blue") == Some(1));
    stays.assert_alive();
}

#[test]
fn a_color_that_comes_back_in_time_keeps_its_connections() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    let with = |colors: &[(&str, u32, SocketAddr)]| draining("a", "2s", colors);
    let both = with(&[("blue", 1, blue), ("green", 1, green)]);
    let clock = draining("clock", "2s", &[("blue", 1, blue)]);
    let other = service("other", &[("blue", 1, blue)]);
    place.write("", &[both.clone(), clock, other.clone()]);
    let teal = place.start();
    let vip = teal.vip("a");
    let (first, second) = (Held::new(vip, 4), Held::new(vip, 4));
    let mut held = if first.name == "blue" { first } else { second };
    let mut gone = Held::new(teal.vip("clock"), 4);
    place.write("", &[with(&[("green", 1, green)]), other.clone()]);
    assert_eq!(place.reload(&["--allow-removal"]).0, Some(0));
    place.write("", &[both, other]);
    place.reload_ok();
    // The drain of the one that did not come back began at the same instant.
    gone.assert_cut();
    until("its series have left", || !teal.metrics().contains("service=\"clock\""));
    held.assert_alive();
    assert_eq!(cut(&teal, "a", "blue"), None);
    let color = teal.color("a", "blue");
    assert_eq!((color.open, color.draining), (1, 0));
}

#[test]
fn series_of_a_removed_service_leave_after_its_last_connection() {
    let (place, blue) = (Place::new(), backend("blue"));
    let stays = service("stays", &[("blue", 1, blue)]);
    place.write("", &[stays.clone(), service("goes", &[("blue", 1, blue)])]);
    let teal = place.start();
    let vip = teal.vip("goes");
    assert_eq!(ask(vip), "blue");
    let mut held = Held::new(vip, 4);
    place.write("", &[stays, service("comes", &[("blue", 1, blue)])]);
    place.reload_ok();
    until("nobody listens for it", || is_refused(vip));
    held.assert_alive();
    let open = series("connections_active", "goes", "color=\"blue\"");
    assert_eq!(teal.metric(&open), Some(1));
    assert!(teal.metrics().contains("teal_color_weight{service=\"comes\""));
    drop(held);
    until("its series leave", || !teal.metrics().contains("service=\"goes\""));
    assert!(teal.metrics().contains("service=\"stays\""));
}

#[test]
fn a_service_that_comes_back_while_a_connection_is_open_counts_on() {
    let (place, blue) = (Place::new(), backend("blue"));
    let (a, b) = (service("a", &[("blue", 1, blue)]), service("b", &[("blue", 1, blue)]));
    place.write("", &[a.clone(), b.clone()]);
    let teal = place.start();
    let vip = teal.vip("a");
    let mut held = Held::new(vip, 4);
    for _ in 0..3 {
        assert_eq!(ask(vip), "blue");
    }
    place.write("", std::slice::from_ref(&b));
    place.reload_ok();
    until("nobody listens for it", || is_refused(vip));
    place.write("", &[a, b]);
    place.reload_ok();
    assert_eq!(teal.vip("a"), vip);
    assert_eq!(ask(vip), "blue");
    held.assert_alive();
    // Some of the looks whether it is closed may have been served while it closed.
    let total = teal.metric(&series("connections_total", "a", "color=\"blue\"")).unwrap();
    assert!(total >= 5, "{total}");
    assert_eq!(teal.color("a", "blue").open, 1);
}

/// `teal drain`: its exit code, and all that it said.
fn drain(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let output = place.teal(&[&["drain"], arguments].concat());
    (output.status.code(), said(&output))
}

#[test]
fn a_drained_color_gets_nothing_and_its_connections_end_at_the_deadline() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    place.write("", &[draining("a", "2s", &[("blue", 1, blue), ("green", 1, green)])]);
    let teal = place.start();
    let vip = teal.vip("a");
    let (first, second) = (Held::new(vip, 4), Held::new(vip, 4));
    let mut held = if first.name == "blue" { first } else { second };
    held.assert_alive();
    let (code, text) = drain(&place, &["a.local", "blue", "-m", "retired", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("changed on this host: a: blue {blue} disabled")), "{text}");
    assert!(text.contains("1 connection is left on this host, the oldest "), "{text}");
    assert!(text.contains("no connection is left to drain on this host"), "{text}");
    held.assert_cut();
    assert_eq!(cut(&teal, "a", "blue"), Some(1));
    for _ in 0..4 {
        assert_eq!(ask(vip), "green");
    }
    let journal = said(&place.teal(&["journal"]));
    assert!(journal.contains("retired"), "{journal}");
    // Both of them: nobody says that they are down, or tried.
    assert_eq!(drain(&place, &["a", "green", "-m", "as well"]).0, Some(0));
    let is_told =
        || teal.problem("health a:7080").is_some_and(|problem| problem.contains("disabled by hand"));
    until("that is told", is_told);
    let back = place.teal(&["endpoint", "enable", "a", "blue", "-m", "not retired after all"]);
    assert_eq!(back.status.code(), Some(0), "{}", said(&back));
    assert_eq!(ask(vip), "blue");
    until("that is over", || teal.problem("health a:7080").is_none());
}

#[test]
fn what_a_reload_removed_is_shown_and_can_be_waited_for() {
    let (place, old, new) = (Place::new(), backend("old"), backend("new"));
    let other = service("other", &[("blue", 1, new)]);
    place.write("", &[draining("a", "10m", &[("blue", 1, old)]), other.clone()]);
    let teal = place.start();
    let held = Held::new(teal.vip("a"), 3);
    place.write("", &[other]);
    place.reload_ok();
    let drains = teal.status().drains;
    let [drain_now] = &drains[..] else { panic!("{drains:?}") };
    assert_eq!((drain_now.why.as_str(), drain_now.left), ("removed", 1));
    assert!(drain_now.closed_in_seconds.is_some_and(|left| (590..=600).contains(&left)), "{drain_now:?}");
    let status = said(&place.teal(&["status"]));
    assert!(status.contains("DRAINING  COLOR") && status.contains("removed"), "{status}");
    let (code, text) = drain(&place, &["a", "--wait", "--timeout", "100ms"]);
    assert_eq!(code, Some(124), "{text}");
    assert!(text.contains("--timeout is over"), "{text}");
    drop(held);
    let (code, text) = drain(&place, &["a", "blue", &old.to_string(), "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("removed, or is misspelt"), "{text}");
    // Nothing was taken out of use by that.
    assert_eq!(ask(teal.vip("other")), "new");
}

#[test]
fn a_color_without_weight_drains_without_a_deadline() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    place.write("", &[draining("a", "0s", &[("blue", 1, blue), ("green", 0, green)])]);
    let teal = place.start();
    let mut held = Held::new(teal.vip("a"), 4);
    place.write("", &[draining("a", "0s", &[("blue", 0, blue), ("green", 1, green)])]);
    place.reload_ok();
    let drains = teal.status().drains;
    let told: Vec<_> = drains.iter().map(|d| (d.why.as_str(), d.left, d.closed_in_seconds)).collect();
    assert_eq!(told, [("weight 0", 1, None)]);
    let (code, text) = drain(&place, &["a", "blue", "--wait", "--timeout", "50ms"]);
    assert_eq!(code, Some(124), "{text}");
    assert!(text.contains("those of weight 0 end by themselves"), "{text}");
    held.assert_alive();
    drop(held);
    assert_eq!(drain(&place, &["a", "--wait"]).0, Some(0));
    let (code, text) = drain(&place, &["a", "green", "--wait"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("warning: that is in use"), "{text}");
}

#[test]
fn an_idle_connection_of_a_drain_ends_by_fin_and_is_counted_so() {
    let (place, old, new) = (Place::new(), backend("old"), backend("new"));
    place.write("", &[draining("a", "9s", &[("blue", 1, old)])]);
    let teal = place.start();
    let mut held = Held::new(teal.vip("a"), 3);
    place.write("", &[draining("a", "9s", &[("blue", 1, new)])]);
    place.reload_ok();
    held.assert_ended();
    let more = "color=\"blue\",reason=\"drain_idle\"";
    until("it is counted", || teal.metric(&series("connections_closed_total", "a", more)) == Some(1));
    assert_eq!(cut(&teal, "a", "blue"), None);
}

#[test]
fn a_drain_without_a_reason_or_anything_to_wait_for_is_wrong_usage() {
    let place = Place::new();
    for arguments in [&["a", "blue"][..], &["a", "-m", "why"], &["a", "--timeout", "1s"]] {
        assert_eq!(drain(&place, arguments).0, Some(2), "{arguments:?}");
    }
    assert_eq!(drain(&place, &["a", "--wait"]).0, Some(3), "nobody answers");
}
