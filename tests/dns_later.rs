//! Replies that come later, over TCP: out of order, bounded, and none lost (RFC 7766).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod server;
#[path = "support/dns.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use server::*;
use support::*;
use teal::dns::cache::Kept as KeptAnswer;
use teal::dns::tcp::Limits;
use teal::dns::{Forward, Outside, Rcode, Scope, WayBack, bind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A packet and the way back of its reply.
type Taken = (Vec<u8>, WayBack);

/// Keeps queries until the test answers them.
#[derive(Debug, Default, Clone)]
struct Kept(Arc<Mutex<Vec<Taken>>>);

impl Forward for Kept {
    fn forward(&self, query: &Outside<'_>, way_back: WayBack, _: &mut Vec<u8>) -> Option<(Scope, Rcode)> {
        self.0.lock().unwrap().push((query.packet.to_vec(), way_back));
        None
    }

    fn kept(&self, _: &Outside<'_>) -> Option<KeptAnswer> {
        None
    }

    fn flush(&self, _: &[u8]) -> usize {
        0
    }
}

impl Kept {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn take(&self, index: usize) -> Taken {
        self.0.lock().unwrap().remove(index)
    }

    /// Answers the one numbered `index` with the query itself, QR set.
    fn answer(&self, index: usize) {
        let (mut packet, way_back) = self.take(index);
        packet[2] |= 0x80;
        way_back.send(packet);
    }
}

const LIMITS: Limits = Limits {
    connections: 4,
    connections_per_source: 4,
    queries_under_way: 4,
    idle: Duration::from_millis(300),
};

fn start(limits: Limits) -> (Server, Kept) {
    let kept = Kept::default();
    let mut dns = plain_dns(&World::small().forwarding(&["corp.local"]), limits);
    dns.forwarder = Box::new(kept.clone());
    let bound = bind("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    (Server::run(bound, Arc::new(dns), CancellationToken::new()), kept)
}

fn outside(id: u16) -> Query {
    Query { id, ..Query::new("www.example.org", A) }
}

fn inside(id: u16) -> Query {
    Query { id, ..Query::new("servicea.local", A) }
}

async fn next_id(stream: &mut TcpStream) -> Option<u16> {
    read_message(stream).await.map(|reply| u16::from_be_bytes([reply[0], reply[1]]))
}

#[tokio::test]
async fn rfc7766_6_2_1_1_a_reply_that_is_ready_does_not_wait_for_one_that_is_not() {
    let (server, kept) = start(LIMITS);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let queries = [outside(1), inside(2), outside(3), inside(4)];
    stream.write_all(&queries.iter().flat_map(framed).collect::<Vec<u8>>()).await.unwrap();
    assert_eq!((next_id(&mut stream).await, next_id(&mut stream).await), (Some(2), Some(4)));
    until(|| kept.len() == 2).await;
    kept.answer(1);
    assert_eq!(next_id(&mut stream).await, Some(3));
    kept.answer(0);
    assert_eq!(next_id(&mut stream).await, Some(1));
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_reads_no_further_than_its_bound_and_goes_on_after_it() {
    let (server, kept) = start(LIMITS);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let queries: Vec<u8> = (0..40).flat_map(|id| framed(&outside(id))).collect();
    stream.write_all(&queries).await.unwrap();
    for id in 0..40 {
        until(|| kept.len() == LIMITS.queries_under_way.min(40 - usize::from(id))).await;
        if id % 3 == 0 {
            // Nobody knows: the place is free again.
            drop(kept.take(0));
        } else {
            kept.answer(0);
            assert_eq!(next_id(&mut stream).await, Some(id));
        }
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn rfc7766_6_2_3_a_connection_that_waits_for_a_reply_is_not_idle() {
    let (server, kept) = start(LIMITS);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&framed(&outside(1))).await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(next_id(&mut silent).await, None, "idle from the start");
    until(|| kept.len() == 1).await;
    kept.answer(0);
    assert_eq!(next_id(&mut stream).await, Some(1));
    assert_eq!(next_id(&mut stream).await, None);
    server.stop().await;
}

#[tokio::test]
async fn rfc7766_6_2_4_a_client_that_has_said_all_still_gets_its_replies() {
    let (server, kept) = start(LIMITS);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[framed(&outside(1)), framed(&outside(2))].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    until(|| kept.len() == 2).await;
    kept.answer(1);
    assert_eq!(next_id(&mut stream).await, Some(2));
    kept.answer(0);
    assert_eq!(next_id(&mut stream).await, Some(1));
    assert_eq!(next_id(&mut stream).await, None);
    server.stop().await;
}

#[tokio::test]
async fn at_a_stop_what_is_under_way_is_still_answered() {
    let (server, kept) = start(LIMITS);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let queries: Vec<u8> = (0..6).flat_map(|id| framed(&outside(id))).collect();
    stream.write_all(&queries).await.unwrap();
    until(|| kept.len() == 4).await;
    let stopping = tokio::spawn(server.stop());
    for id in 0..6 {
        until(|| kept.len() == 4.min(6 - usize::from(id))).await;
        kept.answer(0);
        assert_eq!(next_id(&mut stream).await, Some(id));
    }
    assert_eq!(next_id(&mut stream).await, None);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_client_that_went_away_leaves_its_place_once_its_queries_are_answered() {
    let (server, kept) = start(LIMITS);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&framed(&outside(1))).await.unwrap();
    until(|| kept.len() == 1).await;
    drop(stream);
    kept.answer(0);
    until(|| server.dns.tcp.open() == 0).await;
    server.stop().await;
}

#[test]
fn the_longest_match_decides_who_is_asked() {
    use teal::dns::{Verdict, answer};
    let answers = World::small().forwarding(&["corp.local", "b.a.local", "arpa"]).answers();
    let verdict = |name: &str| {
        let mut out = Vec::new();
        let verdict = answer(&Query::new(name, A).bytes(), UDP, &answers, &mut out);
        assert_eq!(matches!(verdict, Verdict::Reply(..)), !out.is_empty());
        match verdict {
            Verdict::Forward(domain) => format!("forward {domain:?}"),
            Verdict::Reply(_, rcode) => rcode.label().to_owned(),
            Verdict::Drop(_) => unreachable!(),
        }
    };
    for (name, expected) in [
        ("example.org", "forward None"),
        ("local", "NOERROR"),
        ("x.local", "NXDOMAIN"),
        ("xcorp.local", "NXDOMAIN"),
        ("corp.local", "forward Some(2)"),
        ("DC1.Corp.Local", "forward Some(2)"),
        ("a.local", "NOERROR"),
        ("x.a.local", "NXDOMAIN"),
        ("x.y.b.a.local", "forward Some(1)"),
        ("1.0.80.127.in-addr.arpa", "NXDOMAIN"),
        ("e164.arpa", "forward Some(0)"),
        (".", "forward None"),
    ] {
        assert_eq!(verdict(name), expected, "{name}");
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
