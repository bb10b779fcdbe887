//! Health checks of the running daemon: when it is ready, and what status and metrics say.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::clients::{ask, backend};
use crate::process::{PORT, Place, said, service, service_with, until};

/// READY waits so long for the first checks at most.
const FIRST_ROUND: Duration = Duration::from_secs(5);

#[test]
fn promise_14_ready_waits_for_the_first_checks_5_s_at_the_latest() {
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let place = Place::new();
    let check = "health = { kind = \"http\", interval = \"1m\", timeout = \"1m\" }";
    place.write("", &[service_with("a", check, &[("blue", 1, address)])]);
    let begun = Instant::now();
    let mut teal = place.spawn(place.command());
    until("teal answers", || place.teal(&["status"]).status.success());
    assert_eq!(teal.status().phase, "starting");
    assert!(teal.get("/readyz").0.starts_with("HTTP/1.1 503"));
    assert!(teal.get("/healthz").0.starts_with("HTTP/1.1 200"));
    assert_eq!(teal.resolve("a.local.").len(), 1, "DNS is up before health checks");
    until("teal is ready", || teal.status().phase == "ready");
    assert!(begun.elapsed() >= FIRST_ROUND.mul_f64(0.9), "{:?}", begun.elapsed());
    assert!(teal.get("/readyz").0.starts_with("HTTP/1.1 200"));
    until("the log says why", || teal.log_has("some endpoints have not been checked"));
    assert_eq!(teal.color("a", "blue").endpoints[0].health, "pending");
    // Not ready yet is no reason not to stop.
    teal.terminate();
    assert_eq!(teal.wait().code(), Some(0));
    let mut teal = place.spawn(place.command());
    until("teal answers", || place.teal(&["status"]).status.success());
    let begun = Instant::now();
    teal.terminate();
    assert_eq!(teal.wait().code(), Some(0));
    assert!(begun.elapsed() < FIRST_ROUND, "{:?}", begun.elapsed());
}

#[test]
fn status_and_metrics_say_which_endpoints_work() {
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let works = backend("works");
    let place = Place::new();
    let two = service("a", &[("blue", 1, works)])
        .replace(&format!("[\"{works}\"]"), &format!("[\"{works}\", \"{down}\"]"));
    let unchecked = service_with("b", "health = { kind = \"none\" }", &[("blue", 1, down)]);
    place.write("", &[two, unchecked, service("c", &[("blue", 1, down)])]);
    let teal = place.start();
    let series = |family: &str, of: &str| {
        teal.metric(&format!("teal_{family}{{service=\"a\",port=\"{PORT}\",color=\"blue\",{of}}}"))
    };
    assert_eq!(series("endpoint_up", &format!("endpoint=\"{works}\"")), Some(1));
    assert_eq!(series("endpoint_up", &format!("endpoint=\"{down}\"")), Some(0));
    for (state, count) in [("healthy", 1), ("unhealthy", 1), ("pending", 0)] {
        assert_eq!(series("color_endpoints", &format!("state=\"{state}\"")), Some(count), "{state}");
    }
    assert!(!teal.metrics().contains("teal_endpoint_up{service=\"b\""), "nobody knows");
    let text = said(&place.teal(&["status"]));
    assert!(text.contains("1/2 healthy") && text.contains("0/1 healthy"), "{text}");
    let problem = teal.problem(&format!("health c:{PORT}")).unwrap();
    assert!(
        problem.contains("every endpoint with weight is down") && problem.contains("all the same"),
        "{problem}"
    );
    let text = said(&place.teal(&["status", "a"]));
    for word in ["healthy", "unhealthy", &down.to_string()] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
    until("the log says which", || teal.log_has("endpoint is unhealthy"));
    assert_eq!(ask(teal.vip("a")), "works");
    // The series leave with the endpoint.
    place.write("", &[service("a", &[("blue", 1, works)])]);
    place.reload(&["--allow-removal"]);
    until("its series leave", || !teal.metrics().contains(&format!("endpoint=\"{down}\"")));
    until("no problem is left", || teal.status().problems.is_empty());
}
