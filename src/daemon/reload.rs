//! Changing what is: one task that applies configurations and what people set at run time, one at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::last_good::LastGood;
use super::{boot, limits, systemd};
use crate::admin::report::{ReloadReport, ReloadResult};
use crate::admin::{Facts, Phase, ReloadRequest};
use crate::config::{self, Loaded, ReportStyle, Sources};
use crate::model::Catalog;
use crate::provider::watch::{PATIENCE, WatchHandle};
use crate::proxy::Shared;
use crate::state::requests::ChangeRequest;
use crate::state::{Change, Now, Problems, Removal, Writer};
use crate::telemetry::names::{
    CONFIG_DEGRADED, CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, CONFIG_LAST_RELOAD_SUCCESSFUL, CONFIG_RELOADS,
};

/// How often drains and series of services that are gone are looked after.
const TICK: Duration = Duration::from_secs(1);

/// Who reloads.
pub struct Reloader {
    /// What applies a valid configuration.
    pub writer: Writer,
    /// Reads the files.
    pub watch: WatchHandle,
    /// Where the last good configuration is kept.
    pub last_good: LastGood,
    /// Where it says what is wrong.
    pub problems: Problems,
    /// What status shows.
    pub facts: Arc<Facts>,
    /// Is told how many connections may be open.
    pub shared: Arc<Shared>,
    /// Where the daemon is in its life: nothing is changed while it stops.
    pub phase: watch::Receiver<Phase>,
}

/// The moment, on both clocks.
pub fn now() -> Now {
    let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { instant: Instant::now(), unix_seconds }
}

impl Reloader {
    /// Reloads and changes when somebody asks, until `stop` is cancelled.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<ReloadRequest>,
        mut changes: mpsc::Receiver<ChangeRequest>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.tick().await,
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    let report = if self.is_stopping() {
                        report(ReloadResult::Refused, Some("teal is stopping".to_owned()))
                    } else {
                        self.reload(request.removal).await
                    };
                    // Nobody waits for the result of a change of the file.
                    let _ = request.reply.send(report);
                }
                request = changes.recv() => {
                    let Some(request) = request else { return };
                    self.change(request).await;
                }
            }
        }
    }

    /// What is asked for while the daemon stops is dropped, which tells whoever waits. A client that went
    /// away while it waited gets what it asked for all the same.
    async fn change(&mut self, request: ChangeRequest) {
        if self.is_stopping() {
            return;
        }
        match request {
            ChangeRequest::Order(order, reply) => {
                let outcome = self.writer.change(&order, now()).await;
                let _ = reply.send(outcome);
            }
            ChangeRequest::Freeze(freeze, reply) => {
                let _ = reply.send(self.writer.freeze(&freeze, now()).await);
            }
            ChangeRequest::Accept(cause, reply) => {
                let _ = reply.send(self.writer.accept_journal(cause, now()).await);
            }
            ChangeRequest::Read(reply) => {
                let read = self.watch.read(PATIENCE).await.map_err(|error| error.to_string());
                let _ = reply.send(read);
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.phase.borrow() == Phase::Stopping
    }

    fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    async fn tick(&mut self) {
        self.writer.tick(now()).await;
        if !self.is_stopping() {
            self.writer.complete().await;
        }
    }

    async fn reload(&mut self, removal: Removal) -> ReloadReport {
        // Before READY there is nothing to tell: it would say that all is ready.
        if self.is_ready() {
            systemd::reloading();
        }
        let report = match self.watch.read(PATIENCE).await {
            Ok(sources) => self.apply(sources, removal).await,
            Err(error) => report(ReloadResult::Rejected, Some(error.to_string())),
        };
        self.note(&report);
        if self.is_ready() {
            systemd::ready(&status_line(&self.facts, &report));
        }
        report
    }

    async fn apply(&mut self, sources: Sources, removal: Removal) -> ReloadReport {
        let Loaded { catalog, warnings } = match config::load(&sources) {
            Ok(loaded) => loaded,
            Err(rejected) => {
                let text = config::render(&rejected.diagnostics, &sources, ReportStyle::Plain);
                return report(ReloadResult::Rejected, Some(text));
            }
        };
        let hash = catalog.hash.clone();
        let warnings = warnings.iter().map(|warning| warning.one_line(&sources)).collect();
        let unchanged = self.writer.cell().load().catalog.hash == hash;
        let mut report = if unchanged {
            report(ReloadResult::Unchanged, None)
        } else {
            match self.carry_out(catalog, removal).await {
                Ok(changes) => {
                    let changes = changes.iter().map(ToString::to_string).collect();
                    ReloadReport { changes, ..report(ReloadResult::Applied, None) }
                }
                Err(refusal) => report(ReloadResult::Refused, Some(refusal)),
            }
        };
        report.hash = Some(hash);
        report.warnings = warnings;
        if matches!(report.result, ReloadResult::Applied | ReloadResult::Unchanged) {
            self.keep(sources);
        }
        report
    }

    /// Makes the catalog what is, or says why not.
    async fn carry_out(&mut self, catalog: Catalog, removal: Removal) -> Result<Vec<Change>, String> {
        let max = limits::connections_of(&catalog).map_err(|error| error.to_string())?;
        let changes = self.writer.apply(catalog, removal, now()).await.map_err(|error| error.to_string())?;
        self.shared.set_connections_max(max);
        Ok(changes)
    }

    /// The configuration on disk is what runs: keep it for a start at which it is broken.
    fn keep(&self, sources: Sources) {
        self.facts.degraded.store(false, Ordering::Relaxed);
        metrics::gauge!(CONFIG_DEGRADED.name).set(0.0);
        self.problems.clear(boot::SUBJECT);
        self.last_good.keep(sources);
    }

    fn note(&self, report: &ReloadReport) {
        metrics::counter!(CONFIG_RELOADS.name, "result" => report.result.label()).increment(1);
        let message = report.message.as_deref().unwrap_or_default();
        match report.result {
            ReloadResult::Applied => tracing::info!(changes = ?report.changes, "configuration applied"),
            ReloadResult::Unchanged => tracing::info!("configuration unchanged"),
            ReloadResult::Rejected => {
                tracing::error!("configuration rejected, the old one goes on:\n{message}");
            }
            ReloadResult::Refused => tracing::error!("configuration refused, the old one goes on: {message}"),
        }
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        let successful = matches!(report.result, ReloadResult::Applied | ReloadResult::Unchanged);
        metrics::gauge!(CONFIG_LAST_RELOAD_SUCCESSFUL.name).set(f64::from(u8::from(successful)));
        if successful {
            metrics::gauge!(CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP.name).set(report.at as f64);
        }
        self.facts.last_reload.store(Some(Arc::new(report.clone())));
    }
}

fn report(result: ReloadResult, message: Option<String>) -> ReloadReport {
    let (changes, warnings) = (Vec::new(), Vec::new());
    ReloadReport { result, at: now().unix_seconds, hash: None, changes, warnings, message }
}

fn status_line(facts: &Facts, report: &ReloadReport) -> String {
    let degraded = if facts.is_degraded() { "; runs the last good configuration" } else { "" };
    format!("last reload: {}{degraded}", report.result.label())
}
