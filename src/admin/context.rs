//! What the routes read, and the channel to who can change things.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot, watch};

use super::dns::DnsAccess;
use super::report::{ConnectionsReport, ReloadReport};
use crate::state::requests::ChangeRequest;
use crate::state::{Live, Problems, Removal, SnapshotCell};
use crate::telemetry::ordinary::Ordinary;

/// Where the daemon is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not everything is bound yet.
    Starting,
    /// READY.
    Ready,
    /// No new connections; open ones have their grace.
    Stopping,
}

impl Phase {
    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// Somebody asks for a reload and waits for its result.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Whether risky removals were allowed by hand.
    pub removal: Removal,
    /// Where the result goes.
    pub reply: oneshot::Sender<ReloadReport>,
}

/// Facts of the running process that no snapshot holds.
#[derive(Debug)]
pub struct Facts {
    /// When it started.
    pub started: Instant,
    /// The configuration's file or folder.
    pub config: PathBuf,
    /// Whether the last good configuration stands in for a broken one.
    pub degraded: AtomicBool,
    /// The last reload.
    pub last_reload: ArcSwapOption<ReloadReport>,
    /// Where DNS answers.
    pub dns: arc_swap::ArcSwap<Vec<SocketAddr>>,
    /// Where metrics are served.
    pub metrics: ArcSwapOption<SocketAddr>,
}

impl Facts {
    /// Facts of a process that starts now with this configuration.
    pub fn new(config: PathBuf) -> Self {
        Self {
            started: Instant::now(),
            config,
            degraded: AtomicBool::new(false),
            last_reload: ArcSwapOption::empty(),
            dns: arc_swap::ArcSwap::default(),
            metrics: ArcSwapOption::empty(),
        }
    }

    /// Whether the last good configuration stands in for a broken one.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }
}

/// What every route may use.
#[derive(Clone)]
pub struct Context {
    /// What is.
    pub snapshot: SnapshotCell,
    /// Live facts.
    pub live: Arc<Live>,
    /// What is wrong.
    pub problems: Problems,
    /// The exporter.
    pub ordinary: Ordinary,
    /// Facts of the process.
    pub facts: Arc<Facts>,
    /// Where the daemon is in its life.
    pub phase: watch::Receiver<Phase>,
    /// Open connections and their limit.
    pub connections: Arc<dyn Fn() -> ConnectionsReport + Send + Sync>,
    /// Who reloads.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Who changes things at run time.
    pub changes: mpsc::Sender<ChangeRequest>,
    /// Who drives releases.
    pub releases: mpsc::Sender<crate::release::engine::Request>,
    /// Who answers names.
    pub dns: DnsAccess,
    /// Where the journal is.
    pub state: PathBuf,
}
