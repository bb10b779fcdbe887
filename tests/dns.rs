//! DNS over real sockets on loopback: UDP in bursts and on wildcard addresses, TCP in pieces and in bulk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod server;
#[path = "support/dns.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use hickory_proto::op::Message;
use server::*;
use support::*;
use teal::dns::tcp::Limits;
use teal::dns::{Transport, bind};
use teal::model::{AllowFrom, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

fn query(id: u16) -> Query {
    Query { id, ..Query::new("servicea.local", A) }
}

/// Checks a reply to [`query`] and gives its ID.
fn id_of(reply: &[u8]) -> u16 {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.answers.len(), 1);
    message.metadata.id
}

/// Sends queries with these IDs, then takes as many replies.
async fn ask_all(client: &tokio::net::UdpSocket, ids: std::ops::Range<u16>) {
    for id in ids.clone() {
        client.send(&query(id).bytes()).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in ids.clone() {
        seen.push(id_of(&receive(client).await));
    }
    seen.sort_unstable();
    assert_eq!(seen, ids.collect::<Vec<_>>());
}

#[tokio::test]
async fn udp_and_tcp_share_a_port_that_the_kernel_chose() {
    let server = Server::start("127.0.0.1:0");
    assert_ne!(server.address.port(), 0);
    ask_all(&udp_client(server.address).await, 0..1).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(id_of(&ask_tcp(&mut stream, &query(9)).await.unwrap()), 9);
    server.stop().await;
}

#[tokio::test]
async fn a_burst_is_answered_whole() {
    let server = Server::start("127.0.0.1:0");
    let client = udp_client(server.address).await;
    for round in 0..20 {
        ask_all(&client, round * 100..(round + 1) * 100).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn promise_10_replies_leave_from_the_address_that_was_asked() {
    let server = Server::start("0.0.0.0:0");
    let clients = ["127.0.0.1", "127.0.0.2", "127.1.2.3"].map(|ip| server.at(ip));
    for address in clients {
        ask_all(&udp_client(address).await, 0..40).await;
    }
    // In one batch as well: once a client may send, nothing else runs between the sends.
    let clients = [udp_client(clients[1]).await, udp_client(clients[2]).await];
    for client in &clients {
        client.writable().await.unwrap();
    }
    for id in 0..10 {
        for client in &clients {
            client.send(&query(id).bytes()).now_or_never().unwrap().unwrap();
        }
    }
    for id in 0..10 {
        for client in &clients {
            assert_eq!(id_of(&receive(client).await), id);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn promise_10_replies_leave_from_the_ipv6_address_that_was_asked() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("not run: this host has no IPv6");
        return;
    }
    let wildcard = Server::start("[::]:0");
    ask_all(&udp_client(wildcard.at("::1")).await, 0..40).await;
    let exact = Server::start("[::1]:0");
    ask_all(&udp_client(exact.address).await, 0..40).await;
    ask_all(&udp_client(wildcard.at("::1")).await, 0..40).await;
    wildcard.stop().await;
    exact.stop().await;
}

#[tokio::test]
async fn what_gets_no_reply_does_not_hold_up_what_does() {
    let server = Server::start("127.0.0.1:0");
    let client = udp_client(server.address).await;
    for junk in [&b"short"[..], &query(1).flags(0x8000).bytes(), &[0; 5000], &[]] {
        client.send(junk).await.unwrap();
        client.send(&query(2).bytes()).await.unwrap();
        assert_eq!(id_of(&receive(&client).await), 2);
    }
    server.stop().await;
}

#[tokio::test]
async fn at_a_stop_what_was_received_is_answered() {
    let bound = bind("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    let client = udp_client(bound.address).await;
    for id in 0..100 {
        client.send(&query(id).bytes()).await.unwrap();
    }
    let mut stream = TcpStream::connect(bound.address).await.unwrap();
    stream.write_all(&[framed(&query(1)), framed(&query(2))].concat()).await.unwrap();
    let stopped = CancellationToken::new();
    stopped.cancel();
    Server::run(bound, dns(&World::small(), Limits::default()), stopped).stop().await;
    for id in 0..100 {
        assert_eq!(id_of(&receive(&client).await), id);
    }
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 1);
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 2);
    assert!(read_message(&mut stream).await.is_none());
}

#[tokio::test]
async fn the_next_query_sees_a_new_snapshot() {
    let server = Server::start("127.0.0.1:0");
    let client = udp_client(server.address).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let added = Query::new("added.local", A);
    client.send(&added.bytes()).await.unwrap();
    assert!(Message::from_vec(&receive(&client).await).unwrap().answers.is_empty());
    let world = World::new(settings(&["local"], "127.80.0.0/16"), vec![service("added", &[])]);
    server.dns.snapshot.store(snapshot(&world));
    client.send(&added.bytes()).await.unwrap();
    assert_eq!(id_of(&receive(&client).await), added.id);
    assert_eq!(id_of(&ask_tcp(&mut stream, &added).await.unwrap()), added.id);
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn rfc7766_6_2_1_1_a_thousand_queries_in_a_row_are_answered_in_order() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let bulk: Vec<u8> = (0..1000).flat_map(|id| framed(&query(id))).collect();
    stream.write_all(&bulk).await.unwrap();
    for id in 0..1000 {
        assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), id);
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn rfc7766_8_messages_may_come_in_any_pieces() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let two: Vec<u8> = [framed(&query(1)), framed(&query(2))].concat();
    for octet in &two {
        stream.write_all(&[*octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 1);
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 2);
    // A client that says no more is still answered, and then the connection ends.
    stream.write_all(&framed(&query(3))).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 3);
    assert!(read_message(&mut stream).await.is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_no_query_ends_its_connection_after_the_replies_before_it() {
    let server = Server::start("127.0.0.1:0");
    for junk in [framed(&query(1).flags(0x8000)), vec![0, 0], vec![0, 3, 1, 2, 3]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&[framed(&query(1)), junk].concat()).await.unwrap();
        assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 1);
        assert!(read_message(&mut stream).await.is_none());
    }
    server.stop().await;
}

const QUICK: Limits = Limits {
    connections: 2,
    connections_per_source: 2,
    queries_under_way: 3,
    idle: Duration::from_millis(200),
};
const PATIENT: Limits = Limits { idle: Duration::from_secs(3600), ..QUICK };

#[tokio::test]
async fn rfc7766_6_2_3_idle_connections_are_closed_and_drops_of_octets_do_not_help() {
    let server = Server::start_with("127.0.0.1:0", &World::small(), QUICK);
    let since = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut dripping = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(id_of(&ask_tcp(&mut silent, &query(1)).await.unwrap()), 1);
    dripping.write_all(&[0xff, 0xff]).await.unwrap();
    let mut drip = tokio::time::interval(QUICK.idle / 20);
    let dripped = within(async {
        let mut space = [0];
        loop {
            tokio::select! {
                read = dripping.read(&mut space) => break read,
                _ = drip.tick() => {}
            }
            let _ = dripping.try_write(&[0]);
        }
    });
    assert!(!matches!(dripped.await, Ok(1..)));
    assert!(read_message(&mut silent).await.is_none());
    assert!(since.elapsed() >= QUICK.idle);
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_read_replies_loses_the_connection() {
    let world = World::new(
        settings(&["local"], "127.80.0.0/16"),
        vec![service("crowded", &(1..=1000).map(|port| (port, "many")).collect::<Vec<_>>())],
    );
    let server = Server::start_with("127.0.0.1:0", &world, QUICK);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let bulk = framed(&Query::new("_many._tcp.crowded.local", SRV)).repeat(1000);
    // 33 MB of replies do not fit into any socket's buffers.
    let _ = within(stream.write_all(&bulk)).await;
    until(|| server.dns.tcp.open() == 1).await;
    until(|| server.dns.tcp.open() == 0).await;
    server.stop().await;
}

/// A connection from that address.
async fn connect_from(source: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(server).await.unwrap()
}

#[tokio::test]
async fn promise_15_above_the_bounds_newcomers_are_closed_and_places_come_back() {
    let limits = Limits { connections: 3, ..PATIENT };
    let server = Server::start_with("127.0.0.1:0", &World::small(), limits);
    let mut open = Vec::new();
    for source in ["127.0.0.1", "127.0.0.1", "127.0.0.2"] {
        let mut stream = connect_from(source, server.address).await;
        assert!(ask_tcp(&mut stream, &query(1)).await.is_some());
        open.push(stream);
        if open.len() == 2 {
            let mut third = connect_from("127.0.0.1", server.address).await;
            assert!(ask_tcp(&mut third, &query(1)).await.is_none(), "two of one source");
        }
    }
    let mut fourth = connect_from("127.0.0.3", server.address).await;
    assert!(ask_tcp(&mut fourth, &query(1)).await.is_none(), "three in all");
    for stream in &mut open {
        assert!(ask_tcp(stream, &query(2)).await.is_some(), "those inside stay");
    }
    open.remove(0);
    until(|| server.dns.tcp.open() == 2).await;
    let mut next = connect_from("127.0.0.1", server.address).await;
    assert!(ask_tcp(&mut next, &query(3)).await.is_some());
    drop((open, next));
    server.stop().await;
}

#[tokio::test]
async fn strangers_are_refused_over_udp_and_closed_over_tcp() {
    let mut world = World::small();
    world.catalog.settings.dns.allow_from = AllowFrom(vec![Source::Network("127.0.0.2/32".parse().unwrap())]);
    let server = Server::start_with("127.0.0.1:0", &world, PATIENT);
    let client = udp_client(server.address).await;
    client.send(&query(1).opt(1232).bytes()).await.unwrap();
    let refused =
        Reply::parse(receive(&client).await, teal::dns::Verdict::Drop(teal::dns::DropReason::Short));
    assert_eq!(refused.line(), "Refused rd ra | opt v0 1232 15:[0, 18]");
    let mut stranger = connect_from("127.0.0.1", server.address).await;
    assert!(ask_tcp(&mut stranger, &query(1)).await.is_none());
    let mut friend = connect_from("127.0.0.2", server.address).await;
    assert!(ask_tcp(&mut friend, &query(1)).await.is_some());
    drop(friend);
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_transport_and_the_cause() {
    let taken = bind("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    let address = taken.address;
    let error = bind(address, THREADS).unwrap_err();
    assert_eq!((error.address, error.transport), (address, Transport::Tcp));
    let text = format!("cannot listen at {address} over tcp for DNS: Address already in use (os error 98)");
    assert_eq!(error.to_string(), text);
    drop(taken);
    let udp = std::net::UdpSocket::bind(address).unwrap();
    assert_eq!(bind(address, THREADS).unwrap_err().transport, Transport::Udp);
    drop(udp);
    bind(address, THREADS).expect("nothing stays bound after a failure");
}
