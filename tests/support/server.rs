//! The DNS servers on real sockets, and clients for them.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use teal::dns::tcp::{Connections, Limits};
use teal::dns::{Bound, Dns, DnsMetrics, bind, tcp, udp};
use teal::state::Snapshot;
use teal::telemetry::Series;
use teal::telemetry::names::DNS_QUERY_DURATION;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Query, World};

/// Sockets of each address: more than one, as on a host with several cores.
pub const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// Nothing here takes long; what takes so long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// Fails the test when `work` does not end.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("the deadline has passed")
}

/// Waits until something holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub fn snapshot(world: &World) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        generation: 1,
        catalog: Arc::new(world.catalog.clone()),
        services: BTreeMap::new(),
        answers: world.answers(),
        releases: Arc::default(),
    })
}

pub fn dns(world: &World, limits: Limits) -> Arc<Dns> {
    Arc::new(plain_dns(world, limits))
}

pub fn plain_dns(world: &World, limits: Limits) -> Dns {
    let metrics = DnsMetrics::new(Series::default().histogram(DNS_QUERY_DURATION, &[]));
    let cell = Arc::new(ArcSwap::from(snapshot(world)));
    let mut dns = Dns::new(cell, Arc::default(), metrics);
    dns.tcp = Connections::new(limits);
    dns
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub dns: Arc<Dns>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<io::Result<()>>>,
    /// Ends the forwarder's clock, which runs until nobody waits any more.
    drained: CancellationToken,
}

impl Server {
    pub fn start(listen: &str) -> Self {
        Self::start_with(listen, &World::small(), Limits::default())
    }

    pub fn start_with(listen: &str, world: &World, limits: Limits) -> Self {
        let bound = bind(listen.parse().unwrap(), THREADS).unwrap();
        Self::run(bound, dns(world, limits), CancellationToken::new())
    }

    pub fn run(bound: Bound, dns: Arc<Dns>, stop: CancellationToken) -> Self {
        let over_udp =
            bound.udp.into_iter().map(|udp| tokio::spawn(udp::run(udp, Arc::clone(&dns), stop.clone())));
        let mut tasks: Vec<_> = over_udp.collect();
        tasks.push(tokio::spawn(tcp::run(bound.tcp, Arc::clone(&dns), stop.clone())));
        let drained = CancellationToken::new();
        tokio::spawn(Arc::clone(&dns.upstreams).run(drained.clone()));
        Self { address: bound.address, dns, stop, tasks, drained }
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            within(task).await.unwrap().unwrap();
        }
        within(self.dns.upstreams.drained()).await;
        self.drained.cancel();
    }

    /// Its address, on another of the host's addresses.
    pub fn at(&self, ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), self.address.port())
    }
}

/// A UDP client that takes replies from `server` only, as musl does.
pub async fn udp_client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

pub async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut space = [0; 2048];
    let octets = within(socket.recv(&mut space)).await.unwrap();
    space[..octets].to_vec()
}

/// The query with the length that TCP puts before it.
pub fn framed(query: &Query) -> Vec<u8> {
    let bytes = query.bytes();
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], &bytes].concat()
}

/// The next message; none at the end of the stream, however it ends.
pub async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    within(async {
        let length = stream.read_u16().await.ok()?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.expect("a message that has begun comes to its end");
        Some(message)
    })
    .await
}

/// Asks once over an open connection.
pub async fn ask_tcp(stream: &mut TcpStream, query: &Query) -> Option<Vec<u8>> {
    stream.write_all(&framed(query)).await.ok()?;
    read_message(stream).await
}
