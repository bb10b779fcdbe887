//! Open connections, by endpoint: counted, aged, and cut when a drain ends or the daemon stops.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use slab::Slab;

use super::signals::{OVERDUE, STALLED};
use crate::telemetry::Stripes;
use crate::telemetry::stripes::{PARTS_MAX, own_part};

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

    /// Whether it says something about the color in comparison with another: nobody asked for this very color. Who
    /// comes in a lane was sent to its side by the split at the entry, or by a lane before it.
    pub fn is_sample(self) -> bool {
        self.is_by_weight() || self == Self::Lane
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
    /// Microseconds after `opened` when its backend was found.
    found_us: u64,
    /// Microseconds after `opened` since which the backend's first byte is awaited, with [`SPOKE`] once the client
    /// has said something before it; [`HEARD`] once it came.
    waits_since: AtomicU64,
    /// Milliseconds after `opened` since which the backend takes nothing; 0 while it does, [`HAS_STALLED`] once that
    /// lasted too long.
    blocked_since: AtomicU32,
    waker: AtomicWaker,
}

/// The client waits for an answer, not for a greeting.
const SPOKE: u64 = 1 << 63;
/// The backend has said something.
const HEARD: u64 = u64::MAX;
const HAS_STALLED: u32 = u32::MAX;

impl Connection {
    /// A connection accepted at `opened`, for which a backend was found now.
    pub fn new(opened: Instant, why: Why) -> Self {
        let found_us = microseconds(opened.elapsed());
        Self {
            opened,
            why,
            asked: AtomicU8::new(NOTHING),
            found_us,
            waits_since: AtomicU64::new(found_us),
            blocked_since: AtomicU32::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// Notes the client's first byte, where the backend has said none: from now on the client waits. What notes
    /// something is for the connection's task alone.
    pub fn note_client_spoke(&self) {
        self.waits_since.store(microseconds(self.opened.elapsed()) | SPOKE, Ordering::Relaxed);
    }

    /// Notes the backend's first byte; says how long it was awaited: since the client's first byte, or since
    /// the backend was found where it spoke first.
    pub fn note_heard(&self) -> Duration {
        let waited = self.waited(self.opened.elapsed());
        self.waits_since.store(HEARD, Ordering::Relaxed);
        waited
    }

    /// How long ago the backend was found.
    pub fn time_at_backend(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_micros(self.found_us))
    }

    /// How long the backend's first byte had been awaited at an age of the connection.
    pub fn waited(&self, age: Duration) -> Duration {
        let since = self.waits_since.load(Ordering::Relaxed);
        age.saturating_sub(Duration::from_micros(since & !SPOKE))
    }

    /// Notes that the backend does not take what the client says.
    pub fn note_blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(milliseconds(self.opened.elapsed()), Ordering::Relaxed);
        }
    }

    /// Notes that it does, or that it is over. Says once whether that was for too long. Looks at the clock only
    /// where it was blocked.
    pub fn note_unblocked(&self) -> bool {
        let since = self.blocked_since.load(Ordering::Relaxed);
        if since == 0 || since == HAS_STALLED {
            return false;
        }
        let has_stalled = self.is_stalled(Instant::now());
        self.blocked_since.store(if has_stalled { HAS_STALLED } else { 0 }, Ordering::Relaxed);
        has_stalled
    }

    /// Whether at `now` the client has waited too long for the first byte of an answer.
    pub fn is_overdue(&self, now: Instant) -> bool {
        let since = self.waits_since.load(Ordering::Relaxed);
        let is_waiting = since != HEARD && since & SPOKE != 0;
        is_waiting && self.waited(now.saturating_duration_since(self.opened)) > OVERDUE
    }

    /// Whether at `now` the backend has taken nothing for too long.
    pub fn is_stalled(&self, now: Instant) -> bool {
        let since = self.blocked_since.load(Ordering::Relaxed);
        let age = now.saturating_duration_since(self.opened);
        let is_blocked = since > 0 && since != HAS_STALLED;
        is_blocked && age.saturating_sub(Duration::from_millis(since.into())) >= STALLED
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

fn microseconds(age: Duration) -> u64 {
    // 292,000 years.
    u64::try_from(age.as_micros()).unwrap_or(u64::MAX) & !SPOKE
}

/// At least 1, and 49 days at most.
fn milliseconds(age: Duration) -> u32 {
    u32::try_from(age.as_millis()).unwrap_or(u32::MAX).clamp(1, HAS_STALLED - 1)
}

/// The open connections of one endpoint: a table for each worker, so that none waits for another's connections.
#[derive(Debug, Default)]
pub struct OpenConnections {
    tables: Stripes<Mutex<Table>>,
}

type Table = Slab<Arc<Connection>>;

/// Where the part begins in the key of a connection; its place in the table is below.
const PART_SHIFT: u32 = 24;
const _: () = assert!(PARTS_MAX <= 1 << (u32::BITS - PART_SHIFT));

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Nothing under the lock can panic half-way.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OpenConnections {
    fn tables(&self) -> impl Iterator<Item = MutexGuard<'_, Table>> {
        self.tables.iter().map(lock)
    }

    /// Notes a connection; give what comes back to [`Self::remove`].
    pub fn insert(&self, connection: Arc<Connection>) -> u32 {
        let part = own_part();
        let place = lock(self.tables.part(part)).insert(connection);
        let key = u32::try_from(place | part << PART_SHIFT).ok().filter(|_| place >> PART_SHIFT == 0);
        key.expect("a worker has fewer descriptors than this")
    }

    /// Forgets a connection that ended.
    pub fn remove(&self, key: u32) {
        let place = key & ((1 << PART_SHIFT) - 1);
        let mut table = lock(self.tables.part((key >> PART_SHIFT) as usize));
        table.remove(place as usize);
        if table.is_empty() {
            table.shrink_to_fit();
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.tables().map(|table| table.len()).sum()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number and earliest start of those that `wanted` accepts.
    pub fn summary(&self, wanted: impl Fn(&Connection) -> bool) -> (usize, Option<Instant>) {
        let (mut count, mut oldest) = (0, None::<Instant>);
        for table in self.tables() {
            for (_, connection) in table.iter().filter(|(_, connection)| wanted(connection)) {
                count += 1;
                oldest = Some(oldest.map_or(connection.opened, |oldest| oldest.min(connection.opened)));
            }
        }
        (count, oldest)
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
        for table in self.tables() {
            table.iter().for_each(|(_, connection)| connection.spare());
        }
    }

    /// Up to `at_most` of those that `wanted` accepts, so that nobody is woken under the lock.
    fn choose(&self, at_most: usize, wanted: impl Fn(&Connection) -> bool) -> Vec<Arc<Connection>> {
        let mut chosen = Vec::new();
        for table in self.tables() {
            let open = table.iter().map(|(_, connection)| connection);
            let left = at_most - chosen.len();
            chosen.extend(open.filter(|connection| wanted(connection)).take(left).cloned());
        }
        chosen
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
