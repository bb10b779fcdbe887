//! Serves HTTP/1 on the connections of one listener, bounded in number, header size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::net::AcceptError;
use crate::net::unix::Peer;
use crate::telemetry::names::ACCEPT_ERRORS;

/// Bytes that a request's head may have.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// How long a client may take to send a request's head, idle time between requests included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How much one listener serves at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections that are served.
    pub connections: usize,
    /// Further ones that wait until one of these has ended; those beyond are closed at once.
    pub waiting: usize,
}

/// Serves `router` on every connection that it is given.
#[derive(Clone)]
pub struct Server {
    router: Router,
    room: Arc<Semaphore>,
    line: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Server {
    /// A server that ends its connections when `stop` is cancelled.
    pub fn new(router: Router, limits: Limits, stop: CancellationToken) -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self { router, room: semaphore(limits.connections), line: semaphore(limits.waiting), stop }
    }

    /// Starts to serve one connection of somebody whom the kernel names; routes find them as an extension.
    pub fn spawn_for(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: Peer) {
        let router = self.router.clone().layer(Extension(peer));
        Self { router, ..self.clone() }.spawn(stream);
    }

    /// Starts to serve one connection, in its turn, or closes it when too many are open.
    pub fn spawn(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { router, room, line, stop } = self.clone();
        let place = Arc::clone(&room).try_acquire_owned().ok();
        let turn = if place.is_none() { line.try_acquire_owned().ok() } else { None };
        if place.is_none() && turn.is_none() {
            tracing::debug!("too many connections to the admin or metrics listener");
            return;
        }
        tokio::spawn(async move {
            let place = if let Some(place) = place {
                place
            } else {
                tokio::select! {
                    Ok(place) = room.acquire_owned() => place,
                    () = stop.cancelled() => return,
                }
            };
            drop(turn);
            serve(stream, router, stop).await;
            drop(place);
        });
    }

    /// Counts a failed accept.
    pub fn accept_failed(error: AcceptError) {
        metrics::counter!(ACCEPT_ERRORS.name, "listener" => "admin", "reason" => error.label()).increment(1);
    }
}

/// Serves one connection until its end, or until `stop` and the end of the request in progress.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_OCTETS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin or metrics listener failed");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn ask(stream: &mut DuplexStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: teal\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_finds_all_places_taken_waits_for_one_and_more_are_closed() {
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let limits = Limits { connections: 1, waiting: 1 };
        let server = Server::new(router, limits, CancellationToken::new());
        let connect = || {
            let (client, stream) = duplex(4096);
            server.spawn(stream);
            client
        };
        let (mut first, mut second, mut third) = (connect(), connect(), connect());
        assert_eq!(third.read(&mut [0; 1]).await.unwrap(), 0);
        let waits = tokio::spawn(async move { ask(&mut second).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert!(ask(&mut first).await.ends_with("here"));
        assert!(waits.await.unwrap().ends_with("here"));
    }
}
