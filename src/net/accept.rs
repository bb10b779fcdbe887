//! The accept loop that every TCP listener of teal uses.
//!
//! It never ends on an error: what belongs to one connection is skipped, what belongs to the host
//! (descriptors, memory) pauses the loop, and both are counted.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use super::listen::Listener;
use super::readiness::register;

/// How long accepting rests after the host ran out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Why an accept failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptError {
    /// The connection was gone before it could be accepted (accept(2) lists the errors that the
    /// protocol below may report).
    Connection,
    /// No descriptor or memory is left.
    Resources,
    /// Anything else.
    Other,
}

impl AcceptError {
    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Resources => "resources",
            Self::Other => "other",
        }
    }

    fn of(errno: Errno) -> Self {
        match errno {
            Errno::CONNABORTED
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::TIMEDOUT
            | Errno::PERM
            | Errno::INTR => Self::Connection,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Self::Resources,
            _ => Self::Other,
        }
    }
}

/// A listening socket that does not block.
pub trait Listening: AsFd + AsRawFd {
    /// What an accepted connection is used as.
    type Stream: From<OwnedFd>;
    /// What names its other end.
    type Peer;

    /// Reads what the kernel says about the other end.
    fn peer(address: Option<SocketAddrAny>) -> Option<Self::Peer>;
}

/// What to do with connections and with failures.
pub trait Accept<L: Listening = Listener> {
    /// Takes a connection; the stream does not block. Must return at once.
    fn accepted(&mut self, stream: L::Stream, peer: L::Peer);
    /// Counts a failure.
    fn failed(&mut self, error: AcceptError);
}

/// Accepts until `stop` is cancelled, then takes what still waits in the queue, and returns. Several
/// workers may run it on clones of one listener.
///
/// # Errors
/// The listener cannot be registered with this worker's event queue.
pub async fn accept_loop<L: Listening>(
    listener: L,
    stop: CancellationToken,
    accept: &mut impl Accept<L>,
) -> io::Result<()> {
    // Without a descriptor of its own: tokio's `TcpListener` would need one for each worker.
    let listener = register(listener, Interest::READABLE)?;
    loop {
        let ready = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ready = listener.readable() => ready,
        };
        let mut guard = ready?;
        match accept_waiting(listener.get_ref(), accept) {
            Drained::Empty => guard.clear_ready(),
            Drained::Paused => {
                drop(guard);
                tokio::time::sleep(PAUSE).await;
            }
            Drained::More => {
                drop(guard);
                tokio::task::yield_now().await;
            }
        }
    }
    while let Drained::More = accept_waiting(listener.get_ref(), accept) {}
    Ok(())
}

enum Drained {
    /// Nothing waits any more.
    Empty,
    /// Enough for one turn; other tasks of the worker come first.
    More,
    /// The host has nothing left to accept with.
    Paused,
}

/// Connections accepted in one go before other tasks have their turn.
const TURN: usize = 64;

fn accept_waiting<L: Listening>(listener: &L, accept: &mut impl Accept<L>) -> Drained {
    for _ in 0..TURN {
        match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((socket, peer)) => {
                // The kernel always names the peer of a TCP connection.
                if let Some(peer) = L::peer(peer) {
                    accept.accepted(socket.into(), peer);
                }
            }
            Err(Errno::AGAIN) => return Drained::Empty,
            Err(errno) => {
                let error = AcceptError::of(errno);
                accept.failed(error);
                if error != AcceptError::Connection {
                    return Drained::Paused;
                }
            }
        }
    }
    Drained::More
}
