//! Ports: the usual ones where they are free, else others, so that several demos can run at once.
//!
//! A demo claims a port by an abstract Unix socket of that name. Between looking whether a port is free
//! and listening at it another demo could take it; with the claim it cannot. Both live in the network
//! namespace and end with the process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

/// Where services listen on their VIPs.
const LISTEN: u16 = 8080;
/// Where names are answered.
const DNS: u16 = 5300;
/// Where metrics are served.
const METRICS: u16 = 9180;
/// Ports that are tried for services when the usual one is taken.
const TRIES: usize = 32;

/// The ports of one demo, claimed while this lives.
#[derive(Debug)]
pub struct Ports {
    /// Where services listen on their VIPs.
    pub listen: u16,
    /// For `[dns] listen`; port 0 when the usual one is taken.
    pub dns: SocketAddr,
    /// For `[metrics] listen`; port 0 when the usual one is taken.
    pub metrics: SocketAddr,
    /// What of the usual is taken.
    pub taken: Vec<u16>,
    /// Held, not read.
    _claims: Vec<UnixListener>,
}

impl Ports {
    /// Chooses and claims.
    ///
    /// # Errors
    /// The host has no free port.
    pub fn choose() -> io::Result<Self> {
        let mut claims = Vec::new();
        let mut taken = Vec::new();
        let mut usual = |port: u16, is_free: fn(SocketAddr) -> bool| {
            let address = loopback(port);
            if let Some(claim) = claim(port).filter(|_| is_free(address)) {
                claims.push(claim);
                return address;
            }
            taken.push(port);
            loopback(0)
        };
        let dns =
            usual(DNS, |address| TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok());
        let metrics = usual(METRICS, |address| TcpListener::bind(address).is_ok());
        let (listen, of_listen) = choose_listen()?;
        claims.push(of_listen);
        if listen != LISTEN {
            taken.push(LISTEN);
        }
        Ok(Self { listen, dns, metrics, taken, _claims: claims })
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port that is free at every address of the host: which VIPs will listen is not known yet.
fn choose_listen() -> io::Result<(u16, UnixListener)> {
    for port in std::iter::once(LISTEN).chain(std::iter::repeat_n(0, TRIES)) {
        let Ok(free) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) else { continue };
        let port = free.local_addr()?.port();
        if let Some(claim) = claim(port) {
            return Ok((port, claim));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("port {LISTEN} is taken, and no other is free")))
}

fn claim(port: u16) -> Option<UnixListener> {
    let address = UnixAddress::from_abstract_name(format!("teal-demo/{port}")).ok()?;
    UnixListener::bind_addr(&address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_demos_get_different_ports() {
        let (one, two) = (Ports::choose().unwrap(), Ports::choose().unwrap());
        assert_ne!(one.listen, two.listen);
        assert!(two.taken.contains(&LISTEN) && two.taken.contains(&DNS) && two.taken.contains(&METRICS));
        assert_eq!((two.dns.port(), two.metrics.port()), (0, 0));
    }
}
