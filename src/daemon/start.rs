//! Starting: from a path to a running daemon.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::boot::{self, Boot};
use super::checks::Checks;
use super::last_good::{self, LastGood};
use super::limits::{self, TooFewDescriptors};
use super::listeners::{Http, MetricsListener};
use super::log::LogThread;
use super::plane::Planes;
use super::reload::{Reloader, now};
use super::resolver::Resolver;
use super::system_servers::{SystemFiles, SystemServers};
use super::{places, ports, releases, watchdog};
use crate::admin::report::ConnectionsReport;
use crate::admin::{self, Context, Facts, Limits, Phase, ReloadRequest, Server};
use crate::dns::{Dns, DnsMetrics, Forwarder, QueryLog};
use crate::health::FirstRound;
use crate::model::{HostNetworks, Route, Settings};
use crate::net::unix::ControlSocketError;
use crate::net::{ControlSocket, Workers, accept_loop, host, route};
use crate::provider::watch::Watcher;
use crate::proxy::Shared;
use crate::proxy::plane::Plane;
use crate::state::{Base, First, Live, Problems, Removal, SnapshotCell, StateDirectory, StateError, Writer};
use crate::telemetry::Series;
use crate::telemetry::names::{
    CONNECTION_LOG_DROPPED, DNS_LOG_DROPPED, DNS_QUERY_DURATION, WEIGHT_ZERO_VIOLATIONS,
};
use crate::telemetry::ordinary::{InstallError, Ordinary};

/// What the daemon is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration: a file or a folder.
    pub config: PathBuf,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: SocketChoice,
}

/// Where the control socket is.
#[derive(Debug, Clone)]
pub enum SocketChoice {
    /// Here, whatever the configuration says.
    At(PathBuf),
    /// Where the configuration says, else here.
    Default(PathBuf),
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is broken, and no last good one can stand in.
    #[error("{}\n{instead} in {}: mend this one", report.trim_end(), state_dir.display())]
    Configuration {
        /// Every error.
        report: String,
        /// Why there is no last good one.
        instead: String,
        /// Where a good one would have been kept.
        state_dir: PathBuf,
    },
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The configuration cannot be carried out.
    #[error(transparent)]
    First(#[from] crate::state::StartError),
    /// The descriptor limit.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] ControlSocketError),
    /// The metrics recorder.
    #[error(transparent)]
    Metrics(#[from] InstallError),
    /// A thread or an event queue.
    #[error("cannot start threads: {0}")]
    Threads(#[from] io::Error),
}

/// A running daemon.
pub struct Daemon {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) plane: Arc<Plane>,
    pub(super) workers: Arc<Workers>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) checks: Checks,
    first_round: FirstRound,
    first_round_end: Instant,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) snapshot: SnapshotCell,
    pub(super) live: Arc<Live>,
    pub(super) facts: Arc<Facts>,
    pub(super) reload: mpsc::Sender<ReloadRequest>,
    pub(super) log_threads: [LogThread; 2],
}

impl Daemon {
    /// Where the snapshot is found.
    pub fn snapshot(&self) -> &SnapshotCell {
        &self.snapshot
    }

    /// Live facts.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Where DNS answers and metrics are served.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// READY: returns once every endpoint was checked once, 5 s after the checks began at the latest.
    /// Connections are served before that. Being cancelled does no harm.
    pub async fn become_ready(&self) {
        let mut first_round = self.first_round.clone();
        let over = tokio::time::timeout_at(self.first_round_end.into(), first_round.over()).await;
        if over.is_err() {
            tracing::warn!("ready although some endpoints have not been checked yet");
        }
        // It may be stopping already.
        self.phase.send_if_modified(|phase| {
            let is_starting = *phase == Phase::Starting;
            if is_starting {
                *phase = Phase::Ready;
            }
            is_starting
        });
    }

    /// Asks for a reload and returns at once. Its result is in the log and in the status.
    pub fn reload(&self) {
        ask_for_reload(&self.reload);
    }

    /// Starts everything. Returns once whatever can be bound is bound; [`Self::become_ready`] comes next.
    ///
    /// # Errors
    /// What keeps it from starting, and what to do.
    pub async fn start(mut options: Options) -> Result<Self, StartError> {
        // What is kept for one configuration must not stand in for one of the same name in another folder.
        options.config = std::path::absolute(&options.config)?;
        let ordinary = Ordinary::install()?;
        let directory = Arc::new(StateDirectory::open(&options.state_dir)?);
        let facts = Arc::new(Facts::new(options.config.clone()));
        let base = Base {
            live: Arc::new(Live::new(Arc::new(Series::default()))),
            directory,
            problems: Problems::default(),
            rotation: places::host_rotation(),
        };
        // Shown at 0 from the start: it is the one that must stay there.
        base.live.series().counter(WEIGHT_ZERO_VIOLATIONS, &[]);
        // Watches from before the first read, so that no change is missed.
        let watcher = Watcher::new(&options.config, Duration::ZERO);
        let Boot { catalog, origin } = boot::read(&options, &watcher, &base.directory).await?;
        let settings = catalog.settings.clone();
        let max = limits::connections_of(&catalog)?;
        let socket = ControlSocket::bind(&socket_path(&options.socket, &settings))?;
        let first = First::build(catalog, &base, now())?;
        // Only now: what cannot run is no good configuration.
        let config = options.config.clone();
        let (last_good, keeper) =
            last_good::keeper(Arc::clone(&base.directory), config, base.problems.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(keeper.run());
        origin.note(&last_good, &base.problems, &facts);
        ensure_route(&settings, &base.problems).await;
        let stop = CancellationToken::new();
        let builder = Builder { options, ordinary, facts, base, settings, max, tasks, stop };
        builder.build(first, (watcher, last_good), socket).await
    }
}

fn socket_path(choice: &SocketChoice, settings: &Settings) -> PathBuf {
    match choice {
        SocketChoice::At(path) => path.clone(),
        SocketChoice::Default(path) => settings.admin.socket.clone().unwrap_or_else(|| path.clone()),
    }
}

/// A pool outside 127.0.0.0/8 needs one local route. Without it names still resolve, so this is no
/// reason not to start.
async fn ensure_route(settings: &Settings, problems: &Problems) {
    let pool = settings.vip.pool;
    if settings.vip.route == Route::None {
        return;
    }
    match route::ensure(pool).await {
        Ok(route::RouteState::Added) => tracing::info!(pool = %pool.0, "added a local route"),
        Ok(route::RouteState::AlreadyThere | route::RouteState::NotNeeded) => {}
        Err(error) => problems.set("route", error.to_string()),
    }
}

fn report(shared: &Shared) -> ConnectionsReport {
    ConnectionsReport { open: shared.open_count(), max: shared.connections_max() }
}

struct Builder {
    options: Options,
    ordinary: Ordinary,
    facts: Arc<Facts>,
    base: Base,
    settings: Settings,
    max: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Builder {
    async fn build(
        self,
        first: First,
        (watcher, last_good): (Watcher, LastGood),
        socket: ControlSocket,
    ) -> Result<Daemon, StartError> {
        let snapshot = Arc::clone(first.cell());
        let networks = self.follow_networks().await;
        let workers = Arc::new(Workers::start(Workers::default_count())?);
        let (live, max) = (Arc::clone(&self.base.live), self.max);
        let (log, log_thread) = LogThread::start("teal-log", CONNECTION_LOG_DROPPED)?;
        let shared = Shared::new(Arc::clone(&snapshot), Arc::clone(&networks), Arc::clone(&live), max);
        let shared = Arc::new(shared.logging_to(log));
        // DNS before everything else: names must resolve whatever else fails.
        let (resolver, query_log_thread) = self.start_dns(&snapshot, networks)?;
        let ((checks, first_round), now) = (Checks::start(&snapshot, &self.base)?, Instant::now());
        let plane = Arc::new(Plane::new(Arc::clone(&shared), Arc::clone(&workers)));
        let planes = Box::new(Planes::new(&plane, &resolver, &self.base.problems));
        let writer = Writer::start(first, self.base.clone(), planes).await;
        let (phase, phase_seen) = watch::channel(Phase::Starting);
        let ((reload, requests), (changes, orders)) = (mpsc::channel(REQUESTS), mpsc::channel(REQUESTS));
        let reloader = Reloader {
            writer,
            watch: watcher.handle(),
            last_good,
            problems: self.base.problems.clone(),
            facts: Arc::clone(&self.facts),
            shared: Arc::clone(&shared),
            phase: phase_seen.clone(),
        };
        self.tasks.spawn(reloader.run(requests, orders, self.stop.clone()));
        self.start_watching(watcher, &reload);
        let releases = releases::start(&self.base, &snapshot, &changes, (&self.tasks, &self.stop));
        let context = Context {
            snapshot: Arc::clone(&snapshot),
            live: Arc::clone(&live),
            problems: self.base.problems.clone(),
            ordinary: self.ordinary.clone(),
            facts: Arc::clone(&self.facts),
            phase: phase_seen,
            connections: Arc::new(move || report(&shared)),
            reload: reload.clone(),
            changes,
            releases,
            dns: resolver.access(),
            state: self.base.directory.path().to_owned(),
        };
        self.start_admin(context, socket);
        self.start_watchdog(&workers, &resolver, &snapshot);
        Ok(Daemon {
            phase,
            plane,
            workers,
            resolver,
            checks,
            first_round,
            first_round_end: now + FIRST_ROUND,
            stop: self.stop,
            tasks: self.tasks,
            snapshot,
            live,
            facts: self.facts,
            reload,
            log_threads: [log_thread, query_log_thread],
        })
    }

    fn start_watchdog(&self, workers: &Arc<Workers>, resolver: &Resolver, snapshot: &SnapshotCell) {
        let dns = resolver.handles();
        self.tasks.spawn(watchdog::run(Arc::clone(workers), dns, self.stop.clone()));
        self.tasks.spawn(watchdog::upkeep(self.ordinary.clone(), self.stop.clone()));
        let (live, problems) = (Arc::clone(&self.base.live), self.base.problems.clone());
        self.tasks.spawn(ports::watch(Arc::clone(snapshot), live, problems, self.stop.clone()));
    }

    /// The host's networks as they are now, followed from then on.
    async fn follow_networks(&self) -> Arc<ArcSwap<HostNetworks>> {
        // When the kernel does not tell, `follow` says so and tries again.
        let networks = Arc::new(ArcSwap::from_pointee(host::look().await.unwrap_or_default()));
        tokio::spawn(host::follow(Arc::clone(&networks), self.stop.clone()));
        networks
    }

    fn start_dns(
        &self,
        snapshot: &SnapshotCell,
        networks: Arc<ArcSwap<HostNetworks>>,
    ) -> Result<(Arc<Resolver>, LogThread), StartError> {
        let series = self.base.live.series();
        let metrics = DnsMetrics::new(series.histogram(DNS_QUERY_DURATION, &[]));
        let (log, log_thread) = LogThread::start("teal-dns-log", DNS_LOG_DROPPED)?;
        let forwarder = Forwarder::new(metrics.clone(), Arc::clone(series), self.base.problems.clone());
        let mut dns = Dns::new(Arc::clone(snapshot), networks, metrics).with_forwarder(forwarder);
        dns.log = QueryLog::new(log);
        let system = SystemServers::start(SystemFiles::default(), Arc::clone(&dns.upstreams));
        self.tasks.spawn(system.run(self.stop.clone()));
        let facts = Arc::clone(&self.facts);
        let note = move |listen: Vec<SocketAddr>| facts.dns.store(Arc::new(listen));
        let listen = (&*self.settings.dns.listen, Workers::default_count());
        let resolver = Resolver::start(listen, &Arc::new(dns), &self.base.problems, note)?;
        Ok((Arc::new(resolver), log_thread))
    }

    /// Reports each change of the configuration, where it is watched.
    fn start_watching(&self, watcher: Watcher, reload: &mpsc::Sender<ReloadRequest>) {
        let config = &self.options.config;
        let of_folder = if config.is_dir() { SETTLE_FOLDER } else { Duration::ZERO };
        watcher.handle().set_settle(self.settings.reload.settle.unwrap_or(of_folder));
        if self.settings.reload.watch {
            let reload = reload.clone();
            self.tasks.spawn(watcher.run(move || ask_for_reload(&reload), self.stop.clone()));
        }
    }

    fn start_admin(&self, context: Context, socket: ControlSocket) {
        let limits = Limits { connections: HTTP_CONNECTIONS, waiting: CONTROL_WAITING };
        let control = Server::new(admin::control::routes(context.clone()), limits, self.stop.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            if let Err(error) = accept_loop(socket, stop, &mut Http(control)).await {
                tracing::error!(%error, "the control socket stopped");
            }
        });
        let Some(listen) = self.settings.metrics.listen else { return };
        let limits = Limits { waiting: 0, ..limits };
        let server = Server::new(admin::metrics::routes(context), limits, self.stop.clone());
        let metrics = MetricsListener {
            listen,
            server,
            facts: Arc::clone(&self.facts),
            problems: self.base.problems.clone(),
            stop: self.stop.clone(),
        };
        let bound = metrics.bind();
        self.tasks.spawn(metrics.run(bound));
    }
}

fn ask_for_reload(reload: &mpsc::Sender<ReloadRequest>) {
    let (reply, _) = oneshot::channel();
    // A full queue holds a reload that will read what changed now.
    let _ = reload.try_send(ReloadRequest { removal: Removal::Guarded, reply });
}

/// How long READY waits for the first checks.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// Reloads, and changes at run time, that may wait for one that runs.
const REQUESTS: usize = 8;
/// How long a folder must have been quiet.
const SETTLE_FOLDER: Duration = Duration::from_secs(2);
/// Connections to the control socket, and to the metrics listener.
const HTTP_CONNECTIONS: usize = 64;
/// Further connections to the control socket that wait: a rollback must not be lost in a crowd of dashboards.
const CONTROL_WAITING: usize = 192;
