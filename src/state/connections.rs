//! Open connections, by endpoint: counted, aged, and cut when a drain ends or the daemon stops.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
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
    /// The client is an endpoint of a member of an open release, and this is the color of its side.
    Lane,
}

impl Why {
    /// Whether a color must have weight for it: nobody said that this very color should take the connection.
    pub fn is_by_weight(self) -> bool {
        match self {
            Self::Weight | Self::Affinity | Self::Spill => true,
            Self::Fallback | Self::Preview | Self::Lane => false,
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
            Self::Lane => "lane",
        }
    }
}

/// Why teal ends a connection that both sides would have kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// Its endpoint, color or service was removed or taken out of use, and `drain_timeout` is over.
    DrainDeadline,
    /// The daemon stops and its grace is over.
    Shutdown,
}

/// What a connection is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// To end by FIN as soon as it is idle.
    EndIdle,
    /// To end now, by RST.
    Cut(CutReason),
}

const NOTHING: u8 = 0;
const END_IDLE: u8 = 1;
const CUT_DRAIN: u8 = 2;
const CUT_SHUTDOWN: u8 = 3;

/// A served connection, as the rest of the daemon sees it.
#[derive(Debug)]
pub struct Connection {
    /// When it was accepted.
    pub opened: Instant,
    /// Why it is on its color.
    pub why: Why,
    asked: AtomicU8,
    waker: AtomicWaker,
}

impl Connection {
    /// A connection accepted at `opened`.
    pub fn new(opened: Instant, why: Why) -> Self {
        Self { opened, why, asked: AtomicU8::new(NOTHING), waker: AtomicWaker::new() }
    }

    /// Asks the task that relays the connection to end it with RST. The first reason counts.
    pub fn cut(&self, reason: CutReason) {
        let wanted = match reason {
            CutReason::DrainDeadline => CUT_DRAIN,
            CutReason::Shutdown => CUT_SHUTDOWN,
        };
        let not_cut = |asked: u8| (asked < CUT_DRAIN).then_some(wanted);
        if self.asked.fetch_update(Ordering::AcqRel, Ordering::Acquire, not_cut).is_ok() {
            self.waker.wake();
        }
    }

    /// Asks that task to end it with FIN as soon as it is idle. Says whether nothing was asked before.
    fn ask_to_end_idle(&self) -> bool {
        let asked = self.replace_asked(NOTHING, END_IDLE);
        if asked {
            self.waker.wake();
        }
        asked
    }

    /// Takes that back, where the task has not begun with it.
    fn spare(&self) {
        self.replace_asked(END_IDLE, NOTHING);
    }

    fn replace_asked(&self, from: u8, to: u8) -> bool {
        self.asked.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// What is asked now. The task of `context` is woken when something else is asked, until it is cut. One
    /// task may wait at a time.
    pub fn poll_asked(&self, context: &mut Context<'_>) -> Asked {
        let asked = self.asked();
        if matches!(asked, Asked::Cut(_)) {
            return asked;
        }
        self.waker.register(context.waker());
        // Asked for between the look and the registration.
        self.asked()
    }

    /// What is asked now.
    pub fn asked(&self) -> Asked {
        match self.asked.load(Ordering::Acquire) {
            NOTHING => Asked::Nothing,
            END_IDLE => Asked::EndIdle,
            CUT_DRAIN => Asked::Cut(CutReason::DrainDeadline),
            _ => Asked::Cut(CutReason::Shutdown),
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
        let chosen = self.choose(at_most, |connection| !matches!(connection.asked(), Asked::Cut(_)));
        for connection in &chosen {
            connection.cut(reason);
        }
        chosen.len()
    }

    /// Asks some of those of whom nothing is asked to end once they are idle: one of each `rounds`, rounded
    /// up. Returns how many.
    pub fn ask_to_end_idle(&self, rounds: usize) -> usize {
        let is_unasked = |connection: &Connection| connection.asked() == Asked::Nothing;
        let (unasked, _) = self.summary(is_unasked);
        let chosen = self.choose(unasked.div_ceil(rounds.max(1)), is_unasked);
        chosen.iter().filter(|connection| connection.ask_to_end_idle()).count()
    }

    /// Takes back what was asked of those that are not cut.
    pub fn spare(&self) {
        self.table().iter().for_each(|(_, connection)| connection.spare());
    }

    /// Up to `at_most` of those that `wanted` accepts, so that nobody is woken under the lock.
    fn choose(&self, at_most: usize, wanted: impl Fn(&Connection) -> bool) -> Vec<Arc<Connection>> {
        let table = self.table();
        let open = table.iter().map(|(_, connection)| connection);
        open.filter(|connection| wanted(connection)).take(at_most).cloned().collect()
    }
}
