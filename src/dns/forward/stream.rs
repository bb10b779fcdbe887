//! One question to an upstream over TCP (RFC 7766): when its datagram did not hold the whole answer.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message;
use super::question::Key;
use crate::dns::wire::Header;

/// Sends `query` and returns the message that answers it. Others are skipped; how long that may go on is the
/// caller's business.
///
/// # Errors
/// The upstream refuses or ends the connection.
pub async fn exchange(upstream: SocketAddr, query: &[u8], key: &Key) -> io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(upstream).await?;
    // Length and message in one segment: some servers read no further otherwise (RFC 7766 §8).
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let id = Header::read(query).map(|header| header.id);
    loop {
        let octets = stream.read_u16().await?;
        let mut message = vec![0; usize::from(octets)];
        stream.read_exact(&mut message).await?;
        let header = Header::read(&message);
        let answers = header.is_some_and(|header| header.is_response() && Some(header.id) == id);
        if answers && message::answers(&message, key) {
            return Ok(message);
        }
    }
}
