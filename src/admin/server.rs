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
    /// Open connections; further ones are closed at once.
    pub connections: usize,
}

/// Serves `router` on every connection that it is given.
#[derive(Clone)]
pub struct Server {
    router: Router,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Server {
    /// A server that ends its connections when `stop` is cancelled.
    pub fn new(router: Router, limits: Limits, stop: CancellationToken) -> Self {
        Self { router, room: Arc::new(Semaphore::new(limits.connections)), stop }
    }

    /// Starts to serve one connection of somebody whom the kernel names; routes find them as an extension.
    pub fn spawn_for(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: Peer) {
        let router = self.router.clone().layer(Extension(peer));
        Self { router, room: Arc::clone(&self.room), stop: self.stop.clone() }.spawn(stream);
    }

    /// Starts to serve one connection, or closes it when too many are open.
    pub fn spawn(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::debug!("too many connections to the admin or metrics listener");
            return;
        };
        let (router, stop) = (self.router.clone(), self.stop.clone());
        tokio::spawn(async move {
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
