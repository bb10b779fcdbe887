//! Listeners of the admin room, and what to tell the operator when an address cannot be had.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::admin::{Facts, Server};
use crate::net::{Accept, AcceptError, ControlSocket, ListenOptions, Listener, accept_loop, holder};
use crate::state::Problems;
use crate::telemetry::names::LISTENERS_FAILED;

/// `teal_listeners_failed`, to which everything that listens adds what it cannot have.
pub fn failed_listeners() -> metrics::Gauge {
    metrics::gauge!(LISTENERS_FAILED.name)
}

/// Who holds an address that cannot be listened at, where the kernel tells, and what to do.
pub fn explain(address: SocketAddr, error: &io::Error) -> String {
    let in_use = error.kind() == io::ErrorKind::AddrInUse;
    match in_use.then(|| holder::holder_of(address)).flatten() {
        Some(holder) => format!("the port is held by {holder}; {}", advice(error)),
        None => advice(error),
    }
}

/// What to do when an address cannot be listened at.
pub fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what holds it or choose another address".to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "ports below {} need CAP_NET_BIND_SERVICE: grant it (the packaged unit does) or choose a higher port",
            first_unprivileged_port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this host has no such address: add it, or choose another".to_owned()
        }
        _ => "choose another address".to_owned(),
    }
}

fn first_unprivileged_port() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Hands accepted connections to the admin room's server.
pub struct Http(pub Server);

impl Accept<Listener> for Http {
    fn accepted(&mut self, stream: std::net::TcpStream, _: SocketAddr) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.0.spawn(stream),
            Err(error) => tracing::warn!(%error, "cannot use an accepted connection"),
        }
    }

    fn failed(&mut self, error: AcceptError) {
        Server::accept_failed(error);
    }
}

impl Accept<ControlSocket> for Http {
    fn accepted(&mut self, stream: StdUnixStream, (): ()) {
        match UnixStream::from_std(stream) {
            Ok(stream) => self.0.spawn(stream),
            Err(error) => tracing::warn!(%error, "cannot use an accepted connection"),
        }
    }

    fn failed(&mut self, error: AcceptError) {
        Server::accept_failed(error);
    }
}

/// How long the metrics address rests when it cannot be had.
const RETRY: Duration = Duration::from_secs(1);

/// The listener of `/metrics`: an address that cannot be had is tried again each second.
pub struct MetricsListener {
    /// The address wanted.
    pub listen: SocketAddr,
    /// What serves its connections.
    pub server: Server,
    /// Is told the address once it is listened at.
    pub facts: Arc<Facts>,
    /// Is told why not.
    pub problems: Problems,
    /// Ends it.
    pub stop: CancellationToken,
}

impl MetricsListener {
    /// Tries to listen.
    pub fn bind(&self) -> Option<Listener> {
        match Listener::bind(self.listen, ListenOptions::default()) {
            Ok(listener) => {
                self.problems.clear("metrics");
                self.facts.metrics.store(Some(Arc::new(listener.address())));
                Some(listener)
            }
            Err(error) => {
                let cause = explain(self.listen, &error);
                self.problems
                    .set("metrics", format!("cannot serve metrics at {}: {error}; {cause}", self.listen));
                None
            }
        }
    }

    /// Tries each second; `None` when stopped before.
    async fn bind_later(&self) -> Option<Listener> {
        failed_listeners().increment(1.0);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
            if let Some(listener) = self.bind() {
                failed_listeners().decrement(1.0);
                return Some(listener);
            }
        }
    }

    /// Serves, from the moment when the address can be had.
    pub async fn run(self, bound: Option<Listener>) {
        let listener = match bound {
            Some(listener) => listener,
            None => match self.bind_later().await {
                Some(listener) => listener,
                None => return,
            },
        };
        if let Err(error) = accept_loop(listener, self.stop, &mut Http(self.server)).await {
            self.problems.set("metrics", format!("the metrics listener stopped: {error}; restart teal"));
        }
    }
}
