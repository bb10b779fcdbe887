//! What an operator learns about names: `teal dns query`, and the query log.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record};
use serde_json::{Value, json};
use teal::admin::report::DnsQueryReport;

use crate::clients::{backend, resolve};
use crate::process::{Place, Teal, said, service, until};

const RECORDS: &str = "[dns.records]\n\"printer.local\" = { a = [\"192.0.2.10\"] }\n\
                       \"www.local\" = { cname = \"a.local\" }\n";

fn place() -> Place {
    let place = Place::new();
    place.write(RECORDS, &[service("a", &[("blue", 1, backend("blue"))])]);
    place
}

#[test]
fn dns_query_tells_the_answer_and_where_it_comes_from() {
    let place = place();
    let teal = place.start();
    let vip = teal.service("a").vip;
    for (arguments, code, parts) in [
        (
            &["a.local"][..],
            0,
            &["a.local. A: NOERROR (zone)", "the virtual IP of service a", &vip.to_string()][..],
        ),
        (&["blue.A.local."], 0, &["(zone)", "color blue of service a alone"]),
        (&["a.local", "AAAA"], 0, &["NOERROR (zone)", "authority", "SOA"]),
        (&["printer.local"], 0, &["192.0.2.10", "`[dns.records.\"printer.local\"]`"]),
        (&["www.local"], 0, &["CNAME", "an alias of a.local", &vip.to_string()]),
        (&["ns.local"], 0, &["the name server of the zone"]),
        (&["local", "soa"], 0, &["local is a zone of teal"]),
        (&["x.local"], 1, &["NXDOMAIN (zone)", "no such name in zone local", "nobody else is asked"]),
        (&["x.localhost", "TYPE28"], 0, &["(special)", "::1", "localhost is a special name"]),
        (&["a"], 1, &["REFUSED (refused)", "not in the zones (local): service a is a.local"]),
        (&["example.org"], 1, &["REFUSED (refused)", "not in the zones (local), and no upstreams are asked"]),
        (&["a.local", "--from", "192.0.2.7"], 1, &["REFUSED", "192.0.2.7 is not in `[dns] allow_from`"]),
        (&["a.local", "--from", "127.0.0.1"], 0, &["NOERROR"]),
        (&["a.local", "NOTYPE"], 1, &["\"NOTYPE\" is no type: write A, AAAA, SRV or TYPE65"]),
        (&["a..local"], 1, &["\"a..local\" is no name"]),
    ] {
        let output = place.teal(&[&["dns", "query"], arguments].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {part} is missing in:\n{said}");
        }
    }
    let output = place.teal(&["dns", "query", "a.local", "--json"]);
    let report: DnsQueryReport = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report.scope.as_str(), report.rcode.as_deref()), ("zone", Some("NOERROR")));
    assert_eq!((report.records.len(), report.records[0].data.clone()), (1, vip.to_string()));
    assert_eq!(
        teal.metric("teal_dns_queries_total{scope=\"zone\",rcode=\"NOERROR\",transport=\"tcp\"}"),
        None
    );
}

/// How often each DNS thread has waited for something to do, by the thread's name.
fn waits(teal: &Teal) -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", teal.child.id())).unwrap();
    let waits = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let is_dns = name.strip_prefix("teal-dns-").is_some_and(|number| number.parse::<u32>().is_ok());
        is_dns.then(|| (name, switches.unwrap().trim().parse().unwrap()))
    });
    waits.collect()
}

#[test]
fn each_core_has_a_thread_that_answers() {
    const QUERIES: usize = 64;
    let place = place();
    let teal = place.start();
    let cores = thread::available_parallelism().unwrap().get();
    let before = waits(&teal);
    assert_eq!(before.len(), cores, "{before:?}");
    for _ in 0..QUERIES {
        assert_eq!(teal.resolve("a.local."), [teal.service("a").vip]);
    }
    let after = waits(&teal);
    // Each query is one from another port. By chance alone a thread would hardly ever get so few.
    let enough = (QUERIES / cores / 4).max(1) as u64;
    assert!(before.iter().all(|(name, before)| after[name] >= before + enough), "{before:?}, {after:?}");
}

fn lines(teal: &Teal) -> Vec<Value> {
    let log = teal.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "teal::query").collect()
}

#[test]
fn queries_are_logged_one_of_so_many() {
    let place = place();
    let services = [service("a", &[("blue", 1, backend("blue"))])];
    let with = |keys: &str| place.text("", &services).replacen("[dns]\n", &format!("[dns]\n{keys}\n"), 1);
    place.rename(&with("log_queries = true"));
    let mut teal = place.spawn(place.command_with_json());
    until("teal answers", || place.teal(&["status"]).status.success());
    let server = teal.status().dns.listen[0];
    resolve(server, "a.local.");
    resolve(server, "x.local.");
    until("both have a line", || lines(&teal).len() == 2);
    let found = lines(&teal);
    for (field, value) in [
        ("name", json!("a.local.")),
        ("type", json!("A")),
        ("source", json!("127.0.0.1")),
        ("transport", json!("udp")),
        ("scope", json!("zone")),
        ("rcode", json!("NOERROR")),
    ] {
        assert_eq!(found[0][field], value, "{field}");
    }
    assert_eq!((&found[1]["name"], &found[1]["rcode"]), (&json!("x.local."), &json!("NXDOMAIN")));
    place.rename(&with("log_queries = true\nlog_one_in = 5"));
    place.reload_ok();
    for _ in 0..10 {
        resolve(server, "a.local.");
    }
    until("two of ten have a line", || lines(&teal).len() == 4);
    place.rename(&with("log_one_in = 5"));
    place.reload_ok();
    for _ in 0..10 {
        resolve(server, "a.local.");
    }
    teal.terminate();
    teal.wait();
    assert_eq!(lines(&teal).len(), 4, "none after it was switched off");
}

/// A server that gives every name the address 192.0.2.LAST, until the test's process ends.
fn upstream(last: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut space = [0; 1232];
        while let Ok((octets, client)) = socket.recv_from(&mut space) {
            let mut answer = Message::from_vec(&space[..octets]).unwrap();
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.recursion_available = true;
            let name = answer.queries[0].name().clone();
            let data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
            answer.answers.push(Record::from_rdata(name, 300, data));
            let _ = socket.send_to(&answer.to_vec().unwrap(), client);
        }
    });
    address
}

#[test]
fn names_outside_are_asked_of_the_upstreams_as_they_change_and_kept_until_they_are_flushed() {
    let place = Place::new();
    let (first, second) = (upstream(1), upstream(2));
    let with = |upstream: SocketAddr| {
        place.text("", &[]).replace("upstreams = []", &format!("upstreams = [\"{upstream}\"]"))
    };
    place.rename(&with(first));
    let teal = place.start();
    assert_eq!(teal.resolve("www.example.org"), [Ipv4Addr::new(192, 0, 2, 1)]);
    let up = |upstream: SocketAddr| format!("teal_dns_upstream_up{{upstream=\"{upstream}\"}}");
    assert_eq!(teal.metric(&up(first)), Some(1));
    let forwarded = "teal_dns_queries_total{scope=\"forwarded\",rcode=\"NOERROR\",transport=\"udp\"}";
    assert_eq!(teal.metric(forwarded), Some(1));
    let said_status = said(&place.teal(&["status"]));
    assert!(said_status.contains(&format!("upstream {first}: up, ")), "{said_status}");
    let said_query = said(&place.teal(&["dns", "query", "www.example.org"]));
    assert!(said_query.contains("(cache)") && said_query.contains("192.0.2.1"), "{said_query}");
    assert!(said_query.contains(&format!("{first} answered in ")), "{said_query}");
    assert!(said_query.contains(" s ago; `teal dns flush` forgets it"), "{said_query}");
    let report = |arguments: &[&str]| {
        let output = place.teal(&[&["dns", "query", "--json"], arguments].concat());
        serde_json::from_slice::<DnsQueryReport>(&output.stdout).unwrap()
    };
    let kept = report(&["www.example.org"]);
    assert_eq!((kept.scope.as_str(), kept.upstream), ("cache", Some(first.to_string())));
    assert!(kept.kept_seconds.is_some() && kept.rtt_ms.is_some());
    // Asked anew, as it was not asked before.
    let asked = report(&["www.example.net"]);
    assert_eq!((asked.scope.as_str(), asked.upstream), ("forwarded", Some(first.to_string())));
    assert!(
        asked.kept_seconds.is_none() && asked.rtt_ms.is_some_and(|rtt| rtt < 2000.0),
        "{:?}",
        asked.rtt_ms
    );
    assert_eq!(teal.metric(forwarded), Some(1), "the operator's questions are not counted");
    assert_eq!(place.teal(&["dns", "flush", "example.net"]).status.code(), Some(0));
    place.rename(&with(second));
    place.reload_ok();
    assert_eq!(teal.resolve("www.example.org"), [Ipv4Addr::new(192, 0, 2, 1)], "a reload keeps it");
    assert_eq!(teal.metric("teal_dns_cache_entries"), Some(1));
    assert_eq!(said(&place.teal(&["dns", "flush", "example.com"])), "0 answers forgotten on this host\n");
    assert_eq!(said(&place.teal(&["dns", "flush"])), "1 answer forgotten on this host\n");
    assert_eq!(teal.resolve("www.example.org"), [Ipv4Addr::new(192, 0, 2, 2)]);
    assert_eq!((teal.metric(&up(first)), teal.metric(&up(second))), (None, Some(1)));
}
