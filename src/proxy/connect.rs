//! One try to connect to one backend, with as few system calls as it takes.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::net::ports::SourcePorts;
use crate::net::stream::has_error;
use crate::state::ErrorReason;

/// A connection on its way to a backend.
#[derive(Debug)]
pub struct Connecting {
    stream: TcpStream,
    address: SocketAddr,
}

impl Connecting {
    /// Sends the SYN, from this source address where one is given. Must be called on a worker.
    ///
    /// # Errors
    /// What the kernel says before it sends anything.
    pub fn start(address: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            // The port is chosen at the connect: it need be free only towards this endpoint (ip(7)).
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self { stream: TcpStream::from_std(StdStream::from(socket))?, address })
    }

    /// Ready once the backend accepted or the try failed.
    pub fn poll_connected(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_write_ready(context))?;
        if has_error(&self.stream) {
            // An error that came after the accept counts as refused: nothing was exchanged yet, and once
            // fetched here it would look like a FIN to whoever reads.
            return Poll::Ready(match self.stream.take_error()? {
                Some(error) => Err(error),
                None => Err(Errno::CONNREFUSED.into()),
            });
        }
        Poll::Ready(if self.is_connected_to_itself() { Err(Errno::CONNREFUSED.into()) } else { Ok(()) })
    }

    /// The stream, once connected.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// A socket that connects to a free port of its own host may be given that very port as its source,
    /// and then TCP connects it to itself (simultaneous open, RFC 9293 §3.5). Nobody serves there.
    fn is_connected_to_itself(&self) -> bool {
        may_be_a_source(self.address.port())
            && self.stream.local_addr().is_ok_and(|local| local == self.address)
    }
}

/// Whether the kernel may give this port to an outgoing connection.
fn may_be_a_source(port: u16) -> bool {
    static PORTS: OnceLock<SourcePorts> = OnceLock::new();
    PORTS.get_or_init(SourcePorts::read).contains(port)
}

/// Whether a connect failed because its source address has no free port left, or is not the host's.
pub fn is_out_of_ports(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL)
}

/// Why a try failed, for the metrics.
pub fn reason_of(error: &io::Error) -> ErrorReason {
    let Some(errno) = Errno::from_io_error(error) else { return ErrorReason::Other };
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET | Errno::PIPE => ErrorReason::Refused,
        Errno::TIMEDOUT => ErrorReason::Timeout,
        Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::HOSTDOWN
        | Errno::NETDOWN
        | Errno::NONET
        | Errno::ACCESS
        | Errno::PERM => ErrorReason::Unreachable,
        Errno::ADDRNOTAVAIL
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOBUFS
        | Errno::NOMEM
        | Errno::NOSPC
        | Errno::AGAIN => ErrorReason::Resources,
        _ => ErrorReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        let connecting = Connecting::start(address, None)?;
        std::future::poll_fn(|context| connecting.poll_connected(context)).await?;
        Ok(connecting.into_stream())
    }

    #[tokio::test]
    async fn a_listening_backend_is_connected_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let stream = connect(listener.local_addr().unwrap()).await.unwrap();
            assert!(stream.nodelay().unwrap());
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_even_when_it_may_be_a_source() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = connect(address).await.unwrap_err();
        assert_eq!(reason_of(&error), ErrorReason::Refused);
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_no_backend() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _ = socket.connect(&address.into());
        let stream = TcpStream::from_std(StdStream::from(socket)).unwrap();
        let connecting = Connecting { stream, address };
        let outcome = std::future::poll_fn(|context| connecting.poll_connected(context)).await;
        // Outside of the range that the kernel takes sources from it cannot happen, and is not looked for.
        assert_eq!(outcome.is_err(), may_be_a_source(address.port()));
    }

    #[test]
    fn what_the_host_lacks_is_not_the_backend_s_fault() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(reason_of(&errno.into()), ErrorReason::Resources);
        }
        assert_eq!(reason_of(&Errno::TIMEDOUT.into()), ErrorReason::Timeout);
        assert_eq!(reason_of(&Errno::HOSTUNREACH.into()), ErrorReason::Unreachable);
        assert_eq!(reason_of(&Errno::INVAL.into()), ErrorReason::Other);
    }
}
