//! PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): what a trusted sender says before the
//! first byte about who the client is, and what backends are told.
//!
//! Reading a header decides nothing: `admit` does, with the address that it names.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proxy_header::{Error, ParseConfig, Protocol, ProxiedAddress, ProxyHeader};
use tokio::net::TcpStream;

use crate::model::ProxyProtocol;

/// How long a header may take to come.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes of a header at most, with its type-length-values; senders seldom need more than 536, what one
/// segment always carries (section 2.2 of the specification).
pub const HEADER_MAX: usize = 2048;

/// Fixed bytes at the beginning of version 2; the last two say how many follow.
const V2_FIXED: usize = 16;

/// Who talks to whom, as a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What came before the connection's own bytes, and those of them that came with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Preface {
    /// Absent for LOCAL, UNKNOWN and Unix sockets: the connection is then the sender's own.
    pub ends: Option<Ends>,
    /// The connection's first bytes.
    pub early: Vec<u8>,
}

/// No header came in time, or something else did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid PROXY header")]
pub struct NoPreface;

/// Reads the header of a connection.
///
/// # Errors
/// It is malformed, longer than [`HEADER_MAX`], not there after [`HEADER_TIMEOUT`], or the sender went away.
pub async fn read(stream: &TcpStream) -> Result<Preface, NoPreface> {
    tokio::time::timeout(HEADER_TIMEOUT, read_header(stream)).await.unwrap_or(Err(NoPreface))
}

async fn read_header(stream: &TcpStream) -> Result<Preface, NoPreface> {
    let mut bytes = vec![0; HEADER_MAX];
    let mut length = 0;
    while length < HEADER_MAX {
        stream.readable().await.map_err(|_| NoPreface)?;
        match stream.try_read(&mut bytes[length..]) {
            Ok(0) => return Err(NoPreface),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return Err(NoPreface),
        }
        if let Some((ends, header)) = parse(&bytes[..length])? {
            return Ok(Preface { ends, early: bytes[header..length].to_vec() });
        }
    }
    Err(NoPreface)
}

/// The ends and the length of the header that `bytes` begin with; `None` when it is not complete.
///
/// # Errors
/// It is no header of version 1 or 2 for a stream.
pub fn parse(bytes: &[u8]) -> Result<Option<(Option<Ends>, usize)>, NoPreface> {
    // The parser does not look at this one, nor does it hold a version 2 to its own length.
    if bytes.starts_with(b"PROXY") && bytes.get(5).is_some_and(|byte| *byte != b' ') {
        return Err(NoPreface);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, length)) => Ok(Some((header.proxied_address().map(ends).transpose()?, length))),
        Err(Error::BufferTooShort) if !is_complete_v2(bytes) => Ok(None),
        Err(_) => Err(NoPreface),
    }
}

fn is_complete_v2(bytes: &[u8]) -> bool {
    let length = |fixed: &[u8]| V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    bytes.first() == Some(&b'\r') && bytes.get(..V2_FIXED).is_some_and(|fixed| bytes.len() >= length(fixed))
}

fn ends(address: &ProxiedAddress) -> Result<Ends, NoPreface> {
    if address.protocol != Protocol::Stream {
        return Err(NoPreface);
    }
    Ok(Ends { source: canonical(address.source), destination: canonical(address.destination) })
}

/// The header that tells a backend of these ends.
pub fn header(version: ProxyProtocol, ends: Ends) -> Vec<u8> {
    let (source, destination) = (canonical(ends.source), canonical(ends.destination));
    // Both have to be of one family.
    let (source, destination) = if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    };
    let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
    let mut bytes = Vec::with_capacity(128);
    // It fails for type-length-values that are too long and for mixed families, of which there are none.
    let _ = match version {
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    };
    bytes
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
#[path = "preface_tests.rs"]
mod tests;
