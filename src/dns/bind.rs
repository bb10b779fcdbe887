//! Binds the UDP and TCP sockets of one `[dns] listen` address.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::reply::Transport;
use super::udp::UdpListener;
use crate::net::{ListenOptions, Listener};

/// Both sockets of one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that was taken if 0 was asked for. The same for both.
    pub address: SocketAddr,
    /// For [`super::udp::run`].
    pub udp: UdpListener,
    /// For [`super::tcp::run`].
    pub tcp: Listener,
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} over {} for DNS: {source}", transport.label())]
pub struct BindError {
    /// What was asked for.
    pub address: SocketAddr,
    /// Which of the two sockets failed.
    pub transport: Transport,
    /// What the kernel says.
    pub source: io::Error,
}

/// Tries for a port that is free over both transports.
const PORT_TRIES: usize = 16;
/// Asked of the kernel for bursts; it gives what `net.core.rmem_max` allows.
const RECEIVE_BUFFER_OCTETS: usize = 1 << 20;

/// Binds both sockets. Port 0 takes one that is free over UDP and TCP.
///
/// # Errors
/// The address is in use, is not of this host, or needs a privilege. Nothing stays bound.
pub fn bind(address: SocketAddr) -> Result<Bound, BindError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let error = |transport| move |source| BindError { address, transport, source };
        let tcp = Listener::bind(address, ListenOptions::default()).map_err(error(Transport::Tcp))?;
        match bind_udp(tcp.address()) {
            Ok(udp) => return Ok(Bound { address: tcp.address(), udp, tcp }),
            Err(taken) if taken.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(source) => return Err(error(Transport::Udp)(source)),
        }
    }
}

/// Without `SO_REUSEADDR`: it would let two daemons share a port and lose each other's queries.
fn bind_udp(address: SocketAddr) -> io::Result<UdpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_OCTETS) {
        tracing::debug!(%address, %error, "the receive buffer keeps its size");
    }
    socket.bind(&address.into())?;
    UdpListener::new(socket.into())
}
