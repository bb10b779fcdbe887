//! What a relay needs of a connected TCP stream beyond tokio's methods.
//!
//! Knows nothing of services; never waits by itself.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{SendFlags, send};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Makes the close that follows send RST and forget what was not sent yet.
pub fn reset_on_close(socket: &impl AsFd) {
    // It can fail only for a socket that is gone already, which needs no RST.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Writes without asking whether there is room: a socket that was idle has room, and the kernel says
/// `WouldBlock` where there is none. Wait with `poll_write_ready` after that.
///
/// # Errors
/// What send(2) says.
pub fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| send(stream, bytes, SendFlags::NOSIGNAL))?)
}

/// Whether the kernel reported an error (RST, timeout, unreachable) that nobody fetched yet. Costs no
/// system call: it is what the last event said.
pub fn has_error(stream: &TcpStream) -> bool {
    stream.try_io(Interest::ERROR, || Ok(())).is_ok()
}

/// Events that one look may find waiting before a state that does not clear must be the final one.
const STALE_EVENTS_MAX: usize = 4;

/// Ready once the peer has reset the connection or is unreachable, even while nothing is read (its FIN
/// came already, or the other side is slow). A FIN alone does not count.
///
/// It waits in the place of a writer and forgets that there was room: the stream's task must not wait
/// for writing at the same time, and must write by [`send_now`] first afterwards.
pub fn poll_broken(stream: &TcpStream, context: &mut Context<'_>) -> Poll<()> {
    for _ in 0..STALE_EVENTS_MAX {
        if has_error(stream) {
            return Poll::Ready(());
        }
        match stream.poll_write_ready(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) => forget_room(stream),
        }
    }
    // Closed for writing without an error, which is a readiness that stays: both sides said FIN, and
    // nothing is left that an RST could cut off.
    Poll::Pending
}

fn forget_room(stream: &TcpStream) {
    let _ = stream.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
}
