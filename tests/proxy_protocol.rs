//! PROXY protocol on both sides: over real connections, in this process.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::sync::mpsc;

use support::{Backend, House, assert_refused, blue, connect, eventually, read_all, read_until_reset, reset};
use teal::model::testing::service;
use teal::model::{Affinity, AllowFrom, Color, ProxyProtocol, Service, Source};
use teal::state::{ClosedReason, ErrorReason};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n";
const EXPOSED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn telling(version: ProxyProtocol, mut color: Color) -> Color {
    color.proxy_protocol = Some(version);
    color
}

/// A service with an exposed address where these may send a header.
fn trusting(trusted: &str, color: Color) -> Service {
    let mut a = service("a", 0, vec![color]);
    a.ports[0].expose = vec![EXPOSED];
    a.policy.proxy_protocol_from = AllowFrom(vec![Source::Network(trusted.parse().unwrap())]);
    a
}

fn exposed(house: &House) -> SocketAddr {
    house.plane.bound()[&EXPOSED]
}

/// What the client says to an echo comes back, after the header that the echo got.
fn echoed(mut client: TcpStream) -> String {
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    read_all(&mut client)
}

#[test]
fn a_backend_is_told_the_client_and_the_vip_before_the_first_byte() {
    let echo = Backend::echo();
    let house = House::of(vec![telling(ProxyProtocol::V1, blue(1, &[echo.address]))]);
    let vip = house.vip();
    let client = connect(vip);
    let source = client.local_addr().unwrap();
    let wanted = format!("PROXY TCP4 {} {} {} {}\r\n", source.ip(), vip.ip(), source.port(), vip.port());
    assert_eq!(echoed(client), format!("{wanted}hello"));
    eventually("it has ended", || house.closed("blue", ClosedReason::Finished) == 1);
    let bytes_in = house.color("blue", |c| c.live.bytes_in.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(bytes_in, 5, "the header is no byte of the client's");
}

#[test]
fn a_backend_that_speaks_first_is_told_at_once() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::new(move |mut stream| {
        let mut header = [0; 28];
        stream.read_exact(&mut header).unwrap();
        tell.send(header).unwrap();
        stream.write_all(b"220 ready").unwrap();
    });
    let house = House::of(vec![telling(ProxyProtocol::V2, blue(1, &[backend.address]))]);
    let mut client = connect(house.vip());
    let header = told.recv_timeout(support::DEADLINE).unwrap();
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let port = client.local_addr().unwrap().port();
    assert_eq!(header[24..26], port.to_be_bytes());
    assert_eq!(read_all(&mut client), "220 ready");
}

#[test]
fn a_client_s_rst_is_still_an_rst_behind_a_header() {
    let (give, take) = mpsc::channel();
    let backend = Backend::new(move |stream| give.send(stream).unwrap());
    let house = House::of(vec![telling(ProxyProtocol::V2, blue(1, &[backend.address]))]);
    let release = house.hold_all();
    let client = connect(house.vip());
    reset(client);
    drop(release);
    eventually("nothing is left of it", || {
        house.errors("blue", ErrorReason::ClientGone) + house.closed("blue", ClosedReason::ClientReset) == 1
    });
    if house.served("blue") > 0 {
        read_until_reset(&mut take.recv_timeout(support::DEADLINE).unwrap());
    }
}

#[test]
fn the_address_that_a_trusted_sender_names_is_passed_on_with_what_came_behind_it() {
    let echo = Backend::echo();
    let house =
        House::new(vec![trusting("127.0.0.0/8", telling(ProxyProtocol::V1, blue(1, &[echo.address])))]);
    for split in [0, 1, 12, HEADER.len()] {
        let mut client = connect(exposed(&house));
        client.set_nodelay(true).unwrap();
        client.write_all(&HEADER[..split]).unwrap();
        client.write_all(&HEADER[split..]).unwrap();
        assert_eq!(echoed(client).as_bytes(), [HEADER, b"hello"].concat());
    }
    // Without a header towards backends it ends here.
    let house = House::new(vec![trusting("127.0.0.0/8", blue(1, &[echo.address]))]);
    let mut client = connect(exposed(&house));
    client.write_all(&[HEADER, b"early "].concat()).unwrap();
    assert_eq!(echoed(client), "early hello");
    let mut client = connect(exposed(&house));
    client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    assert_eq!(echoed(client), "hello");
}

#[test]
fn headers_are_expected_at_exposed_addresses_only() {
    let echo = Backend::echo();
    let house = House::new(vec![trusting("127.0.0.0/8", blue(1, &[echo.address]))]);
    assert_eq!(echoed(connect(house.vip())), "hello");
    assert_eq!(echoed(connect(house.preview("blue"))), "hello");
}

#[test]
fn who_is_not_trusted_is_refused_whatever_it_sends() {
    let echo = Backend::echo();
    let house = House::new(vec![trusting("192.0.2.0/24", blue(1, &[echo.address]))]);
    // It may be reset before the header is on its way, which is as well.
    if let Ok(mut client) = TcpStream::connect(exposed(&house)) {
        client.set_read_timeout(Some(support::DEADLINE)).unwrap();
        // Whoever learns of the RST first is the only one who does.
        if client.write_all(HEADER).is_ok() {
            assert_eq!(read_until_reset(&mut client), 0);
        }
    }
    eventually("it is counted", || house.early_errors(ErrorReason::ProxyProtocol) == 1);
    assert_eq!((house.decided("blue"), echo.accepted()), (0, 0));
}

#[test]
fn what_is_no_header_is_refused_and_takes_no_turn() {
    let echo = Backend::echo();
    let house = House::new(vec![trusting("127.0.0.0/8", blue(1, &[echo.address]))]);
    let endless = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(), vec![0; 4096]].concat();
    let cases: [&[u8]; 3] = [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 300.0.0.1 1.1.1.1 1 2\r\n", &endless];
    for (count, bytes) in (1..).zip(cases) {
        let mut client = connect(exposed(&house));
        let _ = client.write_all(bytes);
        assert_eq!(read_until_reset(&mut client), 0);
        assert_eq!(house.early_errors(ErrorReason::ProxyProtocol), count);
    }
    // Gone before the header was complete.
    let mut client = connect(exposed(&house));
    client.write_all(&HEADER[..20]).unwrap();
    drop(client);
    eventually("it is counted", || house.early_errors(ErrorReason::ProxyProtocol) == 4);
    eventually("their places are free", || house.plane.open_count() == 0);
    assert_eq!((house.decided("blue"), echo.accepted()), (0, 0));
}

#[test]
fn promise_15_a_header_that_does_not_come_is_waited_for_three_seconds_under_the_limit() {
    let echo = Backend::echo();
    let house = House::new(vec![trusting("127.0.0.0/8", blue(1, &[echo.address]))]);
    house.plane.shared().set_connections_max(1);
    let begun = std::time::Instant::now();
    let mut silent = connect(exposed(&house));
    eventually("it has a place", || house.plane.open_count() == 1);
    assert_refused(exposed(&house));
    assert_eq!(house.early_errors(ErrorReason::Limit), 1);
    assert_eq!(read_until_reset(&mut silent), 0);
    assert!(begun.elapsed() >= teal::proxy::preface::HEADER_TIMEOUT);
    assert_eq!(house.early_errors(ErrorReason::ProxyProtocol), 1);
}

#[test]
fn limits_count_the_client_that_the_header_names() {
    let echo = Backend::echo();
    let mut a = trusting("127.0.0.0/8", blue(1, &[echo.address]));
    a.policy.limits.source = NonZeroU32::new(1);
    let house = House::new(vec![a]);
    let open = |header: &[u8]| {
        let mut client = connect(exposed(&house));
        client.write_all(header).unwrap();
        client
    };
    let _held = open(HEADER);
    eventually("it is served", || house.open("blue") == 1);
    assert_eq!(read_until_reset(&mut open(HEADER)), 0);
    assert_eq!(house.early_errors(ErrorReason::LimitSource), 1);
    let _other = open(b"PROXY TCP4 192.0.2.8 198.51.100.2 56324 443\r\n");
    eventually("another client is served", || house.open("blue") == 2);
}

#[test]
fn affinity_goes_by_the_client_that_the_header_names() {
    let (first, second) = (Backend::saying("blue"), Backend::saying("green"));
    let mut a = trusting("127.0.0.0/8", blue(1, &[first.address]));
    a.colors.push(support::green(1, &[second.address]));
    a.policy.affinity = Affinity::SourceIp;
    let house = House::new(vec![a]);
    let color_of = |client: u8| {
        let mut stream = connect(exposed(&house));
        stream
            .write_all(format!("PROXY TCP4 192.0.2.{client} 198.51.100.2 5000 443\r\n").as_bytes())
            .unwrap();
        read_all(&mut stream)
    };
    let colors: Vec<String> = (0..40).map(color_of).collect();
    // All of them come from the same address.
    assert!(colors.iter().any(|color| color == "blue") && colors.iter().any(|color| color == "green"));
    assert_eq!((0..40).map(color_of).collect::<Vec<_>>(), colors, "each stays with its own");
}
