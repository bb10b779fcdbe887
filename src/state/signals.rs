//! What connections say about a color, besides what its series count: faults, first tries, failures in a row.
//!
//! Counted for the metrics, whatever brought the connection, and for judging a release, for which not every connection
//! is a sample ([`Why::is_sample`]). As nearly all are, only the others are counted twice: what a sample says is all
//! without them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::color::ColorLive;
use super::connections::Why;
use super::reasons::{ClosedReason, ErrorReason};
use crate::telemetry::FixedHistogram;
use crate::telemetry::names::{FIRST_BYTE_PARTS, FIRST_BYTE_SECONDS};

/// A backend that ends a connection so soon, unasked, did not want it.
pub const EARLY: Duration = Duration::from_millis(100);
/// A client that waited for so long for the first byte got none in time: the last bound of `first_byte_seconds`.
pub const OVERDUE: Duration = Duration::from_secs(3);
/// A backend that takes nothing for so long is stalled.
pub const STALLED: Duration = Duration::from_secs(5);

/// What was wrong with a served connection, as far as its bytes and its end tell. But for [`Self::Stalled`], one at
/// most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendFault {
    /// The client said something, the backend said FIN and no byte.
    Empty,
    /// The backend reset it before its first byte.
    ResetBefore,
    /// The backend reset it after that, and before its FIN.
    ResetAfter,
    /// The backend said FIN within [`EARLY`] of accepting, while the client had said nothing.
    Early,
    /// The client had said something and the backend no byte, when somebody else ended it. Where that was teal
    /// itself, only if the client had waited for [`OVERDUE`].
    Unanswered,
    /// Neither had said anything for [`OVERDUE`] when the client ended it: a greeting that did not come, or a
    /// connection kept in reserve.
    Silent,
    /// The backend took nothing for [`STALLED`] although the client had said more.
    Stalled,
}

impl BackendFault {
    /// How many there are, by the last one.
    pub(super) const COUNT: usize = Self::Stalled as usize + 1;

    /// The value of the label `kind`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::Early => "early",
            Self::Unanswered => "unanswered",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
        }
    }

    /// Whether the client got nothing, so that it counts in a row of failures.
    fn is_failure(self) -> bool {
        matches!(self, Self::Empty | Self::ResetBefore | Self::Unanswered)
    }
}

/// Whether a try is its connection's first one in the color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InColor {
    /// It is: such tries are a sample of the color's endpoints.
    First,
    /// One failed there before.
    Further,
}

/// Counts that are no series.
#[derive(Debug, Default)]
pub struct Signals {
    /// Of samples: first tries that failed.
    failed_first: AtomicU64,
    /// Of samples: connections served by a further try.
    served_later: AtomicU64,
    /// Of samples.
    in_a_row: AtomicU32,
    aside: OnceLock<Box<Aside>>,
}

/// Connections that are no samples.
#[derive(Debug)]
struct Aside {
    served: AtomicU64,
    ended: AtomicU64,
    faults: [AtomicU64; BackendFault::COUNT],
    first_byte: FixedHistogram,
}

impl Signals {
    fn aside(&self, why: Why) -> Option<&Aside> {
        let make = || {
            let first_byte = FixedHistogram::divided(FIRST_BYTE_SECONDS, FIRST_BYTE_PARTS);
            Box::new(Aside {
                served: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                faults: Default::default(),
                first_byte,
            })
        };
        (!why.is_sample()).then(|| &**self.aside.get_or_init(make))
    }

    fn aside_count(&self, look: impl Fn(&Aside) -> &AtomicU64) -> u64 {
        self.aside.get().map_or(0, |aside| look(aside).load(Ordering::Relaxed))
    }

    fn failed(&self, why: Why) {
        if why.is_sample() {
            self.in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl ColorLive {
    /// Counts a try that failed by the color's own fault.
    pub fn note_failed_try(&self, (why, in_color): (Why, InColor), reason: ErrorReason) {
        self.connect_failures(reason).fetch_add(1, Ordering::Relaxed);
        // Further tries of a connection are no further evidence: what one met the next may meet for the same reason.
        if in_color == InColor::First {
            self.signals.failed(why);
            if why.is_sample() {
                add_one(&self.signals.failed_first);
            }
        }
    }

    /// Counts a connection that one of the endpoints accepted.
    pub fn note_served(&self, (why, in_color): (Why, InColor)) {
        match self.signals.aside(why) {
            Some(aside) => add_one(&aside.served),
            None if in_color == InColor::Further => add_one(&self.signals.served_later),
            None => {}
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the first byte of a connection, after so long a wait. Ends a row of failures, which writes only
    /// where there is one.
    pub fn note_first_byte(&self, why: Why, waited: Duration) {
        match self.signals.aside(why) {
            Some(aside) => aside.first_byte.observe(waited),
            None if self.signals.in_a_row.load(Ordering::Relaxed) != 0 => {
                self.signals.in_a_row.store(0, Ordering::Relaxed);
            }
            None => {}
        }
        self.first_byte().observe(waited);
    }

    /// Counts the end of a connection, and what was wrong with it.
    pub fn note_ended(&self, why: Why, reason: ClosedReason, fault: Option<BackendFault>) {
        if let Some(aside) = self.signals.aside(why) {
            add_one(&aside.ended);
        }
        if let Some(fault) = fault {
            self.note_fault(why, fault);
        }
        self.closed(reason).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fault of a connection.
    pub fn note_fault(&self, why: Why, fault: BackendFault) {
        if let Some(aside) = self.signals.aside(why) {
            add_one(&aside.faults[fault as usize]);
        }
        if fault.is_failure() {
            self.signals.failed(why);
        }
        self.faults(fault).fetch_add(1, Ordering::Relaxed);
    }

    /// Samples that failed in a row: at their first try, or without an answer; since the last first byte
    /// of any.
    pub fn failures_in_a_row(&self) -> u32 {
        self.signals.in_a_row.load(Ordering::Relaxed)
    }

    pub(super) fn served_in_sample(&self) -> u64 {
        self.connections
            .load(Ordering::Relaxed)
            .saturating_sub(self.signals.aside_count(|aside| &aside.served))
    }

    /// Connections that were tried here: those served at once, and those whose first try failed.
    pub(super) fn tried_in_sample(&self, served: u64) -> u64 {
        let later = self.signals.served_later.load(Ordering::Relaxed);
        served.saturating_sub(later).saturating_add(self.failed_in_sample())
    }

    pub(super) fn failed_in_sample(&self) -> u64 {
        self.signals.failed_first.load(Ordering::Relaxed)
    }

    pub(super) fn ended_in_sample(&self) -> u64 {
        self.closed_in_all().saturating_sub(self.signals.aside_count(|aside| &aside.ended))
    }

    pub(super) fn faults_in_sample(&self, fault: BackendFault) -> u64 {
        self.faults_in_all(fault)
            .saturating_sub(self.signals.aside_count(|aside| &aside.faults[fault as usize]))
    }

    pub(super) fn first_bytes_in_sample(&self) -> Vec<u64> {
        let mut counts = self.first_byte().counts();
        if let Some(aside) = self.signals.aside.get() {
            let others = aside.first_byte.counts();
            counts.iter_mut().zip(others).for_each(|(count, other)| *count = count.saturating_sub(other));
        }
        counts
    }
}
