//! Addresses that somebody else holds: a reload is refused, a start goes on without them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clients::{ask, backend, resolve};
use crate::process::{PORT, Place, Teal, service, service_with, until};

/// Holds an address in place of a foreign process.
fn foreign(address: impl Into<SocketAddr>) -> TcpListener {
    TcpListener::bind(address.into()).unwrap()
}

/// Fails unless the message names the address and this process as its holder, and says what to do.
fn assert_names_us(message: &str, address: &str) {
    let pid = format!("(pid {})", std::process::id());
    for part in [address, &pid, "stop what holds it or choose another address"] {
        assert!(message.contains(part), "{part} is missing in:\n{message}");
    }
    assert_eq!(message.matches(&pid).count(), 1, "said once is enough:\n{message}");
}

fn failed(teal: &Teal) -> u64 {
    teal.metric("teal_listeners_failed").unwrap()
}

fn service_at(name: &str, vip: std::net::Ipv4Addr, blue: SocketAddr) -> String {
    service_with(name, &format!("vip = \"{vip}\""), &[("blue", 1, blue)])
}

#[test]
fn promise_4_a_reload_that_cannot_listen_is_refused_and_names_the_holder() {
    let (place, blue) = (Place::new(), backend("blue"));
    let a = service("a", &[("blue", 1, blue)]);
    place.write("", std::slice::from_ref(&a));
    let teal = place.start();
    let wanted = place.address(20);
    let holder = foreign((wanted, PORT));
    place.write("", &[a, service_at("b", wanted, blue)]);
    let (code, said) = place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert_names_us(&said, &format!("{wanted}:{PORT}"));
    assert_eq!(teal.status().services.len(), 1);
    assert_eq!(ask(teal.vip("a")), "blue");
    assert!(teal.resolve("b.local.").is_empty());
    assert_eq!(failed(&teal), 0);
    drop(holder);
    place.reload_ok();
    assert_eq!(ask((wanted, PORT).into()), "blue");
}

#[test]
fn an_exposed_address_that_is_taken_refuses_the_reload() {
    let (place, blue) = (Place::new(), backend("blue"));
    let a = service("a", &[("blue", 1, blue)]);
    place.write("", std::slice::from_ref(&a));
    let teal = place.start();
    let address = SocketAddr::from((place.outside(), 7090));
    let holder = foreign(address);
    let exposed = format!("listen = {PORT}, expose = [\"{address}\"]");
    place.write("", &[a.replace(&format!("listen = {PORT}"), &exposed)]);
    let (code, said) = place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert_names_us(&said, &address.to_string());
    drop(holder);
    place.reload_ok();
    assert_eq!(ask(address), "blue");
    assert_eq!(ask(teal.vip("a")), "blue");
}

#[test]
fn a_start_without_one_address_runs_the_rest_and_recovers() {
    let (place, blue) = (Place::new(), backend("blue"));
    let wanted = place.address(20);
    let holder = foreign((wanted, PORT));
    place.write("", &[service("a", &[("blue", 1, blue)]), service_at("b", wanted, blue)]);
    let teal = place.start();
    assert_eq!(ask(teal.vip("a")), "blue");
    assert_eq!(teal.resolve("b.local."), [wanted]);
    let subject = format!("listen {wanted}:{PORT}");
    assert_names_us(&teal.problem(&subject).unwrap(), &format!("{wanted}:{PORT}"));
    assert_eq!(failed(&teal), 1);
    let status = String::from_utf8(place.teal(&["status"]).stdout).unwrap();
    assert!(status.contains(&format!("problem: {subject}")), "{status}");
    drop(holder);
    until("it listens", || teal.problem(&subject).is_none());
    assert_eq!(ask((wanted, PORT).into()), "blue");
    assert_eq!(failed(&teal), 0);
}

#[test]
fn a_reload_works_while_another_service_cannot_listen() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    let wanted = place.address(20);
    let _holder = foreign((wanted, PORT));
    let b = service_at("b", wanted, blue);
    place.write("", &[service("a", &[("blue", 1, blue), ("green", 0, green)]), b.clone()]);
    let teal = place.start();
    // A rollback must work although b has been failing since the start.
    place.write("", &[service("a", &[("blue", 0, blue), ("green", 1, green)]), b]);
    place.reload_ok();
    assert_eq!(ask(teal.vip("a")), "green");
    assert_eq!(failed(&teal), 1);
}

#[test]
fn dns_comes_once_its_address_is_free() {
    let (place, blue) = (Place::new(), backend("blue"));
    let address = SocketAddr::from((place.address(53), 7053));
    let holder = foreign(address);
    let text = place.text("", &[service("a", &[("blue", 1, blue)])]);
    place.rename(&text.replacen("127.0.0.1:0", &address.to_string(), 1));
    let teal = place.start();
    assert!(teal.status().dns.listen.is_empty());
    assert_names_us(&teal.problem(&format!("dns {address}")).unwrap(), &address.to_string());
    assert_eq!(failed(&teal), 1);
    assert_eq!(ask(teal.vip("a")), "blue");
    drop(holder);
    until("it listens", || teal.status().dns.listen == [address]);
    assert_eq!(teal.vip("a").ip(), resolve(address, "a.local.")[0]);
    assert!(teal.status().problems.is_empty());
    assert_eq!(failed(&teal), 0);
}

#[test]
fn metrics_come_once_their_address_is_free() {
    let (place, blue) = (Place::new(), backend("blue"));
    let address = SocketAddr::from((place.outside(), 7091));
    let holder = foreign(address);
    let text = place.text("", &[service("a", &[("blue", 1, blue)])]);
    let metrics = "[metrics]\nlisten = \"";
    place.rename(&text.replace(&format!("{metrics}127.0.0.1:0"), &format!("{metrics}{address}")));
    let teal = place.start();
    assert_eq!(teal.status().metrics, None);
    assert_names_us(&teal.problem("metrics").unwrap(), &address.to_string());
    assert_eq!(ask(teal.vip("a")), "blue");
    drop(holder);
    until("it listens", || teal.status().metrics == Some(address));
    assert!(teal.status().problems.is_empty());
    assert_eq!(failed(&teal), 0);
}

/// The configuration of `text` with DNS at these addresses.
fn at(text: &str, listen: &[SocketAddr]) -> String {
    let listen: Vec<String> = listen.iter().map(|address| format!("\"{address}\"")).collect();
    text.replacen("\"127.0.0.1:0\"", &listen.join(", "), 1)
}

#[test]
fn dns_moves_to_another_address_and_no_query_is_lost() {
    let (place, blue) = (Place::new(), backend("blue"));
    let text = place.text("", &[service("a", &[("blue", 1, blue)])]);
    let [first, second] = [53, 54].map(|last| SocketAddr::from((place.address(last), 7053)));
    place.rename(&at(&text, &[first]));
    let teal = place.start();
    let vip = teal.vip("a").ip();
    let asked_at = Mutex::new(first);
    let done = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let address = *asked_at.lock().unwrap();
                assert_eq!(resolve(address, "a.local."), [vip], "at {address}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for listen in [&[first, second][..], &[second], &[first], &[second, first], &[second]] {
            place.rename(&at(&text, listen));
            place.reload_ok();
            assert_eq!(teal.status().dns.listen.len(), listen.len());
            // The socket that is let go of still answers while the client changes over.
            *asked_at.lock().unwrap() = listen[0];
            let so_far = asked.load(Ordering::Relaxed);
            until("the client asked some more", || {
                client.is_finished() || asked.load(Ordering::Relaxed) > so_far + 20
            });
        }
        done.store(true, Ordering::Relaxed);
        client.join().unwrap();
    });
    until("the first address is free", || TcpListener::bind(first).is_ok());
}

#[test]
fn a_reload_that_cannot_listen_for_dns_is_refused() {
    let (place, blue) = (Place::new(), backend("blue"));
    let text = place.text("", &[service("a", &[("blue", 1, blue)])]);
    let [first, second] = [53, 54].map(|last| SocketAddr::from((place.address(last), 7053)));
    place.rename(&at(&text, &[first]));
    let teal = place.start();
    let holder = foreign(second);
    let more = service("b", &[("blue", 1, blue)]);
    place.rename(&(at(&text, &[second]) + &more));
    let (code, said) = place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert_names_us(&said, &second.to_string());
    assert_eq!(resolve(first, "a.local."), [teal.vip("a").ip()]);
    assert_eq!(teal.status().services.len(), 1, "nothing else changed either");
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 7053));
    place.rename(&at(&text, &[everywhere]));
    let (_, said) = place.reload(&[]);
    assert!(said.contains(&format!("teal itself listens at {first}")), "{said}");
    drop(holder);
    place.rename(&at(&text, &[second]));
    place.reload_ok();
    assert_eq!(resolve(second, "a.local."), [teal.vip("a").ip()]);
}

#[test]
fn an_address_that_never_came_can_be_left_out() {
    let (place, blue) = (Place::new(), backend("blue"));
    let text = place.text("", &[service("a", &[("blue", 1, blue)])]);
    let [first, second] = [53, 54].map(|last| SocketAddr::from((place.address(last), 7053)));
    let _holder = foreign(second);
    place.rename(&at(&text, &[first, second]));
    let teal = place.start();
    assert_eq!(failed(&teal), 1);
    place.rename(&at(&text, &[first]));
    place.reload_ok();
    until("it is forgotten", || failed(&teal) == 0 && teal.status().problems.is_empty());
    assert_eq!(resolve(first, "a.local."), [teal.vip("a").ip()]);
}
