//! Replies that come later, over TCP: out of order, bounded, and none lost (RFC 7766).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod server;
#[path = "support/dns.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use server::*;
use support::*;
use teal::dns::bind;
use teal::dns::tcp::Limits;
use teal::state::Lookup;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

/// An upstream that keeps questions until the test answers them.
struct Upstream {
    socket: UdpSocket,
    kept: Vec<(Vec<u8>, SocketAddr)>,
}

impl Upstream {
    /// Waits until so many different questions have come.
    async fn keep(&mut self, count: usize) {
        let mut space = [0; 2048];
        while self.kept.len() < count {
            let (octets, from) = within(self.socket.recv_from(&mut space)).await.unwrap();
            let packet = space[..octets].to_vec();
            let question = |packet: &[u8]| packet[12..].to_ascii_lowercase();
            if !self.kept.iter().any(|(known, _)| question(known) == question(&packet)) {
                self.kept.push((packet, from));
            }
        }
    }

    /// Answers the one numbered `index`: there is nothing of that name.
    async fn answer(&mut self, index: usize) {
        let (mut packet, to) = self.kept.remove(index);
        packet[2] |= 0x80;
        self.socket.send_to(&packet, to).await.unwrap();
    }
}

const LIMITS: Limits = Limits {
    connections: 4,
    connections_per_source: 4,
    queries_under_way: 4,
    idle: Duration::from_millis(300),
};

async fn start(limits: Limits) -> (Server, Upstream) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::small();
    let address = socket.local_addr().unwrap();
    world.catalog.settings.dns.forward.upstreams = vec![teal::model::Upstream::At(address)];
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = Server::run(bound, dns(&world, limits), CancellationToken::new());
    (server, Upstream { socket, kept: Vec::new() })
}

/// A name for each, as the same question is asked once.
fn outside(id: u16) -> Query {
    Query { id, ..Query::new(&format!("www{id}.example.org"), A) }
}

fn inside(id: u16) -> Query {
    Query { id, ..Query::new("servicea.local", A) }
}

async fn next_id(stream: &mut TcpStream) -> Option<u16> {
    read_message(stream).await.map(|reply| u16::from_be_bytes([reply[0], reply[1]]))
}

#[tokio::test]
async fn rfc7766_6_2_1_1_a_reply_that_is_ready_does_not_wait_for_one_that_is_not() {
    let (server, mut upstream) = start(LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let queries = [outside(1), inside(2), outside(3), inside(4)];
    stream.write_all(&queries.iter().flat_map(framed).collect::<Vec<u8>>()).await.unwrap();
    assert_eq!((next_id(&mut stream).await, next_id(&mut stream).await), (Some(2), Some(4)));
    upstream.keep(2).await;
    upstream.answer(1).await;
    assert_eq!(next_id(&mut stream).await, Some(3));
    upstream.answer(0).await;
    assert_eq!(next_id(&mut stream).await, Some(1));
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_reads_no_further_than_its_bound_and_goes_on_after_it() {
    let (server, mut upstream) = start(LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let queries: Vec<u8> = (0..40).flat_map(|id| framed(&outside(id))).collect();
    stream.write_all(&queries).await.unwrap();
    for id in 0..40 {
        let left = 40 - usize::from(id);
        upstream.keep(LIMITS.queries_under_way.min(left)).await;
        assert_eq!(server.dns.forwarder.in_flight(), LIMITS.queries_under_way.min(left));
        upstream.answer(0).await;
        assert_eq!(next_id(&mut stream).await, Some(id));
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn rfc7766_6_2_3_a_connection_that_waits_for_a_reply_is_not_idle() {
    let (server, mut upstream) = start(LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&framed(&outside(1))).await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(next_id(&mut silent).await, None, "idle from the start");
    upstream.keep(1).await;
    upstream.answer(0).await;
    assert_eq!(next_id(&mut stream).await, Some(1));
    assert_eq!(next_id(&mut stream).await, None);
    server.stop().await;
}

#[tokio::test]
async fn rfc7766_6_2_4_a_client_that_has_said_all_still_gets_its_replies() {
    let (server, mut upstream) = start(LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[framed(&outside(1)), framed(&outside(2))].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    upstream.keep(2).await;
    upstream.answer(1).await;
    assert_eq!(next_id(&mut stream).await, Some(2));
    upstream.answer(0).await;
    assert_eq!(next_id(&mut stream).await, Some(1));
    assert_eq!(next_id(&mut stream).await, None);
    server.stop().await;
}

#[tokio::test]
async fn at_a_stop_what_is_under_way_is_still_answered() {
    let (server, mut upstream) = start(LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let queries: Vec<u8> = (0..6).flat_map(|id| framed(&outside(id))).collect();
    stream.write_all(&queries).await.unwrap();
    upstream.keep(4).await;
    let stopping = tokio::spawn(server.stop());
    for id in 0..6 {
        upstream.keep(4.min(6 - usize::from(id))).await;
        upstream.answer(0).await;
        assert_eq!(next_id(&mut stream).await, Some(id));
    }
    assert_eq!(next_id(&mut stream).await, None);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_client_that_went_away_leaves_its_place_once_its_queries_are_answered() {
    let (server, mut upstream) = start(LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&framed(&outside(1))).await.unwrap();
    upstream.keep(1).await;
    drop(stream);
    upstream.answer(0).await;
    until(|| server.dns.tcp.open() == 0).await;
    server.stop().await;
}

#[test]
fn the_longest_match_decides_who_is_asked() {
    let answers = World::small().forwarding(&["corp.local", "b.a.local", "arpa"]).answers();
    let found = |name: &str| match answers.lookup(&wire_name(name)) {
        Lookup::Forward(Some(domain)) => answers.domain(domain).unwrap().to_string(),
        Lookup::Forward(None) => "upstreams".to_owned(),
        Lookup::Name(..) => "a name".to_owned(),
        Lookup::Missing(_) => "missing".to_owned(),
        Lookup::Outside => "refused".to_owned(),
    };
    for (name, expected) in [
        ("example.org", "upstreams"),
        ("local", "a name"),
        ("x.local", "missing"),
        ("xcorp.local", "missing"),
        ("corp.local", "corp.local"),
        ("dc1.corp.local", "corp.local"),
        ("a.local", "a name"),
        ("x.a.local", "missing"),
        ("x.y.b.a.local", "b.a.local"),
        ("1.0.80.127.in-addr.arpa", "missing"),
        ("e164.arpa", "arpa"),
        (".", "upstreams"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
}

#[test]
fn rfc1035_4_1_1_without_rd_nobody_else_is_asked() {
    let answers = World::small().forwarding(&["corp.local"]).answers();
    for name in ["example.org", "x.corp.local"] {
        let line = |query: Query| query.ask(&answers, UDP).line();
        assert_eq!(line(Query::new(name, A).flags(0)), "Refused ra");
        assert_eq!(line(Query::new(name, A).flags(0).opt(512)), "Refused ra | opt v0 1232 15:[0, 20]");
        assert_eq!(Query::new(name, AXFR).ask(&answers, TCP).line(), "Refused rd ra");
        assert_eq!(Query::new(name, A).ask(&answers, STRANGER).line(), "Refused rd ra");
    }
}
