//! When checks are due. Pure: `now` and random numbers are arguments.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::model::ActiveCheck;

/// Ids by the time at which they are due.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Agenda {
    /// Notes that `id` is due at `at`.
    pub fn add(&mut self, at: Instant, id: u64) {
        self.heap.push(Reverse((at, id)));
    }

    /// The one that is due longest, with its time.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        let Reverse((at, _)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

/// How long after the start of its first check a question is asked again: anything up to a whole
/// interval, never sooner than a tenth of it. Questions that come together are spread by it.
pub fn first_delay(check: &ActiveCheck, random: u64) -> Duration {
    check.interval.mul_f64(0.1 + 0.9 * fraction(random))
}

/// How long after the start of a check the next one begins: `interval`, give or take its jitter, so that
/// the checks of many hosts do not fall into step.
pub fn delay(check: &ActiveCheck, random: u64) -> Duration {
    let jitter = f64::from(check.jitter_percent) / 100.0;
    check.interval.mul_f64(1.0 + jitter * (2.0 * fraction(random) - 1.0))
}

/// From 0 to 1.
fn fraction(random: u64) -> f64 {
    random as f64 / u64::MAX as f64
}

/// Numbers that are random enough to spread checks (`SplitMix64`, Steele, Lea and Flood 2014).
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::CheckKind;

    #[test]
    fn what_is_due_longest_comes_first() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut agenda = Agenda::default();
        for (ms, id) in [(30, 3), (10, 1), (20, 2)] {
            agenda.add(at(ms), id);
        }
        assert_eq!(agenda.pop_due(at(9)), None);
        assert_eq!(agenda.next(), Some(at(10)));
        assert_eq!(agenda.pop_due(at(20)), Some((at(10), 1)));
        assert_eq!(agenda.pop_due(at(20)), Some((at(20), 2)));
        assert_eq!(agenda.pop_due(at(20)), None);
    }

    #[test]
    fn questions_that_come_together_are_spread_over_the_interval() {
        let check = ActiveCheck::new(CheckKind::Tcp);
        let mut random = Random(7);
        let mut delays: Vec<_> = (0..10_000).map(|_| first_delay(&check, random.draw())).collect();
        delays.sort_unstable();
        // Each tenth of them within its tenth of the time, give or take.
        for (tenth, delay) in delays.iter().step_by(1000).enumerate() {
            let even = check.interval.mul_f64(0.1 + 0.09 * tenth as f64);
            assert!(delay.abs_diff(even) < check.interval / 50, "{tenth}: {delay:?} is not {even:?}");
        }
    }

    proptest! {
        #[test]
        fn a_delay_stays_within_its_jitter(random: u64, ms in 100_u64..3_600_000, jitter_percent in 0_u32..=50) {
            let interval = Duration::from_millis(ms);
            let check = ActiveCheck { interval, jitter_percent, ..ActiveCheck::new(CheckKind::Tcp) };
            let jitter = interval * jitter_percent / 100 + Duration::from_micros(1);
            let delay = delay(&check, random);
            prop_assert!(delay + jitter >= interval && delay <= interval + jitter);
            let first = first_delay(&check, random);
            prop_assert!(first <= interval + Duration::from_micros(1) && first >= interval / 11);
        }
    }
}
