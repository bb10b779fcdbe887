//! `teal run`

use tokio::signal::unix::{SignalKind, signal};

use super::args::RunArguments;
use super::client::default_socket;
use super::exit::Exit;
use crate::daemon::start::SocketChoice;
use crate::daemon::{Daemon, Options, StartError, places, systemd};
use crate::telemetry::logs::{self, LogFormat};

/// Runs the daemon until SIGTERM or SIGINT; a second one stops it at once.
pub fn run(arguments: RunArguments) -> Exit {
    let format = arguments.log_format.map_or_else(LogFormat::detect, LogFormat::from);
    if let Err(error) = logs::install(format) {
        eprintln!("teal: cannot log: {error}; choose another --log-format");
        return Exit::Failed;
    }
    let Some(state_dir) = places::state_directory(arguments.state_dir) else {
        eprintln!("teal: no state directory: name one with --state-dir, or set STATE_DIRECTORY or HOME");
        return Exit::Usage;
    };
    let socket = match arguments.socket {
        Some(path) => SocketChoice::At(path),
        None => SocketChoice::Default(default_socket()),
    };
    let options = Options { config: arguments.config, state_dir, socket };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(StartError::Threads).and_then(|runtime| runtime.block_on(serve(options)));
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("teal: cannot start: {error}");
            Exit::Failed
        }
    }
}

/// Whether READY was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Waiting,
    Told,
}

fn tell_ready(daemon: &Daemon) {
    systemd::ready("ready");
    tracing::info!(
        config = %daemon.facts().config.display(),
        dns = ?daemon.facts().dns.load(),
        metrics = ?daemon.facts().metrics.load(),
        "ready"
    );
}

async fn serve(options: Options) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let daemon = Daemon::start(options).await?;
    let mut readiness = Readiness::Waiting;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => daemon.reload(),
            () = daemon.become_ready(), if readiness == Readiness::Waiting => {
                readiness = Readiness::Told;
                tell_ready(&daemon);
            }
        }
    }
    let again = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    daemon.stop(again).await;
    Ok(())
}
