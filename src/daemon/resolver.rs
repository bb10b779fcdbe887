//! The DNS threads, one for each core: answers go on whatever the proxy or the control thread does.
//!
//! At a reload new addresses are bound before old ones are let go of, and what arrived at those is answered.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listeners::{explain, failed_listeners};
use crate::admin::dns::DnsAccess;
use crate::dns::{self, BindError, Bound, Dns};
use crate::state::Problems;

/// How long an address that could not be listened at rests until the next try.
const RETRY: Duration = Duration::from_secs(1);
/// How long an address that is let go of is still answered at.
const CLOSING_GRACE: Duration = Duration::from_millis(100);
/// How long an address that is wanted again may take to be free.
const CLOSING_PATIENCE: Duration = Duration::from_secs(1);
/// How long it is waited for queries that are under way at a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// The running threads.
pub struct Resolver {
    /// The first has the forwarder's clock and the operator's questions as well.
    handles: Arc<[Handle]>,
    stop: CancellationToken,
    tasks: TaskTracker,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    servers: Mutex<Vec<Running>>,
    shared: Arc<Shared>,
}

/// An address that is listened at, or would be.
struct Running {
    wanted: SocketAddr,
    stop: CancellationToken,
}

/// Is told all addresses that are listened at, whenever they change.
type Note = Box<dyn Fn(Vec<SocketAddr>) + Send + Sync>;

/// What the servers of all addresses share.
struct Shared {
    dns: Arc<Dns>,
    threads: NonZeroUsize,
    problems: Problems,
    note: Note,
    bound: Mutex<Vec<SocketAddr>>,
    /// What was let go of and may not be free yet.
    closing: Mutex<Vec<SocketAddr>>,
}

/// Addresses that are bound for the next configuration, and not answered at yet.
pub struct Prepared(Vec<(SocketAddr, Bound)>);

impl Resolver {
    /// Starts so many threads, which answer at every address of `listen`; one that cannot be bound is tried again
    /// each second. Returns after the first try of each.
    ///
    /// # Errors
    /// A thread or its event queue cannot be made.
    pub fn start(
        (listen, threads): (&[SocketAddr], NonZeroUsize),
        dns: &Arc<Dns>,
        problems: &Problems,
        note: impl Fn(Vec<SocketAddr>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let runtimes = (0..threads.get()).map(|_| Builder::new_current_thread().enable_all().build());
        let runtimes = runtimes.collect::<io::Result<Vec<Runtime>>>()?;
        let shared = Shared {
            dns: Arc::clone(dns),
            threads,
            problems: problems.clone(),
            note: Box::new(note),
            bound: Mutex::default(),
            closing: Mutex::default(),
        };
        let resolver = Self {
            handles: runtimes.iter().map(|runtime| runtime.handle().clone()).collect(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            threads: Mutex::default(),
            servers: Mutex::default(),
            shared: Arc::new(shared),
        };
        // The clock goes on until nobody waits any more.
        let ended = CancellationToken::new();
        resolver.handle().spawn(Arc::clone(&dns.upstreams).run(ended.clone()));
        for (index, runtime) in runtimes.into_iter().enumerate() {
            let last_answers = resolver.last_answers(ended.clone());
            let name = format!("teal-dns-{index}");
            let thread = thread::Builder::new().name(name).spawn(move || runtime.block_on(last_answers))?;
            lock(&resolver.threads).push(thread);
        }
        for address in listen {
            let first = resolver.shared.try_bind(*address);
            if first.is_none() {
                failed_listeners().increment(1.0);
            }
            resolver.serve(*address, first);
        }
        Ok(resolver)
    }

    /// Waits for the stop, then until what was received is answered and what is under way has its end, but not for
    /// ever.
    fn last_answers(&self, ended: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (stop, tasks, upstreams) =
            (self.stop.clone(), self.tasks.clone(), Arc::clone(&self.shared.dns.upstreams));
        async move {
            stop.cancelled().await;
            let last_answers = async {
                tasks.wait().await;
                upstreams.drained().await;
            };
            let _ = tokio::time::timeout(STOP_PATIENCE, last_answers).await;
            ended.cancel();
        }
    }

    /// The runtimes of all threads.
    pub fn handles(&self) -> Arc<[Handle]> {
        Arc::clone(&self.handles)
    }

    fn handle(&self) -> &Handle {
        &self.handles[0]
    }

    /// The way to it for the operator's questions.
    pub fn access(&self) -> DnsAccess {
        DnsAccess { dns: Arc::clone(&self.shared.dns), thread: self.handle().clone() }
    }

    /// Answers what was received and ends the threads. Blocks.
    pub fn stop(&self) {
        self.tasks.close();
        self.stop.cancel();
        for thread in lock(&self.threads).drain(..) {
            // A thread that panicked has ended, which is what is asked for.
            let _ = thread.join();
        }
    }

    /// Binds what `listen` has and is not listened at yet. What could not be bound before is none of this.
    ///
    /// # Errors
    /// What cannot be bound, a sentence each; nothing stays bound then.
    pub async fn prepare(&self, listen: &[SocketAddr]) -> Result<Prepared, Vec<String>> {
        let (mut prepared, mut failures) = (Vec::new(), Vec::new());
        for address in self.differences(listen).added {
            match self.shared.bind_patiently(address).await {
                Ok(bound) => prepared.push((address, bound)),
                Err(error) => failures.push(self.sentence(address, &error)),
            }
        }
        if failures.is_empty() { Ok(Prepared(prepared)) } else { Err(failures) }
    }

    /// Answers at what was prepared, and lets go of addresses that `listen` has no more.
    pub fn commit(&self, listen: &[SocketAddr], prepared: Prepared) {
        for address in self.differences(listen).removed {
            let mut servers = lock(&self.servers);
            if let Some(index) = servers.iter().position(|server| server.wanted == address) {
                lock(&self.shared.closing).push(address);
                servers.swap_remove(index).stop.cancel();
            }
        }
        for (address, bound) in prepared.0 {
            self.shared.note_bound(bound.address);
            self.serve(address, Some(bound));
        }
    }

    fn differences(&self, listen: &[SocketAddr]) -> Differences {
        let mut removed: Vec<SocketAddr> = lock(&self.servers).iter().map(|server| server.wanted).collect();
        let mut added = Vec::new();
        for address in listen {
            match removed.iter().position(|known| known == address) {
                Some(index) => drop(removed.swap_remove(index)),
                None => added.push(*address),
            }
        }
        Differences { added, removed }
    }

    fn serve(&self, wanted: SocketAddr, bound: Option<Bound>) {
        let stop = self.stop.child_token();
        let (shared, handles) = (Arc::clone(&self.shared), Arc::clone(&self.handles));
        let server = Server { shared, handles, stop: stop.clone() };
        lock(&self.servers).push(Running { wanted, stop });
        self.tasks.spawn_on(server.run(wanted, bound), self.handle());
    }

    /// Why an address cannot be had. It may be teal itself who is in the way.
    fn sentence(&self, address: SocketAddr, error: &BindError) -> String {
        let own = lock(&self.shared.bound).iter().copied().find(|own| {
            let wildcard = own.ip().is_unspecified() || address.ip().is_unspecified();
            wildcard && own.port() == address.port() && own.is_ipv4() == address.is_ipv4()
        });
        match own {
            Some(own) if error.source.kind() == io::ErrorKind::AddrInUse => format!(
                "{error}; teal itself listens at {own}, and one of the two is every address of the host: \
                 remove {own} first, or restart teal"
            ),
            _ => format!("{error}; {}", explain(address, &error.source)),
        }
    }
}

/// What a configuration changes about the addresses.
struct Differences {
    added: Vec<SocketAddr>,
    removed: Vec<SocketAddr>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn subject(address: SocketAddr) -> String {
    format!("dns {address}")
}

impl Shared {
    fn try_bind(&self, address: SocketAddr) -> Option<Bound> {
        match dns::bind(address, self.threads) {
            Ok(bound) => {
                self.problems.clear(&subject(address));
                self.note_bound(bound.address);
                Some(bound)
            }
            Err(error) => {
                let cause = explain(address, &error.source);
                self.problems.set(&subject(address), format!("{error}; {cause}"));
                None
            }
        }
    }

    /// An address that was let go of a moment ago takes a moment to be free.
    async fn bind_patiently(&self, address: SocketAddr) -> Result<Bound, BindError> {
        let end = Instant::now() + CLOSING_PATIENCE;
        loop {
            let is_closing = lock(&self.closing).contains(&address) && Instant::now() < end;
            match dns::bind(address, self.threads) {
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse && is_closing => {
                    tokio::time::sleep(CLOSING_GRACE / 10).await;
                }
                bound => return bound,
            }
        }
    }

    /// Says that a transport ended on one of the threads for another reason than a stop.
    fn note_end(&self, address: SocketAddr, ended: Result<io::Result<()>, JoinError>) {
        if let Err(error) = ended.map_err(io::Error::other).flatten() {
            self.problems.set(&subject(address), format!("DNS at {address} stopped: {error}; restart teal"));
        }
    }

    fn note_bound(&self, address: SocketAddr) {
        let mut bound = lock(&self.bound);
        bound.push(address);
        (self.note)(bound.clone());
    }

    fn note_closed(&self, address: SocketAddr) {
        let mut bound = lock(&self.bound);
        bound.retain(|known| *known != address);
        (self.note)(bound.clone());
    }
}

struct Server {
    shared: Arc<Shared>,
    handles: Arc<[Handle]>,
    stop: CancellationToken,
}

impl Server {
    async fn run(self, wanted: SocketAddr, first: Option<Bound>) {
        if let Some(bound) = self.bind(wanted, first).await {
            self.serve(wanted, bound).await;
        } else {
            failed_listeners().decrement(1.0);
            self.shared.problems.clear(&subject(wanted));
        }
        lock(&self.shared.closing).retain(|known| *known != wanted);
    }

    async fn serve(&self, wanted: SocketAddr, bound: Bound) {
        let Bound { address, udp, tcp } = bound;
        let (shared, halt) = (&self.shared, CancellationToken::new());
        let mut running = JoinSet::new();
        for (handle, udp) in self.handles.iter().zip(udp) {
            running.spawn_on(dns::udp::run(udp, Arc::clone(&shared.dns), halt.clone()), handle);
            running.spawn_on(dns::tcp::run(tcp.clone(), Arc::clone(&shared.dns), halt.clone()), handle);
        }
        let close = async {
            self.stop.cancelled().await;
            shared.note_closed(address);
            tcp.ignore_new_or_say();
            drop(tcp);
            tokio::time::sleep(CLOSING_GRACE).await;
            halt.cancel();
        };
        let ends = async {
            while let Some(ended) = running.join_next().await {
                shared.note_end(wanted, ended);
            }
        };
        tokio::join!(ends, close);
    }

    async fn bind(&self, address: SocketAddr, mut bound: Option<Bound>) -> Option<Bound> {
        while bound.is_none() {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
            bound = self.shared.try_bind(address);
            if bound.is_some() {
                failed_listeners().decrement(1.0);
            }
        }
        bound
    }
}
