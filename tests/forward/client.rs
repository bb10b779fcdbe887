//! A teal that forwards, and clients that say how long they waited.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use teal::dns::{DropReason, Verdict, tcp};
use teal::model::{Domain, Upstream as Choice};
use tokio::net::TcpStream;

use crate::server::{Server, ask_tcp, receive, udp_client};
use crate::support::{Query, Reply, World};

/// The world of [`World::small`] with these upstreams and no cache.
pub fn world(upstreams: &[SocketAddr]) -> World {
    let mut world = World::small();
    world.catalog.settings.dns.cache.octets_max = 0;
    world.catalog.settings.dns.forward.upstreams = choices(upstreams);
    world
}

pub fn choices(upstreams: &[SocketAddr]) -> Vec<Choice> {
    upstreams.iter().map(|address| Choice::At(*address)).collect()
}

/// Gives a domain upstreams of its own.
pub fn forward(world: &mut World, domain: &str, upstreams: &[SocketAddr]) {
    let domain = Domain::parse(domain).unwrap();
    world.catalog.settings.dns.forward.domains.insert(domain, choices(upstreams));
}

/// A teal with these upstreams.
pub fn start(upstreams: &[SocketAddr]) -> Server {
    start_with(&world(upstreams))
}

pub fn start_with(world: &World) -> Server {
    Server::start_with("127.0.0.1:0", world, tcp::Limits::default())
}

/// A name outside the zones, with EDNS.
pub fn outside(name: &str) -> Query {
    Query::new(name, crate::support::A).opt(1232)
}

/// A reply, and how long it took.
pub struct Timed {
    pub reply: Reply,
    pub took: Duration,
}

impl Timed {
    fn new(bytes: Vec<u8>, since: Instant) -> Self {
        // The verdict is teal's; a client sees bytes.
        Self { took: since.elapsed(), reply: Reply::parse(bytes, Verdict::Drop(DropReason::Short)) }
    }

    pub fn line(&self) -> String {
        self.reply.line()
    }
}

/// Asks over UDP and waits for the reply, which must repeat ID and question.
pub async fn ask(server: &Server, query: &Query) -> Timed {
    let client = udp_client(server.address).await;
    let since = Instant::now();
    client.send(&query.bytes()).await.unwrap();
    let timed = Timed::new(receive(&client).await, since);
    check(&timed.reply.bytes, query);
    timed
}

/// The same over TCP.
pub async fn ask_over_tcp(server: &Server, query: &Query) -> Timed {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let since = Instant::now();
    let timed = Timed::new(ask_tcp(&mut stream, query).await.expect("a reply"), since);
    check(&timed.reply.bytes, query);
    timed
}

fn check(bytes: &[u8], query: &Query) {
    assert_eq!(bytes[..2], query.id.to_be_bytes(), "the ID");
    assert_eq!(bytes[12..12 + query.question.len()], query.question, "the question");
}
