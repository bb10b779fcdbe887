//! The DNS thread: answers go on whatever the proxy or the control thread does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listeners::{explain, failed_listeners};
use crate::dns::forward::policy::BUDGET;
use crate::dns::{self, Bound, Dns};
use crate::state::Problems;

/// How long an address that could not be listened at rests until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The running thread.
pub struct Resolver {
    handle: Handle,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

/// Is told each address that is listened at, once it is.
type Note = Arc<dyn Fn(SocketAddr) + Send + Sync>;

impl Resolver {
    /// Starts the thread, which binds every address of `listen` and tries again each second where it
    /// cannot. Returns after the first try of each; `note` is told each address once it is listened at.
    ///
    /// # Errors
    /// The thread or its event queue cannot be made.
    pub fn start(
        listen: &[SocketAddr],
        dns: &Arc<Dns>,
        problems: &Problems,
        note: impl Fn(SocketAddr) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let note: Note = Arc::new(note);
        let servers = TaskTracker::new();
        let drained = CancellationToken::new();
        handle.spawn(Arc::clone(&dns.forwarder).run(drained.clone()));
        for address in listen {
            let first = try_bind(*address, problems);
            let server = Server {
                dns: Arc::clone(dns),
                stop: stop.clone(),
                problems: problems.clone(),
                note: Arc::clone(&note),
            };
            match &first {
                Some(first) => note(first.address),
                None => failed_listeners().increment(1.0),
            }
            servers.spawn_on(server.run(*address, first), &handle);
        }
        servers.close();
        let (until, forwarder) = (stop.clone(), Arc::clone(&dns.forwarder));
        let thread = thread::Builder::new().name("teal-dns".to_owned()).spawn(move || {
            runtime.block_on(async {
                until.cancelled().await;
                // What was received is answered by the tasks when they see the same token, and what was asked
                // upstream when that has answered.
                let last_answers = async {
                    servers.wait().await;
                    forwarder.drained().await;
                };
                let _ = tokio::time::timeout(BUDGET + LAST_ANSWERS, last_answers).await;
                drained.cancel();
                tokio::time::sleep(LAST_ANSWERS).await;
            });
        })?;
        Ok(Self { handle, stop, thread: Some(thread) })
    }

    /// The thread's runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Answers what was received and ends the thread.
    pub fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, which is what is asked for.
            let _ = thread.join();
        }
    }
}

/// How long answers that are there may take to leave.
const LAST_ANSWERS: Duration = Duration::from_millis(20);

fn subject(address: SocketAddr) -> String {
    format!("dns {address}")
}

fn try_bind(address: SocketAddr, problems: &Problems) -> Option<Bound> {
    match dns::bind(address) {
        Ok(bound) => {
            problems.clear(&subject(address));
            Some(bound)
        }
        Err(error) => {
            let cause = explain(address, &error.source);
            problems.set(&subject(address), format!("{error}; {cause}"));
            None
        }
    }
}

struct Server {
    dns: Arc<Dns>,
    stop: CancellationToken,
    problems: Problems,
    note: Note,
}

impl Server {
    async fn run(self, address: SocketAddr, first: Option<Bound>) {
        let Some(Bound { udp, tcp, .. }) = self.bind(address, first).await else { return };
        let over_udp = dns::udp::run(udp, Arc::clone(&self.dns), self.stop.clone());
        let over_tcp = dns::tcp::run(tcp, Arc::clone(&self.dns), self.stop.clone());
        let (udp_ended, tcp_ended) = tokio::join!(over_udp, over_tcp);
        for error in [udp_ended.err(), tcp_ended.err()].into_iter().flatten() {
            self.problems.set(&subject(address), format!("DNS at {address} stopped: {error}; restart teal"));
        }
    }

    async fn bind(&self, address: SocketAddr, mut bound: Option<Bound>) -> Option<Bound> {
        while bound.is_none() {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
            bound = try_bind(address, &self.problems);
            if let Some(bound) = &bound {
                failed_listeners().decrement(1.0);
                (self.note)(bound.address);
            }
        }
        bound
    }
}
