//! A histogram over fixed buckets: one atomic per bucket and worker, no lock when recording, and no allocation but at
//! a worker's first value.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::HistogramFn;

use super::stripes::{Line, Stripes};

/// Counts values by bucket. Rendered cumulatively, as Prometheus expects.
#[derive(Debug)]
pub struct FixedHistogram {
    bounds: Cow<'static, [f64]>,
    /// One of so many bounds is exported.
    parts: usize,
    cells: Stripes<OnceLock<Cells>>,
}

/// One worker's count of each bucket, then the sum in nanoseconds.
type Cells = Box<[Line<[AtomicU64; LINE]>]>;

const LINE: usize = 8;

impl FixedHistogram {
    /// A histogram whose buckets end at `bounds` (ascending, in seconds) and at infinity.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self::with(Cow::Borrowed(bounds), 1)
    }

    /// The same, with `parts` times as many buckets than are exported ([`divide`]).
    pub fn divided(bounds: &[f64], parts: usize) -> Self {
        Self::with(Cow::Owned(divide(bounds, parts)), parts)
    }

    fn with(bounds: Cow<'static, [f64]>, parts: usize) -> Self {
        Self { bounds, parts, cells: Stripes::default() }
    }

    fn sum_index(&self) -> usize {
        self.bounds.len() + 1
    }

    /// What all workers have at an index.
    fn load(&self, index: usize) -> u64 {
        let cells = self.cells.iter().filter_map(OnceLock::get);
        cells.map(|cells| cells[index / LINE][index % LINE].load(Ordering::Relaxed)).sum()
    }

    /// How many values are in each bucket, the finer ones included.
    pub fn counts(&self) -> Vec<u64> {
        (0..=self.bounds.len()).map(|bucket| self.load(bucket)).collect()
    }

    /// Counts one duration.
    pub fn observe(&self, value: Duration) {
        self.observe_times(value, 1);
    }

    /// Counts a duration that `times` operations took each.
    pub fn observe_times(&self, value: Duration, times: u64) {
        let seconds = value.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        let lines = self.sum_index() / LINE + 1;
        let cells = self.cells.own().get_or_init(|| (0..lines).map(|_| Line::default()).collect());
        let add = |index: usize, value| cells[index / LINE][index % LINE].fetch_add(value, Ordering::Relaxed);
        add(bucket, times);
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        add(self.sum_index(), nanos.saturating_mul(times));
    }

    /// The upper bounds with the number of values at or below each, then the total.
    pub fn cumulative(&self) -> (Vec<(f64, u64)>, u64) {
        let (mut total, counts) = (0, self.counts());
        let mut buckets = Vec::with_capacity(self.bounds.len() / self.parts);
        for (bounds, counts) in self.bounds.chunks_exact(self.parts).zip(counts.chunks_exact(self.parts)) {
            total += counts.iter().sum::<u64>();
            buckets.push((bounds[self.parts - 1], total));
        }
        total += counts[self.bounds.len()];
        (buckets, total)
    }

    /// Sum of all values, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.load(self.sum_index())).as_secs_f64()
    }
}

/// `parts` bounds in place of each, in a geometric series from the bound before; the first one's from half of it.
pub fn divide(bounds: &[f64], parts: usize) -> Vec<f64> {
    let mut finer = Vec::with_capacity(bounds.len() * parts);
    let mut lower = bounds.first().map_or(0.0, |bound| bound / 2.0);
    for bound in bounds {
        let share = |part: usize| part as f64 / parts as f64;
        finer.extend((1..parts).map(|part| lower * (bound / lower).powf(share(part))));
        finer.push(*bound);
        lower = *bound;
    }
    finer
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

    #[test]
    fn finer_buckets_are_exported_as_the_coarse_ones() {
        let bounds = [0.001, 0.01];
        let (coarse, fine) = (FixedHistogram::new(&[0.001, 0.01]), FixedHistogram::divided(&bounds, 4));
        for micros in [1, 600, 1_000, 1_001, 2_000, 9_000, 10_000, 20_000] {
            let value = Duration::from_micros(micros);
            coarse.observe(value);
            fine.observe(value);
        }
        assert_eq!(fine.cumulative(), coarse.cumulative());
        assert_eq!((fine.counts().len(), fine.counts().iter().sum()), (9, 8_u64));
        // Between 1 and 1.78 ms, and between 1.78 and 3.16 ms.
        assert_eq!(fine.counts()[4..6], [1, 1]);
    }
}
