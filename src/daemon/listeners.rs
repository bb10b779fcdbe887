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

/// What keeps an address from being listened at, and what to do.
pub fn explain(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder::holder_of(address).unwrap_or_else(|| "another process".to_owned());
            format!("{holder} has it: stop that one or choose another address")
        }
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

    /// Serves, from the moment when the address can be had.
    pub async fn run(self, mut bound: Option<Listener>) {
        let listener = loop {
            if let Some(listener) = bound {
                break listener;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
            bound = self.bind();
        };
        if let Err(error) = accept_loop(listener, self.stop, &mut Http(self.server)).await {
            self.problems.set("metrics", format!("the metrics listener stopped: {error}; restart teal"));
        }
    }
}
