//! Stopping: no new connections, a grace for open ones, then the end of the rest.

use std::future::Future;
use std::time::Duration;

use super::log::LogThread;
use super::start::Daemon;
use super::systemd;
use crate::admin::Phase;
use crate::state::CutReason;

/// How connections ended when the daemon stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were cut because the grace was over.
    pub cut: usize,
}

/// What stopping takes beyond the grace, at most.
const MARGIN: Duration = Duration::from_secs(10);
/// How long cut connections may take to be gone.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);

impl Daemon {
    /// Stops. Open connections get `[shutdown] grace`, or until `now` is ready; names are answered until
    /// the end.
    pub async fn stop(self, now: impl Future<Output = ()>) -> Stopped {
        let grace = self.snapshot.load().catalog.settings.shutdown_grace;
        self.phase.send_replace(Phase::Stopping);
        systemd::stopping("waiting for open connections to end", grace + MARGIN);
        self.plane.stop_accepting().await;
        let open = self.plane.open_count();
        tracing::info!(connections = open, ?grace, "stopping: no new connections, open ones may end");
        tokio::select! {
            () = self.plane.shared().wait_none_open() => {}
            () = tokio::time::sleep(grace) => {}
            () = now => tracing::info!("stopping at once"),
        }
        let cut = self.plane.open_count();
        if cut > 0 {
            self.plane.cut_all(CutReason::Shutdown);
            tracing::warn!(connections = cut, "cut connections that were still open");
            // What still waits for a backend is dropped with its worker.
            let _ = tokio::time::timeout(CUT_TIMEOUT, self.plane.shared().wait_none_open()).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let (resolver, checks, workers) = (self.resolver, self.checks, self.workers);
        let log_threads = self.log_threads;
        let joined = tokio::task::spawn_blocking(move || {
            checks.stop();
            resolver.stop();
            workers.shutdown();
            // Last: connections that end with their worker have their line.
            log_threads.into_iter().for_each(LogThread::stop);
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "a thread panicked while it stopped");
        }
        tracing::info!(cut, "stopped");
        Stopped { cut }
    }
}
