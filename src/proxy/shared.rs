//! What all workers share: where the snapshot is, who may come, and how many connections are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::log::ConnectionLog;
use crate::model::HostNetworks;
use crate::net::pipe::PipePool;
use crate::state::{Entrance, Live, SnapshotCell};

/// Pipes for bulk data: an unprivileged user is granted 64 MiB in all, and beyond so many flows at once
/// copying is as good.
const PIPES_MAX: usize = 64;
/// Where few descriptors allow few connections, they leave room for fewer pipes.
const CONNECTIONS_PER_PIPE: usize = 32;

/// Shared by all listeners and connections.
pub struct Shared {
    /// The current snapshot.
    pub snapshot: SnapshotCell,
    /// The host's networks, for `allow_from`.
    pub networks: Arc<ArcSwap<HostNetworks>>,
    /// Pipes for bulk data.
    pub pipes: PipePool,
    /// The live facts, for connections of services that are gone and for cutting.
    pub live: Arc<Live>,
    started: Instant,
    /// Where lines about connections go.
    pub connection_log: ConnectionLog,
    connections: AtomicUsize,
    connections_max: AtomicUsize,
    none_open: Notify,
}

impl Shared {
    /// With no connection open and room for `connections_max`.
    pub fn new(
        snapshot: SnapshotCell,
        networks: Arc<ArcSwap<HostNetworks>>,
        live: Arc<Live>,
        connections_max: usize,
    ) -> Self {
        Self {
            snapshot,
            networks,
            live,
            pipes: PipePool::new(PIPES_MAX.min(connections_max / CONNECTIONS_PER_PIPE)),
            started: Instant::now(),
            connection_log: ConnectionLog::default(),
            connections: AtomicUsize::new(0),
            connections_max: AtomicUsize::new(connections_max),
            none_open: Notify::new(),
        }
    }

    /// Whole seconds since the start, for the retry budgets.
    pub fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.started).as_secs()).unwrap_or(u32::MAX)
    }

    /// The same, with lines about connections going there instead of being written at once.
    #[must_use]
    pub fn logging_to(self, connection_log: ConnectionLog) -> Self {
        Self { connection_log, ..self }
    }

    /// Changes how many connections may be open. Those open already stay.
    pub fn set_connections_max(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    /// How many connections may be open.
    pub fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Connections open right now, those still connecting included.
    pub fn open_count(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Returns once no connection is open.
    pub async fn wait_none_open(&self) {
        loop {
            let none_open = self.none_open.notified();
            if self.open_count() == 0 {
                return;
            }
            none_open.await;
        }
    }

    /// Room for one more connection; `None` at the limit.
    pub fn admit(self: &Arc<Self>) -> Option<Permit> {
        let max = self.connections_max.load(Ordering::Relaxed);
        let one_more = |open: usize| (open < max).then_some(open + 1);
        self.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Permit { entrance: None, process: ProcessPlace(Arc::clone(self)) })
    }
}

/// One connection's place under the limits, given back when dropped.
pub struct Permit {
    /// Its place in its service.
    pub entrance: Option<Entrance>,
    process: ProcessPlace,
}

struct ProcessPlace(Arc<Shared>);

impl Permit {
    /// What all connections share.
    pub fn shared(&self) -> &Shared {
        &self.process.0
    }
}

impl Drop for ProcessPlace {
    fn drop(&mut self) {
        if self.0.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_open.notify_waiters();
        }
    }
}
