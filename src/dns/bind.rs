//! Binds the UDP and TCP sockets of one `[dns] listen` address.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};
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
/// Asked of the kernel for bursts: what does not fit is lost without a word. It doubles this, and accounts 768
/// octets and more for a query, so that some 10,000 can wait, for about 0.1 s.
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;

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
        match bind_udp(tcp.address()).and_then(|socket| UdpListener::new(socket.into())) {
            Ok(udp) => return Ok(Bound { address: tcp.address(), udp, tcp }),
            Err(taken) if taken.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(source) => return Err(error(Transport::Udp)(source)),
        }
    }
}

/// Without `SO_REUSEADDR`: it would let two daemons share a port and lose each other's queries.
fn bind_udp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Beyond `net.core.rmem_max`, where teal may; else as far as that.
    let forced = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_OCTETS).is_ok();
    if !forced && let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_OCTETS) {
        tracing::debug!(%address, %error, "the receive buffer keeps its size");
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_queries_has_room_as_far_as_the_kernel_allows() {
        let socket = bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
        let octets = socket.recv_buffer_size().unwrap();
        let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        assert!(octets >= 2 * RECEIVE_BUFFER_OCTETS.min(limit), "{octets} octets of {limit}");
    }
}
