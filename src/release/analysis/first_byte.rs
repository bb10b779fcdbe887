//! Compares times to the first byte: a ratio of quantiles with a floor, tested by counting.
//!
//! What is allowed turns each time t of the old color into t' = max(t × ratio, t + floor). A new color that is within
//! that has no more connections over t' than the old one has over t, for every t. So each bound t of the histogram
//! is a comparison of counts like any other, and their average is evidence like any other: no time has to be
//! chosen beforehand. Where evidence is large, the new color's quantile is over t' and the old color's is below t.

use super::evidence::{Comparison, mean};
use super::words::rounded;
use super::{FirstByteTimes, FirstBytes, Share};
use crate::model::release::Judgement;

/// Fewer connections than one in a hundred more over the allowed time are never held against the new color.
const EXCESS_MIN: f64 = 0.01;

/// What times say.
#[derive(Debug, Clone, Copy)]
pub struct Slower {
    /// Evidence that the new color is slower than allowed, as a natural logarithm.
    pub evidence: f64,
    /// New ones over the allowed time, where that says most.
    pub new: Share,
    /// Old ones over the time that is compared with it.
    pub old: Share,
    /// Times.
    pub times: FirstByteTimes,
}

/// Compares what was measured; nothing when one color has no measurements.
pub fn compare(judgement: &Judgement, new: &FirstBytes, old: &FirstBytes) -> Option<Slower> {
    let (new_total, old_total) = (new.total(), old.total());
    let comparison = Comparison::of(new_total, old_total)?;
    let bounds = FirstBytes::bounds();
    let ratio = f64::from(judgement.first_byte_ratio_max_percent) / 100.0;
    let floor = judgement.first_byte_floor.as_secs_f64();
    let (new_over, old_over) = (over(new), over(old));
    let mut logarithms = Vec::new();
    let mut best: Option<(f64, usize, usize)> = None;
    // Without evidence, what is shown is the time that one in twenty of the old color takes.
    let mut shown = (0, 0);
    let mut allowed = 0;
    for (index, time) in bounds.iter().enumerate() {
        let allowed_s = (time * ratio).max(time + floor);
        allowed += bounds[allowed..].partition_point(|bound| *bound < allowed_s);
        if allowed == bounds.len() {
            break;
        }
        let (new, old) = (new_over[allowed], old_over[index]);
        if shown == (0, 0) && old as f64 <= old_total as f64 / 20.0 {
            shown = (index, allowed);
        }
        let excess = Share::new(new, new_total).ratio() - Share::new(old, old_total).ratio();
        if excess < EXCESS_MIN {
            continue;
        }
        let evidence = comparison.evidence(new, old);
        logarithms.push(evidence);
        if best.is_none_or(|(most, ..)| evidence > most) {
            best = Some((evidence, index, allowed));
        }
    }
    let (index, allowed) = best.map_or(shown, |(_, index, allowed)| (index, allowed));
    let evidence =
        if logarithms.is_empty() { 0.0 } else { mean(logarithms.iter().copied(), bounds.len()).max(0.0) };
    let time = |values: &FirstBytes, share| rounded(values.quantile(share).unwrap_or_default());
    Some(Slower {
        evidence,
        new: Share::new(new_over[allowed], new_total),
        old: Share::new(old_over[index], old_total),
        times: FirstByteTimes {
            new_p50: time(new, 0.5),
            old_p50: time(old, 0.5),
            new_p95: time(new, 0.95),
            old_p95: time(old, 0.95),
            new_over: rounded(bounds[allowed]),
            old_over: rounded(bounds[index]),
        },
    })
}

/// How many values are over each bound.
fn over(values: &FirstBytes) -> Vec<u64> {
    let mut left = values.total();
    let counts = values.counts.iter().chain(std::iter::repeat(&0)).take(FirstBytes::bounds().len());
    let over = counts.map(|count| {
        left = u64::saturating_sub(left, *count);
        left
    });
    over.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::judgement;
    use super::*;

    /// So many values, all of this time.
    fn all_of(count: u64, seconds: f64) -> FirstBytes {
        let bounds = FirstBytes::bounds();
        let mut counts = vec![0; bounds.len() + 1];
        counts[bounds.partition_point(|bound| *bound < seconds)] = count;
        FirstBytes { counts }
    }

    fn evidence(floor_ms: u64, new: f64, old: f64) -> f64 {
        let judgement = Judgement { first_byte_floor: Duration::from_millis(floor_ms), ..judgement() };
        compare(&judgement, &all_of(500, new), &all_of(500, old)).unwrap().evidence
    }

    #[test]
    fn twice_as_slow_is_seen_above_the_floor_and_quicker_never() {
        assert!(evidence(0, 0.1, 0.05) > 100.0);
        assert!(evidence(20, 0.1, 0.05) > 100.0);
        assert!(evidence(60, 0.1, 0.05).abs() < 1e-12, "a difference of 50 ms is below the floor");
        assert!(evidence(0, 0.055, 0.05).abs() < 1e-12, "within the ratio");
        assert!(evidence(0, 0.05, 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_slow_tail_is_seen_as_well() {
        let (mut new, old) = (all_of(900, 0.005), all_of(1000, 0.005));
        new.counts = new.counts.iter().zip(all_of(100, 1.0).counts).map(|(a, b)| a + b).collect();
        let slower = compare(&judgement(), &new, &old).unwrap();
        assert!(slower.evidence > 30.0, "{slower:?}");
        assert_eq!((slower.new.events, slower.old.events), (100, 0));
        assert!((slower.times.old_p95 - slower.times.new_p50).abs() < 0.002 && slower.times.new_p95 > 0.5);
    }

    #[test]
    fn without_measurements_nothing_is_said() {
        assert!(compare(&judgement(), &FirstBytes::default(), &all_of(9, 0.1)).is_none());
        assert!(compare(&judgement(), &all_of(9, 0.1), &FirstBytes::default()).is_none());
    }
}
