//! DNS over TCP (RFC 7766): a length before each message, any number of messages in a row.
//!
//! Lets connections in, which are bounded in all and by source; `session` serves one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Source;
use super::metrics::Dropped;
use super::session::serve;
use super::{Dns, source_of};
use crate::net::accept::Accept;
use crate::net::{AcceptError, Listener, accept_loop};

/// Bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open ones in all.
    pub connections: usize,
    /// Open ones of one source address.
    pub connections_per_source: usize,
    /// Queries of one connection that may be under way. While there are so many, no further one is read.
    pub queries_under_way: usize,
    /// A connection without a complete query for so long, and with none under way, is closed (RFC 7766
    /// §6.2.3), and so is one that does not take its replies.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let idle = Duration::from_secs(10);
        Self { connections: 256, connections_per_source: 32, queries_under_way: 64, idle }
    }
}

/// The open connections of all listeners, by source.
#[derive(Debug, Default)]
pub struct Connections {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Connections {
    /// None yet, with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Counts a connection in, or says which bound forbids it.
    fn enter(&self, source: IpAddr) -> Result<(), Dropped> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.limits.connections {
            return Err(Dropped::ConnectionLimit);
        }
        let of_source = open.by_source.entry(source).or_default();
        if *of_source >= self.limits.connections_per_source {
            return Err(Dropped::SourceLimit);
        }
        *of_source += 1;
        open.total += 1;
        Ok(())
    }

    fn leave(&self, source: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(of_source) = open.by_source.get_mut(&source) {
            *of_source -= 1;
            if *of_source == 0 {
                open.by_source.remove(&source);
            }
        }
    }
}

/// Accepts and answers until `stop` is cancelled; then answers what has been received, and returns
/// when the last connection is closed, which waits for the replies that are under way.
///
/// Clients outside `allow_from` are closed at once rather than told REFUSED: they must not take the
/// places of others.
///
/// # Errors
/// The listener cannot be registered with this worker's event queue.
pub async fn run(listener: Listener, dns: Arc<Dns>, stop: CancellationToken) -> io::Result<()> {
    let mut doorman = Doorman { dns, stop: stop.clone(), tasks: TaskTracker::new() };
    let ended = accept_loop(listener, stop, &mut doorman).await;
    doorman.tasks.close();
    doorman.tasks.wait().await;
    ended
}

/// Lets connections in.
struct Doorman {
    dns: Arc<Dns>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Accept for Doorman {
    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr) {
        let source = peer.ip().to_canonical();
        let allowed = source_of(source, &self.dns.snapshot.load(), &self.dns.host.load());
        let entered = match allowed {
            Source::Denied => Err(Dropped::NotAllowed),
            Source::Allowed => self.dns.tcp.enter(source),
        };
        if let Err(reason) = entered {
            self.dns.metrics.drop(reason);
            return;
        }
        let place = Place { dns: Arc::clone(&self.dns), source };
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => drop(self.tasks.spawn(serve(stream, place, self.stop.clone()))),
            Err(error) => tracing::debug!(%error, %peer, "cannot watch a DNS connection"),
        }
    }

    fn failed(&mut self, error: AcceptError) {
        self.dns.metrics.accept_failed(error);
    }
}

/// A connection's place among the open ones, given back when dropped.
pub(super) struct Place {
    pub(super) dns: Arc<Dns>,
    pub(super) source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.dns.tcp.leave(self.source);
    }
}
