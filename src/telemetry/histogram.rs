//! A histogram over fixed buckets: one atomic per bucket, no allocation and no lock when recording.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::HistogramFn;

/// Counts values by bucket. Rendered cumulatively, as Prometheus expects.
#[derive(Debug)]
pub struct FixedHistogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

impl FixedHistogram {
    /// A histogram whose buckets end at `bounds` (ascending, in seconds) and at infinity.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_nanos: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, value: Duration) {
        self.observe_times(value, 1);
    }

    /// Counts a duration that `times` operations took each.
    pub fn observe_times(&self, value: Duration, times: u64) {
        let seconds = value.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos.saturating_mul(times), Ordering::Relaxed);
    }

    /// The upper bounds with the number of values at or below each, then the total.
    pub fn cumulative(&self) -> (Vec<(f64, u64)>, u64) {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            buckets.push((*bound, total));
        }
        total += self.counts[self.bounds.len()].load(Ordering::Relaxed);
        (buckets, total)
    }

    /// Sum of all values, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}

impl HistogramFn for FixedHistogram {
    fn record(&self, value: f64) {
        self.observe(Duration::try_from_secs_f64(value).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_its_bucket() {
        let histogram = FixedHistogram::new(&[0.001, 0.01]);
        for micros in [500, 1_000, 1_001, 10_000, 20_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(histogram.cumulative(), (vec![(0.001, 2), (0.01, 4)], 5));
        assert!((histogram.sum_seconds() - 0.032_501).abs() < 1e-9);
    }
}
