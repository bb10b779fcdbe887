//! Binds the UDP and TCP sockets of one `[dns] listen` address.
//!
//! Each thread has a UDP socket of its own (`SO_REUSEPORT`, socket(7)): the kernel gives each client, told by its
//! address and port, to one of them. The TCP listener is one that they share.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::reply::Transport;
use super::udp::UdpListener;
use crate::net::{ListenOptions, Listener};

/// All sockets of one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that was taken if 0 was asked for. The same for both.
    pub address: SocketAddr,
    /// For [`super::udp::run`], one for each thread.
    pub udp: Vec<UdpListener>,
    /// For [`super::tcp::run`], of which each thread gets a clone.
    pub tcp: Listener,
}

/// Sockets that one address takes with so many threads.
pub fn sockets(threads: NonZeroUsize) -> usize {
    threads.get() + 1
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} over {} for DNS: {source}", transport.label())]
pub struct BindError {
    /// What was asked for.
    pub address: SocketAddr,
    /// Over which of the two it failed.
    pub transport: Transport,
    /// What the kernel says.
    pub source: io::Error,
}

/// Tries for a port that is free over both transports.
const PORT_TRIES: usize = 16;
/// Asked of the kernel for bursts: what does not fit is lost without a word. It doubles this, and accounts 768
/// octets and more for a query, so that some 10,000 can wait, for about 0.1 s.
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;

/// Binds them for so many threads. Port 0 takes one that is free over UDP and TCP.
///
/// # Errors
/// The address is in use, is not of this host, or needs a privilege. Nothing stays bound.
pub fn bind(address: SocketAddr, threads: NonZeroUsize) -> Result<Bound, BindError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let error = |transport| move |source| BindError { address, transport, source };
        let tcp = Listener::bind(address, ListenOptions::default()).map_err(error(Transport::Tcp))?;
        let listeners = |sockets: Vec<Socket>| {
            sockets.into_iter().map(|socket| UdpListener::new(socket.into())).collect()
        };
        match bind_udp(tcp.address(), threads).and_then(listeners) {
            Ok(udp) => return Ok(Bound { address: tcp.address(), udp, tcp }),
            Err(taken) if taken.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(source) => return Err(error(Transport::Udp)(source)),
        }
    }
}

/// The first is bound without `SO_REUSEPORT`, as another daemon's socket would otherwise share its port and take some
/// of its queries, unnoticed; what is bound after it shares the port on purpose.
fn bind_udp(address: SocketAddr, threads: NonZeroUsize) -> io::Result<Vec<Socket>> {
    let first = udp_socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let mut sockets = vec![first];
    for _ in 1..threads.get() {
        let next = udp_socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&address.into())?;
        sockets.push(next);
    }
    Ok(sockets)
}

/// Without `SO_REUSEADDR`, for the same reason.
fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // Replies are never cut into fragments, which others could forge, and what ICMP says of a path changes nothing
    // (RFC 9715 §3.1): they fit into 1,280 octets.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
    } else {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    }
    // Beyond `net.core.rmem_max`, where teal may; else as far as that.
    let forced = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_OCTETS).is_ok();
    if !forced && let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_OCTETS) {
        tracing::debug!(%address, %error, "the receive buffer keeps its size");
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use rustix::net::sockopt::{ip_mtu_discover, ipv6_mtu_discover};

    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[test]
    fn a_burst_of_queries_has_room_as_far_as_the_kernel_allows() {
        let socket = udp_socket("127.0.0.1:0".parse().unwrap()).unwrap();
        let octets = socket.recv_buffer_size().unwrap();
        let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        assert!(octets >= 2 * RECEIVE_BUFFER_OCTETS.min(limit), "{octets} octets of {limit}");
    }

    #[test]
    fn rfc9715_3_1_replies_are_never_fragmented() {
        let v4 = udp_socket("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(ip_mtu_discover(&v4).unwrap(), Ipv4PathMtuDiscovery::PROBE);
        let v6 = udp_socket("[::1]:0".parse().unwrap()).unwrap();
        assert_eq!(ipv6_mtu_discover(&v6).unwrap(), Ipv6PathMtuDiscovery::PROBE);
    }

    #[test]
    fn clients_are_spread_over_the_threads_and_each_stays_with_one() {
        const CLIENTS: usize = 64;
        for any in ["127.0.0.1:0", "[::1]:0"] {
            // Its port is free, at least until now.
            let address = UdpSocket::bind(any).unwrap().local_addr().unwrap();
            let sockets = bind_udp(address, TWO).unwrap();
            for _ in 0..CLIENTS {
                let client = UdpSocket::bind(any).unwrap();
                (0..2).for_each(|_| assert_eq!(client.send_to(&[0], address).unwrap(), 1));
            }
            let heard = sockets.into_iter().map(|socket| {
                let socket = UdpSocket::from(socket);
                std::iter::from_fn(|| Some(socket.recv_from(&mut [0]).ok()?.1)).collect::<Vec<_>>()
            });
            let heard: Vec<_> = heard.collect();
            assert_eq!(heard.iter().map(Vec::len).sum::<usize>(), 2 * CLIENTS);
            // By chance alone all would be with one of the two once in 2^63 times.
            assert!(heard.iter().all(|clients| !clients.is_empty()), "{heard:?}");
            assert!(heard[0].iter().all(|client| !heard[1].contains(client)), "{heard:?}");
        }
    }

    #[test]
    fn two_daemons_do_not_share_a_port() {
        for threads in [NonZeroUsize::MIN, TWO] {
            for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
                let bound = bind(address.parse().unwrap(), threads).unwrap();
                assert_eq!(bound.udp.len(), threads.get());
                let second = bind_udp(bound.address, threads).unwrap_err();
                assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{address}, {threads} threads");
                // Nor does one that does not ask for it.
                UdpSocket::bind(bound.address).unwrap_err();
            }
        }
    }
}
