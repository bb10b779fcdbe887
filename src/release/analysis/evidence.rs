//! Evidence that may be looked at as often as one likes: e-processes for counts.
//!
//! Evidence is a likelihood ratio, as a natural logarithm: how much better "worse" explains the counts than "not
//! worse". Where the new color is not worse, its expectation is at most 1 after any number of connections, so by
//! Ville's inequality it ever reaches 1/α with a probability of at most α, however often somebody looks (Ramdas,
//! Grünwald, Vovk, Shafer: Game-theoretic statistics and safe anytime-valid inference, Statistical Science 38,
//! 2023). The family of tests is that of Turner, Ly, Grünwald: Generic E-variables for exact sequential k-sample
//! tests that allow for optional stopping, J. Statistical Planning and Inference 230, 2024.
//!
//! [`Comparison`] looks at where the events fell. With a share q of the connections, a new color whose events are r
//! times as likely has the part p = qr / (1 − q + qr) of them, one that is not worse at most q. Each event of the new
//! color multiplies the evidence for r by p/q, each one of the old color by (1−p)/(1−q). Over a block of connections
//! that is split in the ratio q, the expectation is at most (1 − θ + θ(q·p/q + (1−q)·(1−p)/(1−q)))ⁿ = 1 for any
//! probability θ of an event, by the inequality of arithmetic and geometric means; a new color with fewer events only
//! lowers it. The average over several r is as valid and finds small and large differences (mixtures: Robbins,
//! Annals of Mathematical Statistics 41, 1970).

use statrs::function::beta::inv_beta_reg;

use super::Share;

/// How much likelier events of a worse color may be: what is looked for.
const RATIOS: [f64; 8] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0];

/// Compares events of two colors among so many connections of each.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    new: u64,
    old: u64,
    /// ln(1 − q + qr) for each ratio.
    mixed: [f64; RATIOS.len()],
}

impl Comparison {
    /// Of so many connections of the new and the old color. Nothing when there are none of one of them.
    pub fn of(new: u64, old: u64) -> Option<Self> {
        if new == 0 || old == 0 {
            return None;
        }
        let share = new as f64 / (new as f64 + old as f64);
        Some(Self { new, old, mixed: RATIOS.map(|ratio| (share * (ratio - 1.0)).ln_1p()) })
    }

    /// The evidence that events are likelier in the new color, as a natural logarithm; 0 where they are not.
    pub fn evidence(&self, new: u64, old: u64) -> f64 {
        if new as f64 / self.new as f64 <= old as f64 / self.old as f64 {
            return 0.0;
        }
        let (new, all) = (new as f64, new as f64 + old as f64);
        let terms = RATIOS.iter().zip(self.mixed).map(|(ratio, mixed)| new * ratio.ln() - all * mixed);
        mean(terms, RATIOS.len()).max(0.0)
    }
}

/// The evidence that events have a probability of more than `limit`, as a natural logarithm; 0 where they do not
/// look so.
pub fn over_limit(share: Share, limit: f64) -> f64 {
    if share.ratio() <= limit {
        return 0.0;
    }
    if limit <= 0.0 {
        return f64::INFINITY;
    }
    let (events, others) = (share.events as f64, (share.of - share.events) as f64);
    let terms = RATIOS.iter().map(|ratio| {
        // The same odds ratios, so that no alternative is over 1.
        let odds = ratio * limit / (1.0 - limit).max(f64::MIN_POSITIVE);
        let alternative = odds / (1.0 + odds);
        events * (alternative / limit).ln() + others * ((1.0 - alternative) / (1.0 - limit)).ln()
    });
    mean(terms, RATIOS.len()).max(0.0)
}

/// The logarithm of the mean of `count` values, of which `logarithms` are those that are not 0.
pub fn mean(logarithms: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
    let largest = logarithms.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + (logarithms.map(|value| (value - largest).exp()).sum::<f64>() / count as f64).ln()
}

/// The largest probability that events may have, with a confidence of 95 % (Clopper and Pearson, Biometrika 26,
/// 1934). For one look.
pub fn at_most(share: Share) -> f64 {
    if share.events >= share.of {
        return 1.0;
    }
    let (events, others) = (share.events as f64 + 1.0, (share.of - share.events) as f64);
    // Exact where it is simple: none of so many.
    if share.events == 0 { 1.0 - 0.05_f64.powf(1.0 / others) } else { inv_beta_reg(events, others, 0.95) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_worse_gives_no_evidence() {
        let comparison = Comparison::of(100, 900).unwrap();
        for (new, old) in [(0, 0), (0, 50), (1, 9), (3, 90)] {
            assert!(comparison.evidence(new, old).abs() < 1e-12);
        }
        assert!(Comparison::of(0, 9).is_none() && Comparison::of(9, 0).is_none());
    }

    #[test]
    fn evidence_is_what_the_formula_says() {
        // One event in the new color, at half and half: for each r it is 2r / (1 + r).
        let by_hand = RATIOS.iter().map(|r| 2.0 * r / (1.0 + r)).sum::<f64>() / RATIOS.len() as f64;
        assert!((Comparison::of(50, 50).unwrap().evidence(1, 0) - by_hand.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_expectation_under_equal_colors_is_at_most_1() {
        // 2 connections of the new color beside 3 of the old one, each failing with probability θ: all 4 × 3 outcomes.
        let comparison = Comparison::of(2, 3).unwrap();
        let choose = |n: i32, k: i32| (0..k).fold(1.0, |all, i| all * f64::from(n - i) / f64::from(i + 1));
        for rate in [0.001, 0.1, 0.5, 0.9, 1.0_f64] {
            let mut expectation = 0.0;
            for (new, old) in (0..=2_i32).flat_map(|new| (0..=3_i32).map(move |old| (new, old))) {
                let probability =
                    choose(2, new) * choose(3, old) * rate.powi(new + old) * (1.0 - rate).powi(5 - new - old);
                let all = f64::from(new + old);
                let terms = RATIOS
                    .iter()
                    .zip(comparison.mixed)
                    .map(|(r, mixed)| f64::from(new) * r.ln() - all * mixed);
                expectation += probability * mean(terms, RATIOS.len()).exp();
            }
            assert!(expectation <= 1.0 + 1e-12, "{rate}: {expectation}");
        }
    }

    #[test]
    fn a_limit_is_exceeded_by_what_is_far_above_it_only() {
        assert!(over_limit(Share::new(10, 1000), 0.01).abs() < 1e-12);
        assert!(over_limit(Share::new(12, 1000), 0.01) < 1.0);
        assert!(over_limit(Share::new(50, 1000), 0.01) > 20.0);
        assert!(over_limit(Share::new(1, 1000), 0.0).is_infinite());
        assert!(over_limit(Share::new(1000, 1000), 0.999).is_finite());
    }

    #[test]
    fn upper_bounds_are_the_textbook_s() {
        for (events, of, wanted) in [(0, 300, 0.009_936), (3, 1000, 0.007_734), (5, 5, 1.0), (0, 0, 1.0)] {
            let bound = at_most(Share::new(events, of));
            assert!((bound - wanted).abs() < 2e-5, "{events} of {of}: {bound}");
        }
        let large = at_most(Share::new(1_000_000, 1_000_000_000));
        assert!((0.001..0.001_01).contains(&large), "{large}");
    }
}
