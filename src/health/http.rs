//! The check that asks by GET over a connection of its own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::outcome::Failure;
use super::response::Response;
use super::tcp;
use crate::model::HttpCheck;

/// What is read at once.
const READ_BYTES: usize = 4096;

/// Passes when the answer's status is expected and its body contains what is expected. Without a `body`
/// the head alone is waited for.
///
/// # Errors
/// Why it does not pass.
pub async fn check(address: SocketAddr, check: &HttpCheck) -> Result<(), Failure> {
    let mut stream = tcp::connect(address).await?;
    stream.write_all(request(address, check).as_bytes()).await?;
    let mut response = Response::new(check);
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = stream.read(&mut buffer).await?;
        let judged = if count == 0 { Some(response.end()) } else { response.push(&buffer[..count]) };
        if let Some(judged) = judged {
            return judged;
        }
    }
}

fn request(address: SocketAddr, check: &HttpCheck) -> String {
    let host = check.host.as_deref().map_or_else(|| address.to_string(), str::to_owned);
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: teal/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        check.path,
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StatusSet;

    #[test]
    fn a_request_names_the_host_or_the_address() {
        let address = "10.0.0.1:80".parse().unwrap();
        let mut check =
            HttpCheck { path: "/up?x=1".into(), host: None, expect: StatusSet::successful(), body: None };
        assert!(request(address, &check).starts_with("GET /up?x=1 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n"));
        check.host = Some("a.local".into());
        let text = request(address, &check);
        assert!(text.contains("\r\nHost: a.local\r\n") && text.ends_with("Connection: close\r\n\r\n"));
    }
}
