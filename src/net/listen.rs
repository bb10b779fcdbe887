//! Listening sockets: one per address, shared by all workers.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketAddrAny;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};

use super::accept::Listening;

/// Options that accepted sockets inherit from their listener, which saves system calls for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenOptions {
    /// Keepalive probes begin after so long without data; none when absent.
    pub keepalive: Option<Duration>,
}

/// A bound and listening TCP socket. Clones share it.
#[derive(Debug, Clone)]
pub struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
}

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

impl Listener {
    /// Binds and listens, with `TCP_NODELAY` and `SO_REUSEADDR` set. Port 0 takes a free one:
    /// [`Self::address`] tells which.
    ///
    /// # Errors
    /// What the kernel says: the address is in use, is not of this host, or needs a privilege.
    pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let listener = Self { address: socket.local_addr()?, socket: Arc::new(socket) };
        listener.set_options(options)?;
        Ok(listener)
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what sockets accepted from now on inherit.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_options(&self, options: ListenOptions) -> io::Result<()> {
        set_keepalive(&SockRef::from(&*self.socket), options.keepalive)
    }

    /// [`Self::ignore_new`], where the kernel lets us. Where it does not, the log says so.
    pub fn ignore_new_or_say(&self) {
        let address = self.address;
        match self.ignore_new() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(%address, "a closing listener cannot ignore new connections without CAP_NET_ADMIN");
            }
            Err(error) => {
                tracing::warn!(%address, %error, "a closing listener cannot ignore new connections");
            }
        }
    }

    /// Ignores connections that begin from now on, for all clones: their SYN is dropped, so closing the
    /// socket a moment later lets the client's next SYN be refused, where it would otherwise have reset
    /// a connection that already stood. Handshakes that have begun still end up in the queue.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ignore_new(&self) -> io::Result<()> {
        SockRef::from(&*self.socket).attach_filter(&DROP_SYN)
    }
}

/// A classic BPF program over the TCP header: drops segments with SYN and without ACK, keeps others.
const DROP_SYN: [SockFilter; 5] = {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(AND, 0, 0, SYN_OR_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// Fewest and most probes, at least a second apart, before a peer counts as gone.
const KEEPALIVE_PROBES: (u32, u32) = (9, 60);

/// Turns keepalive on or off: the first probe after so long without data, then for as long again further ones, a
/// second or a sixtieth of it apart. A peer that vanished is noticed after twice `after`, or ten seconds.
///
/// Probes are many as they come in bursts: the kernel's timers for a minute are as coarse as four seconds, and
/// connections that fell silent together stay together. A burst through loopback or veth loses what is beyond
/// `net.core.netdev_max_backlog`, 1,000 packets for each processor, so with 9 probes 8,000 idle connections that
/// nothing ailed lost half of their number.
///
/// # Errors
/// What the kernel says.
pub fn set_keepalive(socket: &SockRef<'_>, after: Option<Duration>) -> io::Result<()> {
    let Some(after) = after else { return socket.set_keepalive(false) };
    let (first, between, probes) = keepalive(after);
    let keepalive = TcpKeepalive::new().with_time(first).with_interval(between);
    socket.set_tcp_keepalive(&keepalive.with_retries(probes))
}

/// Time until the first probe, time between the others and how many there are: the kernel counts whole seconds.
fn keepalive(after: Duration) -> (Duration, Duration, u32) {
    let (fewest, most) = KEEPALIVE_PROBES;
    let first = after.as_secs().max(1);
    let between = first.div_ceil(most.into());
    let probes = u32::try_from(first / between).unwrap_or(most);
    (Duration::from_secs(first), Duration::from_secs(between), probes.clamp(fewest, most))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Listening for Listener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    fn peer(address: Option<SocketAddrAny>) -> Option<SocketAddr> {
        SocketAddr::try_from(address?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vanished_peer_is_noticed_after_twice_the_time_by_as_many_probes_as_fit() {
        for (after, between, probes) in
            [(1, 1, 9), (10, 1, 10), (60, 1, 60), (61, 2, 30), (300, 5, 60), (32_767, 547, 59)]
        {
            let seconds = Duration::from_secs;
            assert_eq!(keepalive(seconds(after)), (seconds(after), seconds(between), probes));
        }
    }
}
