//! The check that connects, and the connection of every other check.

use std::net::{SocketAddr, TcpStream as StdStream};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::outcome::Failure;
use crate::net::stream::{has_error, reset_on_close};

/// Passes when the endpoint accepts.
///
/// # Errors
/// Why it does not.
pub async fn check(address: SocketAddr) -> Result<(), Failure> {
    connect(address).await.map(drop)
}

/// Connects. Closing what comes back says RST: thousands of checks must not leave thousands of source
/// ports in `TIME_WAIT`.
///
/// # Errors
/// Why there is no connection.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    reset_on_close(&socket);
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
            return Err(error.into());
        }
        _ => {}
    }
    let stream = TcpStream::from_std(StdStream::from(socket))?;
    stream.writable().await?;
    if has_error(&stream) {
        let error = stream.take_error()?;
        return Err(error.unwrap_or_else(|| Errno::CONNREFUSED.into()).into());
    }
    // A free port of this host may be given to the socket as its source, and then TCP connects it to
    // itself (simultaneous open, RFC 9293 §3.5).
    if stream.local_addr()? == address {
        return Err(Failure::NobodyListens);
    }
    Ok(stream)
}
