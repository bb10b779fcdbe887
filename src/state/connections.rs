//! Open connections, by endpoint: counted, aged, and cut when a drain ends or the daemon stops.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use slab::Slab;

/// Why a connection is on the color that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The split chose the color.
    Weight,
    /// It is the client's color, by `affinity`.
    Affinity,
    /// The color that the split chose could not serve it.
    Spill,
    /// All colors with weight were down and a `fallback` names this one.
    Fallback,
    /// The client asked for this color by its preview name.
    Preview,
}

impl Why {
    /// Whether a color must have weight for it: nobody said that this very color should take the connection.
    pub fn is_by_weight(self) -> bool {
        match self {
            Self::Weight | Self::Affinity | Self::Spill => true,
            Self::Fallback | Self::Preview => false,
        }
    }

    /// Its value in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Affinity => "affinity",
            Self::Spill => "spill",
            Self::Fallback => "fallback",
            Self::Preview => "preview",
        }
    }
}

/// Why teal ends a connection that both sides would have kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CutReason {
    /// Its endpoint, color or service was removed and `drain_timeout` is over.
    DrainDeadline = 1,
    /// The daemon stops and its grace is over.
    Shutdown = 2,
}

/// A served connection, as the rest of the daemon sees it.
#[derive(Debug)]
pub struct Connection {
    /// When it was accepted.
    pub opened: Instant,
    /// Why it is on its color.
    pub why: Why,
    cut: AtomicU8,
    waker: AtomicWaker,
}

impl Connection {
    /// A connection accepted at `opened`.
    pub fn new(opened: Instant, why: Why) -> Self {
        Self { opened, why, cut: AtomicU8::new(0), waker: AtomicWaker::new() }
    }

    /// Asks the task that relays the connection to end it with RST. The first reason counts.
    pub fn cut(&self, reason: CutReason) {
        let first = self.cut.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.waker.wake();
        }
    }

    /// Ready once somebody asked for the connection's end. One task may wait at a time.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<CutReason> {
        if let Some(reason) = self.cut_reason() {
            return Poll::Ready(reason);
        }
        self.waker.register(context.waker());
        // Asked for between the look and the registration.
        self.cut_reason().map_or(Poll::Pending, Poll::Ready)
    }

    fn cut_reason(&self) -> Option<CutReason> {
        match self.cut.load(Ordering::Acquire) {
            0 => None,
            1 => Some(CutReason::DrainDeadline),
            _ => Some(CutReason::Shutdown),
        }
    }
}

/// The open connections of one endpoint.
#[derive(Debug, Default)]
pub struct OpenConnections {
    table: Mutex<Slab<Arc<Connection>>>,
}

impl OpenConnections {
    fn table(&self) -> std::sync::MutexGuard<'_, Slab<Arc<Connection>>> {
        // Nothing under the lock can panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection; give what comes back to [`Self::remove`].
    pub fn insert(&self, connection: Arc<Connection>) -> u32 {
        let key = self.table().insert(connection);
        u32::try_from(key).expect("a process has fewer descriptors than this")
    }

    /// Forgets a connection that ended.
    pub fn remove(&self, key: u32) {
        let mut table = self.table();
        table.remove(key as usize);
        if table.is_empty() {
            table.shrink_to_fit();
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number and earliest start of those that `wanted` accepts.
    pub fn summary(&self, wanted: impl Fn(&Connection) -> bool) -> (usize, Option<Instant>) {
        let table = self.table();
        let opened = table.iter().map(|(_, connection)| connection).filter(|c| wanted(c)).map(|c| c.opened);
        opened.fold((0, None), |(count, oldest), opened| {
            (count + 1, Some(oldest.map_or(opened, |oldest: Instant| oldest.min(opened))))
        })
    }

    /// Cuts up to `at_most` of those not yet cut; returns how many.
    pub fn cut(&self, reason: CutReason, at_most: usize) -> usize {
        let chosen: Vec<_> = {
            let table = self.table();
            let open = table.iter().map(|(_, connection)| connection);
            open.filter(|connection| connection.cut_reason().is_none()).take(at_most).cloned().collect()
        };
        for connection in &chosen {
            connection.cut(reason);
        }
        chosen.len()
    }
}
