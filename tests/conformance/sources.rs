//! Who may ask, and where replies come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::battery::*;
use crate::process::until;
use crate::support::*;

fn a(id: u16) -> Vec<u8> {
    Query { id, ..Query::new("servicea.local", A) }.opt(1232).bytes()
}

#[test]
fn rfc8914_4_19_strangers_are_refused_and_the_pool_is_the_host() {
    let battery = Battery::start_with("upstreams = []\nallow_from = [\"host\"]");
    let line = |source: Ipv4Addr| parsed(ask_udp(&udp_from(source.into(), battery.server), &a(1))).line();
    assert_eq!(line(battery.place.outside()), "Refused rd ra | opt v0 1232 15:[0, 18]");
    for friend in [battery.place.address(77), battery.place.address(10), Ipv4Addr::LOCALHOST] {
        assert!(line(friend).starts_with("NoError aa rd ra | an servicea.local."), "{friend}");
    }
}

#[test]
fn rfc1122_4_1_3_5_replies_come_from_the_address_that_was_asked() {
    let battery = Battery::start();
    let text = std::fs::read_to_string(battery.place.config()).unwrap();
    battery.place.rename(&text.replacen("127.0.0.1:0", "0.0.0.0:0", 1));
    battery.place.reload_ok();
    until("it listens everywhere", || battery.teal.status().dns.listen[0].ip().is_unspecified());
    let port = battery.teal.status().dns.listen[0].port();
    for ip in
        [Ipv4Addr::LOCALHOST, battery.place.address(10), battery.place.address(99), battery.place.outside()]
    {
        let socket = udp(SocketAddr::new(IpAddr::V4(ip), port));
        for id in 0..20 {
            assert_eq!(ask_udp(&socket, &a(id))[..2], id.to_be_bytes(), "{ip}");
        }
    }
}

#[test]
fn queries_are_counted_by_scope_rcode_and_transport() {
    let battery = Battery::start();
    let socket = udp(battery.server);
    let mut stream = crate::clients::connect(battery.server);
    ask_udp(&socket, &a(1));
    ask_udp(&socket, &Query::new("x.localhost", A).bytes());
    ask_tcp(&mut stream, &Query::new("x.local", A).bytes()).unwrap();
    ask_tcp(&mut stream, &Query::new("example.org", A).bytes()).unwrap();
    for labels in [
        "scope=\"zone\",rcode=\"NOERROR\",transport=\"udp\"",
        "scope=\"special\",rcode=\"NOERROR\",transport=\"udp\"",
        "scope=\"zone\",rcode=\"NXDOMAIN\",transport=\"tcp\"",
        "scope=\"refused\",rcode=\"REFUSED\",transport=\"tcp\"",
    ] {
        assert_eq!(battery.teal.metric(&format!("teal_dns_queries_total{{{labels}}}")), Some(1), "{labels}");
    }
}
