//! The retry budget: how many further tries the connections of one service and port may cost.
//!
//! When many endpoints fail at once, retries multiply the load on those that are left and on the network,
//! at the worst moment. So the retries of the last ten seconds may number at most a percentage of the
//! connections of the same ten seconds, and [`RetryBudget::FREE`] in any case, so that a quiet service
//! retries as it likes. Window, percentage and the idea of a free minimum are Finagle's and Linkerd's
//! (`RetryBudget`: 20 % over 10 s, and 10 a second).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Stripes;

/// Connections and retries of one service and port over the last [`RetryBudget::WINDOW_SECONDS`], in
/// buckets of a second. Threads share it without a lock.
#[derive(Debug, Default)]
pub struct RetryBudget {
    connections: Stripes<Window>,
    retries: Window,
}

impl RetryBudget {
    /// How far back it looks, the current second included.
    pub const WINDOW_SECONDS: u32 = 10;

    /// Retries that each window allows, however few connections there were.
    pub const FREE: u64 = 100;

    /// Notes a connection whose first try begins in this second. Seconds count from any instant that
    /// stays the same.
    pub fn note_connection(&self, second: u32) {
        self.connections.own().add(second);
    }

    /// Takes one retry out of the budget, where retries may number `percent` of connections. False when it
    /// is used up; then nothing was taken. Several threads together never take more than there is, but for
    /// those that cross the border of a second at the same moment.
    pub fn take(&self, second: u32, percent: u32) -> bool {
        // Taken first and given back: two threads that both look first would both see the last one.
        self.retries.add(second);
        let connections: u64 = self.connections.iter().map(|window| window.sum(second)).sum();
        let allowed = (connections * u64::from(percent) / 100).max(Self::FREE);
        let is_within = self.retries.sum(second) <= allowed;
        if !is_within {
            self.retries.give_back(second);
        }
        is_within
    }
}

const BUCKETS: usize = RetryBudget::WINDOW_SECONDS as usize;

/// Counts by second. A bucket holds the second that it is about in its upper half and the count in its
/// lower one, so that both change at once.
#[derive(Debug, Default)]
struct Window([AtomicU64; BUCKETS]);

const COUNT: u64 = 0xffff_ffff;

impl Window {
    fn bucket(&self, second: u32) -> &AtomicU64 {
        &self.0[second as usize % BUCKETS]
    }

    fn add(&self, second: u32) {
        let bucket = self.bucket(second);
        let tag = u64::from(second) << 32;
        let one_more = |seen: u64| Some(if seen & !COUNT == tag { seen + 1 } else { tag + 1 });
        let _always = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// Undoes one [`Self::add`], unless the bucket is about another second by now.
    fn give_back(&self, second: u32) {
        let tag = u64::from(second) << 32;
        let one_less = |seen: u64| (seen & !COUNT == tag && seen & COUNT > 0).then(|| seen - 1);
        let _unless_gone = self.bucket(second).fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    fn sum(&self, now: u32) -> u64 {
        let buckets = self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let is_recent = |bucket: &u64| u64::from(now).saturating_sub(bucket >> 32) < BUCKETS as u64;
        buckets.filter(is_recent).map(|bucket| bucket & COUNT).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(connections: u32) -> RetryBudget {
        let budget = RetryBudget::default();
        (0..connections).for_each(|_| budget.note_connection(50));
        budget
    }

    fn takes(budget: &RetryBudget, second: u32, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(budget.take(second, 20))).sum()
    }

    #[test]
    fn a_fifth_of_the_connections_may_be_retries_and_a_hundred_in_any_case() {
        assert_eq!(takes(&budget(0), 50, 1000), 100);
        assert_eq!(takes(&budget(500), 50, 1000), 100);
        assert_eq!(takes(&budget(505), 50, 1000), 101);
        assert_eq!(takes(&budget(5000), 50, 9000), 1000);
    }

    #[test]
    fn what_is_ten_seconds_old_counts_no_more() {
        let budget = budget(1000);
        assert_eq!(takes(&budget, 59, 1000), 200);
        assert_eq!(takes(&budget, 60, 1000), 0, "the connections are gone, the retries are not");
        assert_eq!(takes(&budget, 68, 1000), 0);
        assert_eq!(takes(&budget, 69, 1000), 100);
    }

    #[test]
    fn threads_take_what_there_is_and_no_more() {
        let budget = budget(5000);
        let taken: u32 = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8).map(|_| scope.spawn(|| takes(&budget, 50, 2000))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        // Who asks while others have taken and not yet given back is refused too early.
        assert!((993..=1000).contains(&taken), "{taken}");
        assert_eq!(taken + takes(&budget, 50, 2000), 1000);
    }

    proptest! {
        /// Against a list of what happened when.
        #[test]
        fn every_answer_is_that_of_a_list(
            steps in prop::collection::vec((0u32..15, 0u32..300, 0u32..90), 1..15),
            percent in 0u32..=100,
        ) {
            let budget = RetryBudget::default();
            let (mut connections, mut retries) = (Vec::new(), Vec::new());
            let mut now = 0;
            for (later, opened, tries) in steps {
                now += later;
                (0..opened).for_each(|_| budget.note_connection(now));
                connections.extend((0..opened).map(|_| now));
                for _ in 0..tries {
                    let recent = |list: &[u32]| list.iter().filter(|second| now - **second < 10).count() as u64;
                    let allowed = (recent(&connections) * u64::from(percent) / 100).max(RetryBudget::FREE);
                    let may = recent(&retries) < allowed;
                    prop_assert_eq!(budget.take(now, percent), may, "at {}", now);
                    if may {
                        retries.push(now);
                    }
                }
            }
        }
    }
}
