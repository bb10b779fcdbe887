//! `teal demo`: the whole daemon in this process, two services, and three releases that one can watch.
//!
//! Everything goes the way that real clients go: names are asked at teal's DNS, connections are made to
//! virtual IPs, weights are changed in a file that is watched, and by a release. Nothing of the daemon knows that it is a
//! demo; the story only reads its counters. What it needs lies in a temporary folder that is removed at
//! the end.

mod backends;
mod cast;
mod client;
mod file;
mod frame;
mod measure;
mod paint;
mod ports;
mod report;
mod screen;
mod stage;
mod step;
mod story;
mod together;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::backends::Backends;
use self::cast::{Member, Side};
use self::client::{CallError, Mark, Way};
use self::file::{File, FileError};
use self::measure::Meter;
use self::paint::{Line, Style};
use self::ports::Ports;
use self::stage::{Stage, keys};
use self::story::{Pace, StoryError, World};
use self::together::Control;
use super::args::DemoArguments;
use super::exit::Exit;
use crate::daemon::start::SocketChoice;
use crate::daemon::{Daemon, Options, StartError};
use crate::telemetry::logs::{self, LogFormat};

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("cannot start the demo: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    File(#[from] FileError),
    #[error("cannot start the daemon: {0}")]
    Start(#[from] StartError),
    #[error("the daemon has no address for {0}; the log above says why")]
    NoAddress(&'static str),
    #[error("the demo's services cannot be reached: {0}")]
    Unreachable(#[from] CallError),
    #[error("{0}")]
    Story(#[from] StoryError),
}

/// Runs the demo. Done only if every step was exact and no connection failed.
pub fn demo(arguments: &DemoArguments) -> Exit {
    if let Err(error) = logs::install_from(LogFormat::Text, "warn") {
        eprintln!("teal: cannot log: {error}");
        return Exit::Failed;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(DemoError::Io).and_then(|runtime| runtime.block_on(perform(arguments)));
    outcome.unwrap_or_else(|error| {
        eprintln!("teal: {error}");
        Exit::Failed
    })
}

/// Ctrl-C, `kill`, and the end of the terminal.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Sets up, plays, and cleans up whatever happened.
async fn perform(arguments: &DemoArguments) -> Result<Exit, DemoError> {
    let mut interrupts = Interrupts::new()?;
    let folder = tempfile::Builder::new().prefix("teal-demo-").tempdir()?;
    let ports = Ports::choose()?;
    let backends = Arc::new(Backends::start()?);
    let file = File::create(folder.path(), &ports, &backends)?;
    let options = Options {
        config: file.path().to_owned(),
        state_dir: folder.path().join("state"),
        socket: SocketChoice::At(folder.path().join("admin.sock")),
    };
    let daemon = Daemon::start(options).await?;
    daemon.become_ready().await;
    let setting = Setting { daemon: &daemon, folder: &folder, ports: &ports, backends, file };
    let played = setting.play(arguments, &mut interrupts).await;
    if matches!(played, Ok(Exit::Interrupted)) {
        daemon.stop(std::future::ready(())).await;
    } else {
        // Whoever tried a command gets its answer.
        daemon.stop(interrupts.next()).await;
    }
    folder.close()?;
    played
}

/// What has been set up.
struct Setting<'a> {
    daemon: &'a Daemon,
    folder: &'a TempDir,
    ports: &'a Ports,
    backends: Arc<Backends>,
    file: File,
}

impl Setting<'_> {
    async fn play(self, arguments: &DemoArguments, interrupts: &mut Interrupts) -> Result<Exit, DemoError> {
        let dns = self.daemon.facts().dns.load().first().copied().ok_or(DemoError::NoAddress("DNS"))?;
        let way = Way { dns, port: self.ports.listen, from: None };
        self.backends.set_way(way);
        // Every listener and every backend is there once this is answered.
        let ready = async {
            way.get(&Member::B.preview(Side::Blue), Mark::Uncounted).await?;
            self.head(way).await
        };
        let head = tokio::select! {
            () = interrupts.next() => return Ok(Exit::Interrupted),
            head = ready => head?,
        };
        let meter = Meter { snapshot: Arc::clone(self.daemon.snapshot()), port: self.ports.listen };
        let pace = if arguments.fast { Pace::FAST } else { Pace::CALM };
        let keys = arguments.interactive.then(keys);
        let stage = Stage::open(head, meter.clone(), Arc::clone(&self.backends))?;
        let control = Control(self.folder.path().join("admin.sock"));
        let world = World { way, meter, backends: self.backends, file: self.file, control, pace, keys };
        let told = tokio::select! {
            () = interrupts.next() => None,
            // Nobody listens: there is nobody to tell that it was exact.
            () = stage.keep_drawn() => return Ok(Exit::Failed),
            findings = world.play(&stage) => Some(findings),
        };
        let Some(told) = told else {
            stage.close(&[Line::plain("interrupted")]);
            return Ok(Exit::Interrupted);
        };
        let findings = match told {
            Ok(findings) => findings,
            Err(error) => {
                stage.close(&[]);
                return Err(error.into());
            }
        };
        stage.close(&findings.report());
        Ok(if findings.is_exact() { Exit::Done } else { Exit::Failed })
    }

    /// What it is, and the commands to try.
    async fn head(&self, way: Way) -> Result<Vec<Line>, CallError> {
        let (a, b) = (Member::A.host(), Member::B.host());
        let (dns, port, vip) = (way.dns, way.port, way.resolve(&b).await?);
        let metrics = self.daemon.facts().metrics.load_full();
        let teal = std::env::args_os().next().unwrap_or_else(|| "teal".into());
        let socket = self.folder.path().join("admin.sock");
        let mut commands = vec![
            format!("dig @{} -p {} {a}", dns.ip(), dns.port()),
            format!("curl --resolve {b}:{port}:{vip} http://{b}:{port}/"),
        ];
        commands.extend(metrics.as_ref().map(|metrics| format!("curl http://{metrics}/metrics")));
        commands.push(format!("{} status --socket {}", Path::new(&teal).display(), socket.display()));
        let mut lines = vec![
            Line::new(Style::Bold, "teal demo: three blue-green releases, split connection by connection"),
            Line::plain(format!("Weights are in {}", self.file.path().display())),
        ];
        lines.extend(self.notes(dns, metrics.as_deref().copied()));
        lines.push(Line::plain("While it runs, try in another terminal:"));
        lines.extend(commands.into_iter().map(|command| Line::plain(format!("  {command}"))));
        Ok(lines)
    }

    fn notes(&self, dns: SocketAddr, metrics: Option<SocketAddr>) -> Option<Line> {
        if self.ports.taken.is_empty() {
            return None;
        }
        let taken: Vec<String> = self.ports.taken.iter().map(ToString::to_string).collect();
        let metrics = metrics.map_or_else(|| "none".to_owned(), |metrics| metrics.port().to_string());
        let (dns, services) = (dns.port(), self.ports.listen);
        Some(Line::new(
            Style::Dim,
            format!(
                "Taken: {}; so DNS uses port {dns}, services {services}, metrics {metrics}",
                taken.join(", ")
            ),
        ))
    }
}
