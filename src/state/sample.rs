//! Counts of one color over all ports of its service, as of one instant: what a release is judged by.
//!
//! Connections by preview names and fallbacks are left out: who asks for a color by itself is no sample. Those in
//! lanes count, as the split at the entry sent them to their side; a member that only other members call has no
//! others.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::connections::Connection;
use super::health::HealthState;
use super::signals::BackendFault;
use super::snapshot::{ColorState, ServiceState};
use crate::model::ColorName;
use crate::telemetry::histogram::divide;
use crate::telemetry::names::{FIRST_BYTE_PARTS, FIRST_BYTE_SECONDS};

/// Counts of one color since its series began, or between two samples. Everything but [`Self::in_a_row`] only
/// grows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Connections that were tried at the color.
    pub tried: u64,
    /// Those whose first try there failed by the color's own fault, whoever served them then.
    pub failed: u64,
    /// Connections that it served.
    pub served: u64,
    /// Served ones that ended.
    pub ended: u64,
    /// See [`BackendFault::Empty`]. Of the faults but for `stalled`, a connection has one at most.
    pub empty: u64,
    /// See [`BackendFault::ResetBefore`].
    pub reset_before: u64,
    /// See [`BackendFault::ResetAfter`].
    pub reset_after: u64,
    /// See [`BackendFault::Early`].
    pub early: u64,
    /// See [`BackendFault::Unanswered`]; with open connections whose client has waited for 3 s.
    pub unanswered: u64,
    /// See [`BackendFault::Silent`].
    pub silent: u64,
    /// See [`BackendFault::Stalled`]; with open connections that are stalled.
    pub stalled: u64,
    /// Times that an endpoint became unhealthy.
    pub unhealthy: u64,
    /// Connections that failed in a row up to the instant, of the worst port. Not a difference.
    pub in_a_row: u32,
    /// Times to the first byte.
    pub first_byte: FirstBytes,
}

/// Times to the backend's first byte, by bucket: as many as [`FirstBytes::bounds`] and one for longer ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FirstBytes {
    /// Values by bucket; empty means none at all.
    pub counts: Vec<u64>,
}

impl FirstBytes {
    /// Upper bounds of the buckets, in seconds, ascending; the last one is 3.
    pub fn bounds() -> &'static [f64] {
        static BOUNDS: LazyLock<Vec<f64>> = LazyLock::new(|| divide(FIRST_BYTE_SECONDS, FIRST_BYTE_PARTS));
        &BOUNDS
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// Those that took longer than the last bound.
    pub fn late(&self) -> u64 {
        self.counts.get(Self::bounds().len()).copied().unwrap_or(0)
    }

    /// The time in seconds that a share of the values is within: between its bucket's bounds in proportion. The last
    /// bound for what is over it, nothing when there are no values.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = self.total() as f64 * share;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in Self::bounds().iter().zip(&self.counts) {
            let count = *count as f64;
            if below + count >= wanted && count > 0.0 {
                return Some(lower + (bound - lower) * ((wanted - below) / count));
            }
            (below, lower) = (below + count, *bound);
        }
        (self.total() > 0).then(|| Self::bounds().last().copied())?
    }

    fn combine(&self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        let of = |counts: &[u64], index| counts.get(index).copied().unwrap_or(0);
        let length = self.counts.len().max(other.counts.len());
        let counts = (0..length).map(|index| combine(of(&self.counts, index), of(&other.counts, index)));
        Self { counts: counts.collect() }
    }
}

impl Sample {
    /// What the live facts of a color say at `now`, open connections included: takes the lock of each endpoint's
    /// table for as long as it takes to look at its connections. Nothing for a color that the service has not.
    pub fn take(service: &ServiceState, color: &ColorName, now: Instant) -> Option<Self> {
        Self::sum(service, color, |state| {
            let mut sample = Self::of_counters(state);
            for endpoint in &state.endpoints {
                let waits =
                    |connection: &Connection| connection.why.is_sample() && connection.is_overdue(now);
                let stalls =
                    |connection: &Connection| connection.why.is_sample() && connection.is_stalled(now);
                sample.unanswered += endpoint.live.open.summary(waits).0 as u64;
                sample.stalled += endpoint.live.open.summary(stalls).0 as u64;
            }
            sample
        })
    }

    /// The same without open connections and without a lock: enough for hard failures.
    pub fn take_counters(service: &ServiceState, color: &ColorName) -> Option<Self> {
        Self::sum(service, color, Self::of_counters)
    }

    fn sum(service: &ServiceState, color: &ColorName, look: impl Fn(&ColorState) -> Self) -> Option<Self> {
        let of_ports = service.ports.iter().filter_map(|port| port.color(color));
        of_ports.map(look).reduce(|all, port| all.plus(&port))
    }

    fn of_counters(color: &ColorState) -> Self {
        let (live, count) = (&color.live, |fault| color.live.faults_in_sample(fault));
        let served = live.served_in_sample();
        Self {
            tried: live.tried_in_sample(served),
            failed: live.failed_in_sample(),
            served,
            ended: live.ended_in_sample(),
            empty: count(BackendFault::Empty),
            reset_before: count(BackendFault::ResetBefore),
            reset_after: count(BackendFault::ResetAfter),
            early: count(BackendFault::Early),
            unanswered: count(BackendFault::Unanswered),
            silent: count(BackendFault::Silent),
            stalled: count(BackendFault::Stalled),
            unhealthy: live.health_transitions(HealthState::Unhealthy).load(Ordering::Relaxed),
            in_a_row: live.failures_in_a_row(),
            first_byte: FirstBytes { counts: live.first_bytes_in_sample() },
        }
    }

    /// What happened between an earlier sample and this one. Never below 0, should series have begun anew.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub, self.in_a_row)
    }

    /// Both together; the longer row of failures.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, u64::saturating_add, self.in_a_row.max(other.in_a_row))
    }

    /// Connections that failed before the backend's first byte: not connected, reset, empty or not answered.
    /// Where one failed in two ways it counts twice.
    pub fn failures(&self) -> u64 {
        let kinds = [self.failed, self.reset_before, self.empty, self.not_answered()];
        kinds.into_iter().fold(0, u64::saturating_add)
    }

    /// Connections without an answer in time, those that came late included.
    pub fn not_answered(&self) -> u64 {
        self.unanswered.saturating_add(self.first_byte.late())
    }

    /// Whether a reader can work with it: the buckets are those of this version.
    pub fn is_sound(&self) -> bool {
        let buckets = self.first_byte.counts.len();
        buckets == 0 || buckets == FirstBytes::bounds().len() + 1
    }

    fn combine(&self, other: &Self, combine: fn(u64, u64) -> u64, in_a_row: u32) -> Self {
        Self {
            tried: combine(self.tried, other.tried),
            failed: combine(self.failed, other.failed),
            served: combine(self.served, other.served),
            ended: combine(self.ended, other.ended),
            empty: combine(self.empty, other.empty),
            reset_before: combine(self.reset_before, other.reset_before),
            reset_after: combine(self.reset_after, other.reset_after),
            early: combine(self.early, other.early),
            unanswered: combine(self.unanswered, other.unanswered),
            silent: combine(self.silent, other.silent),
            stalled: combine(self.stalled, other.stalled),
            unhealthy: combine(self.unhealthy, other.unhealthy),
            in_a_row,
            first_byte: self.first_byte.combine(&other.first_byte, combine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_never_below_nothing_and_keeps_the_row() {
        let first_byte = |counts: &[u64]| FirstBytes { counts: counts.to_vec() };
        let earlier =
            Sample { tried: 5, empty: 7, in_a_row: 9, first_byte: first_byte(&[1, 2]), ..Sample::default() };
        let later =
            Sample { tried: 8, empty: 3, in_a_row: 2, first_byte: first_byte(&[1, 5]), ..Sample::default() };
        let between = later.since(&earlier);
        assert_eq!((between.tried, between.empty, between.in_a_row), (3, 0, 2));
        assert_eq!(between.first_byte.counts, [0, 3]);
        assert_eq!(later.since(&Sample::default()), later);
        assert_eq!(between.plus(&earlier).tried, 8);
    }

    #[test]
    fn the_last_bound_of_the_first_byte_is_where_late_begins() {
        let bounds = FirstBytes::bounds();
        assert!((bounds[bounds.len() - 1] - 3.0).abs() < f64::EPSILON);
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        let mut counts = vec![0; bounds.len() + 1];
        counts[bounds.len()] = 4;
        let late = FirstBytes { counts };
        assert_eq!((late.late(), late.quantile(0.5)), (4, Some(3.0)));
    }

    #[test]
    fn a_quantile_lies_inside_its_bucket() {
        let bounds = FirstBytes::bounds();
        assert_eq!(FirstBytes::default().quantile(0.5), None);
        let mut counts = vec![0; bounds.len() + 1];
        (counts[3], counts[7]) = (50, 50);
        let times = FirstBytes { counts };
        let between = |low: usize, share| {
            let time = times.quantile(share).unwrap();
            bounds[low - 1] < time && time <= bounds[low]
        };
        assert!(between(3, 0.25) && between(3, 0.5) && between(7, 0.51) && between(7, 1.0));
    }
}
