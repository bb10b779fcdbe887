//! The UDP loop: receives a batch, answers it, sends a batch.
//!
//! No task and no allocation per query. It never ends on an error: what belongs to one datagram is
//! counted and skipped. On a wildcard address each reply leaves from the address that was asked
//! (clients discard others), which the kernel tells and takes by `IP_PKTINFO` and `IPV6_PKTINFO`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use super::answer::{Asked, Verdict, answer};
use super::batch::{BATCH, Received, Replies, Wildcard};
use super::later::{Outside, WayBack};
use super::metrics::{DnsMetrics, Dropped};
use super::reply::Transport;
use super::{Dns, Logged, source_of};
use crate::net::DatagramSocket;

/// Batches answered after the stop, so that a client that goes on asking cannot hold it up.
const BATCHES_AT_STOP: usize = 64;
/// How long receiving rests after the kernel had no memory for it.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a full send buffer is waited for before replies are given up.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpListener {
    socket: UdpSocket,
    wildcard: Wildcard,
}

impl UdpListener {
    /// Takes a bound socket that does not block.
    ///
    /// # Errors
    /// What the kernel says to `IP_PKTINFO` or `IPV6_RECVPKTINFO`.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let wildcard = match address {
            _ if !address.ip().is_unspecified() => Wildcard::No,
            SocketAddr::V4(_) => {
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
                Wildcard::V4
            }
            SocketAddr::V6(_) => {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                Wildcard::V6
            }
        };
        Ok(Self { socket, wildcard })
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Answers until `stop` is cancelled, then answers what the kernel has received, and returns.
///
/// # Errors
/// The socket cannot be registered with this worker's event queue.
pub async fn run(listener: UdpListener, dns: Arc<Dns>, stop: CancellationToken) -> io::Result<()> {
    let mut worker = Worker {
        received: Received::new(listener.socket.local_addr()?, listener.wildcard),
        socket: Arc::new(DatagramSocket::new(listener.socket)?),
        replies: Replies::default(),
        dns,
    };
    loop {
        let ready = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ready = worker.socket.ready(Interest::READABLE) => ready,
        };
        // Only a runtime that goes down cannot tell.
        ready?;
        let received = worker.receive();
        if worker.turn(received).await == Turn::Full {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..BATCHES_AT_STOP {
        // The kernel is asked itself: readiness may not have been reported yet.
        let received = worker.received.receive(&*worker.socket);
        if worker.turn(received).await == Turn::Empty {
            break;
        }
    }
    Ok(())
}

/// What one turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing.
    Empty,
    /// Less than a batch.
    Some,
    /// A batch, perhaps more.
    Full,
}

struct Worker {
    /// Shared with the queries that wait for upstreams: their replies leave from it.
    socket: Arc<DatagramSocket>,
    received: Received,
    replies: Replies,
    dns: Arc<Dns>,
}

impl Worker {
    /// Receives a batch. Less than a whole one means that nothing is left, which is reported as if
    /// the kernel had said so: the wait for more begins without the call that would only find nothing.
    fn receive(&mut self) -> io::Result<usize> {
        let mut part = None;
        let whole =
            self.socket.try_io(Interest::READABLE, || match self.received.receive(&*self.socket)? {
                BATCH => Ok(BATCH),
                datagrams => {
                    part = Some(datagrams);
                    Err(io::ErrorKind::WouldBlock.into())
                }
            });
        part.map_or(whole, Ok)
    }

    /// Answers a batch that was received and sends the replies.
    async fn turn(&mut self, received: io::Result<usize>) -> Turn {
        let datagrams = match received {
            Ok(datagrams) => datagrams,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Empty,
            Err(error) => {
                tracing::debug!(%error, "cannot receive DNS queries");
                tokio::time::sleep(PAUSE).await;
                return Turn::Some;
            }
        };
        let since = Instant::now();
        self.answer();
        send_all(&self.socket, &self.replies, &self.dns.metrics).await;
        self.dns.metrics.observe(since.elapsed(), self.replies.len());
        if datagrams == BATCH { Turn::Full } else { Turn::Some }
    }

    /// Answers the datagrams received, all out of one snapshot.
    fn answer(&mut self) {
        let snapshot = self.dns.snapshot.load();
        let host = self.dns.host.load();
        let metrics = &self.dns.metrics;
        self.replies.clear();
        for datagram in self.received.datagrams() {
            let Some(packet) = datagram.packet else {
                metrics.drop(Dropped::Oversized);
                continue;
            };
            let source = source_of(datagram.peer.ip(), &snapshot, &host);
            let asked = Asked { transport: Transport::Udp, source };
            let reply = self.replies.next(datagram.peer, datagram.asked_at);
            let mut verdict = answer(packet, asked, &snapshot.answers, reply);
            if let Verdict::Forward(domain) = verdict {
                let (packet, transport, source) = (packet, Transport::Udp, datagram.peer.ip());
                let (snapshot, host) = (&**snapshot, &**host);
                let query = Outside { packet, transport, source, domain, snapshot, host };
                let (socket, peer, from) = (Arc::clone(&self.socket), datagram.peer, datagram.asked_at);
                let answered = self.dns.forward(&query, WayBack::Udp { socket, peer, from }, reply);
                if let Some((scope, rcode)) = answered {
                    verdict = Verdict::Reply(scope, rcode);
                }
            }
            metrics.count(verdict, Transport::Udp);
            let (source, octets) = (datagram.peer.ip(), reply.len());
            self.dns.log(&snapshot, &Logged { packet, source, transport: Transport::Udp, verdict, octets });
            if !matches!(verdict, Verdict::Reply(..)) {
                self.replies.take_back();
            }
        }
    }
}

/// Sends replies. One that the kernel refuses does not hold up the others.
pub(super) async fn send_all(socket: &DatagramSocket, replies: &Replies, metrics: &DnsMetrics) {
    let give_up = |error: &io::Error| {
        tracing::debug!(%error, "cannot send a DNS reply");
        metrics.drop(Dropped::Send);
    };
    let mut done = 0;
    while done < replies.len() {
        match replies.send(socket, done) {
            Ok(sent) => done += sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = tokio::time::timeout(SEND_PATIENCE, socket.writable()).await;
                if !matches!(writable, Ok(Ok(()))) {
                    give_up(&error);
                    done += 1;
                }
            }
            Err(error) => {
                give_up(&error);
                done += 1;
            }
        }
    }
}
