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

/// Probes between the first one and giving up: with a ninth of the time between each, a dead peer is
/// noticed after about twice `after`.
const KEEPALIVE_PROBES: u32 = 9;

/// Turns keepalive on or off: the first probe after so long without data, further ones at a ninth
/// of it, at least a second apart.
///
/// # Errors
/// What the kernel says.
pub fn set_keepalive(socket: &SockRef<'_>, after: Option<Duration>) -> io::Result<()> {
    let Some(after) = after else { return socket.set_keepalive(false) };
    let between = (after / KEEPALIVE_PROBES).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(after.max(Duration::from_secs(1))).with_interval(between);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))
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
