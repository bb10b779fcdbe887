//! Starting: from a path to a running daemon.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::{TooFewDescriptors, max_connections, raise_descriptors};
use super::listeners::{Http, MetricsListener};
use super::plane::ProxyPlane;
use super::reload::{Reloader, now};
use super::resolver::Resolver;
use super::{last_good, places, watchdog};
use crate::admin::report::{ConnectionsReport, ReloadReport};
use crate::admin::{self, Context, Facts, Limits, Phase, ReloadRequest, Server};
use crate::config::{self, Loaded, ReportStyle};
use crate::dns::{Dns, DnsMetrics};
use crate::model::{Catalog, HostNetworks, Route, Service, Settings};
use crate::net::unix::ControlSocketError;
use crate::net::{ControlSocket, Workers, accept_loop, host, route};
use crate::provider::watch::{PATIENCE, Watcher};
use crate::proxy::Shared;
use crate::proxy::plane::Plane;
use crate::state::{Base, First, Live, Problems, Removal, SnapshotCell, StateDirectory, StateError, Writer};
use crate::telemetry::Series;
use crate::telemetry::names::{CONFIG_DEGRADED, DNS_QUERY_DURATION, WEIGHT_ZERO_VIOLATIONS};
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
    /// The configuration is broken, and no last good one is kept.
    #[error("{report}\nno last good configuration is kept in {}: mend this one", state_dir.display())]
    Configuration {
        /// Every error.
        report: String,
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
    pub(super) resolver: Resolver,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) snapshot: SnapshotCell,
    pub(super) live: Arc<Live>,
    pub(super) facts: Arc<Facts>,
    pub(super) reload: mpsc::Sender<ReloadRequest>,
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

    /// Reloads, and waits for the result. `None` when the daemon is stopping.
    pub async fn reload(&self) -> Option<ReloadReport> {
        let (reply, result) = oneshot::channel();
        self.reload.send(ReloadRequest { removal: Removal::Guarded, reply }).await.ok()?;
        result.await.ok()
    }

    /// Starts everything. Returns once whatever can be bound is bound.
    ///
    /// # Errors
    /// What keeps it from starting, and what to do.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let ordinary = Ordinary::install()?;
        let directory = Arc::new(StateDirectory::open(&options.state_dir)?);
        let facts = Arc::new(Facts::new(options.config.clone()));
        let base = Base {
            live: Arc::new(Live::new(Arc::new(Series::default()))),
            directory,
            problems: Problems::default(),
            rotation: places::host_rotation(),
        };
        // Watches from before the first read, so that no change is missed.
        let watcher = Watcher::new(&options.config, Duration::ZERO);
        let catalog = first_catalog(&options, &watcher, &base, &facts).await?;
        let settings = catalog.settings.clone();
        let descriptors = raise_descriptors();
        let listeners = listener_count(&catalog);
        let max = max_connections(settings.limits.max_connections, descriptors, listeners)?;
        let socket = ControlSocket::bind(&socket_path(&options.socket, &settings))?;
        let first = First::build(catalog, &base, now())?;
        ensure_route(&settings, &base.problems).await;
        let builder =
            Builder { options, ordinary, facts, base, settings, max, stop: CancellationToken::new() };
        builder.build(first, watcher, socket).await
    }
}

/// Reads the configuration, or the last good one where it is broken.
async fn first_catalog(
    options: &Options,
    watcher: &Watcher,
    base: &Base,
    facts: &Facts,
) -> Result<Catalog, StartError> {
    let broken = match watcher.handle().read(PATIENCE).await {
        Ok(sources) => match config::load(&sources) {
            Ok(Loaded { catalog, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{}", warning.one_line(&sources));
                }
                if let Err(error) = last_good::keep(&base.directory, &options.config, &sources) {
                    base.problems.set("state: last good configuration", error.to_string());
                }
                return Ok(catalog);
            }
            Err(rejected) => config::render(&rejected.diagnostics, &sources, ReportStyle::Plain),
        },
        Err(error) => error.to_string(),
    };
    let kept = last_good::read(&base.directory, &options.config)?;
    let Some(Ok(Loaded { catalog, .. })) = kept.map(|sources| config::load(&sources)) else {
        return Err(StartError::Configuration { report: broken, state_dir: options.state_dir.clone() });
    };
    base.problems.set(
        "configuration",
        format!(
            "the last good configuration runs, as the one on disk is broken; mend it and reload:\n{broken}"
        ),
    );
    facts.degraded.store(true, Ordering::Relaxed);
    metrics::gauge!(CONFIG_DEGRADED.name).set(1.0);
    Ok(catalog)
}

fn socket_path(choice: &SocketChoice, settings: &Settings) -> PathBuf {
    match choice {
        SocketChoice::At(path) => path.clone(),
        SocketChoice::Default(path) => settings.admin.socket.clone().unwrap_or_else(|| path.clone()),
    }
}

/// Sockets that a catalog's services and DNS listen with.
pub(super) fn listener_count(catalog: &Catalog) -> u64 {
    let of_service = |service: &Arc<Service>| {
        let exposed: usize = service.ports.iter().map(|port| port.expose.len()).sum();
        service.ports.len() * (1 + service.colors.len()) + exposed
    };
    let services: usize = catalog.services.values().map(of_service).sum();
    (services + 2 * catalog.settings.dns.listen.len()) as u64
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

struct Builder {
    options: Options,
    ordinary: Ordinary,
    facts: Arc<Facts>,
    base: Base,
    settings: Settings,
    max: usize,
    stop: CancellationToken,
}

impl Builder {
    async fn build(
        self,
        first: First,
        watcher: Watcher,
        socket: ControlSocket,
    ) -> Result<Daemon, StartError> {
        let snapshot = Arc::clone(first.cell());
        let networks = self.follow_networks().await;
        let workers = Arc::new(Workers::start(Workers::default_count())?);
        let live = Arc::clone(&self.base.live);
        live.series().counter(WEIGHT_ZERO_VIOLATIONS, &[]);
        let shared =
            Arc::new(Shared::new(Arc::clone(&snapshot), Arc::clone(&networks), Arc::clone(&live), self.max));
        // DNS before everything else: names must resolve whatever else fails.
        let resolver = self.start_dns(&snapshot, networks)?;
        let plane = Arc::new(Plane::new(Arc::clone(&shared), Arc::clone(&workers)));
        let data_plane = ProxyPlane::new(Arc::clone(&plane), self.base.problems.clone());
        let writer = Writer::start(first, self.base.clone(), Box::new(data_plane)).await;
        let (phase, phase_seen) = watch::channel(Phase::Starting);
        let (reload, requests) = mpsc::channel(REQUESTS);
        let tasks = TaskTracker::new();
        self.start_reloading((writer, watcher), requests, &reload, (&tasks, &shared));
        let limit = self.max;
        let connections = move || ConnectionsReport { open: shared.open_count(), max: limit };
        let context = Context {
            snapshot: Arc::clone(&snapshot),
            live: Arc::clone(&live),
            problems: self.base.problems.clone(),
            ordinary: self.ordinary.clone(),
            facts: Arc::clone(&self.facts),
            phase: phase_seen,
            connections: Arc::new(connections),
            reload: reload.clone(),
        };
        self.start_admin(context, socket, &tasks);
        tasks.spawn(watchdog::run(Arc::clone(&workers), resolver.handle().clone(), self.stop.clone()));
        tasks.spawn(watchdog::upkeep(self.ordinary.clone(), self.stop.clone()));
        let (stop, facts) = (self.stop, self.facts);
        phase.send_replace(Phase::Ready);
        Ok(Daemon { phase, plane, workers, resolver, stop, tasks, snapshot, live, facts, reload })
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
    ) -> Result<Resolver, StartError> {
        let duration = self.base.live.series().histogram(DNS_QUERY_DURATION, &[]);
        let dns = Arc::new(Dns::new(Arc::clone(snapshot), networks, DnsMetrics::new(duration)));
        let facts = Arc::clone(&self.facts);
        let note = move |address: SocketAddr| {
            let mut listen = facts.dns.load().as_ref().clone();
            listen.push(address);
            facts.dns.store(Arc::new(listen));
        };
        Ok(Resolver::start(&self.settings.dns.listen, &dns, &self.base.problems, note)?)
    }

    fn start_reloading(
        &self,
        (writer, watcher): (Writer, Watcher),
        requests: mpsc::Receiver<ReloadRequest>,
        reload: &mpsc::Sender<ReloadRequest>,
        (tasks, shared): (&TaskTracker, &Arc<Shared>),
    ) {
        let config = &self.options.config;
        let of_folder = if config.is_dir() { SETTLE_FOLDER } else { Duration::ZERO };
        watcher.handle().set_settle(self.settings.reload.settle.unwrap_or(of_folder));
        let (listeners, shared) = (listener_count(&writer.cell().load().catalog), Arc::clone(shared));
        let problems = self.base.problems.clone();
        let applied = move |settings: &Settings| match max_connections(
            settings.limits.max_connections,
            raise_descriptors(),
            listeners,
        ) {
            Ok(max) => shared.set_connections_max(max),
            Err(error) => problems.set("limits", error.to_string()),
        };
        let reloader = Reloader {
            writer,
            watch: watcher.handle(),
            directory: Arc::clone(&self.base.directory),
            problems: self.base.problems.clone(),
            facts: Arc::clone(&self.facts),
            applied: Box::new(applied),
        };
        tasks.spawn(reloader.run(requests, self.stop.clone()));
        if self.settings.reload.watch {
            let reload = reload.clone();
            let changed = move || {
                let (reply, _) = oneshot::channel();
                // A full queue holds a reload that will read what changed now.
                let _ = reload.try_send(ReloadRequest { removal: Removal::Guarded, reply });
            };
            tasks.spawn(watcher.run(changed, self.stop.clone()));
        }
    }

    fn start_admin(&self, context: Context, socket: ControlSocket, tasks: &TaskTracker) {
        let limits = Limits { connections: HTTP_CONNECTIONS };
        let control = Server::new(admin::control::routes(context.clone()), limits, self.stop.clone());
        let stop = self.stop.clone();
        tasks.spawn(async move {
            if let Err(error) = accept_loop(socket, stop, &mut Http(control)).await {
                tracing::error!(%error, "the control socket stopped");
            }
        });
        let Some(listen) = self.settings.metrics.listen else { return };
        let server = Server::new(admin::metrics::routes(context), limits, self.stop.clone());
        let metrics = MetricsListener {
            listen,
            server,
            facts: Arc::clone(&self.facts),
            problems: self.base.problems.clone(),
            stop: self.stop.clone(),
        };
        let bound = metrics.bind();
        tasks.spawn(metrics.run(bound));
    }
}

/// Reloads that may wait for one that runs.
const REQUESTS: usize = 8;
/// How long a folder must have been quiet.
const SETTLE_FOLDER: Duration = Duration::from_secs(2);
/// Connections to the control socket, and to the metrics listener.
const HTTP_CONNECTIONS: usize = 64;
