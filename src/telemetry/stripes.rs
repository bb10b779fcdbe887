//! What every worker writes for every connection or byte, and somebody reads now and then: each worker has a part of its
//! own, in a line of memory that nobody else writes, and who reads adds them up.
//!
//! A worker says once which one it is; all other threads share one part. Nothing breaks where two threads share a
//! part: it is only slower.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::thread::available_parallelism;

use metrics::CounterFn;

/// Parts at most: workers beyond that share them.
pub const PARTS_MAX: usize = 64;

/// One for each core, after one for threads that are no workers.
static PARTS: LazyLock<usize> =
    LazyLock::new(|| (1 + available_parallelism().map_or(1, usize::from)).min(PARTS_MAX));

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// From now on this thread is the worker with that index, counted from 0.
pub fn become_worker(index: usize) {
    OWN.set(1 + index % (*PARTS - 1));
}

/// The part of this thread.
pub fn own_part() -> usize {
    OWN.get()
}

/// Something in a line of a core's cache of its own: who writes it disturbs no neighbour.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Line<T>(T);

impl<T> Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A `T` for each part, made when the first one is used: what nobody uses stays small.
#[derive(Debug)]
pub struct Stripes<T>(OnceLock<Box<[Line<T>]>>);

impl<T> Default for Stripes<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Default> Stripes<T> {
    /// That of this thread.
    pub fn own(&self) -> &T {
        self.part(own_part())
    }

    /// That of a part, which [`own_part`] has said.
    pub fn part(&self, part: usize) -> &T {
        &self.0.get_or_init(|| (0..*PARTS).map(|_| Line::default()).collect())[part]
    }

    /// All of them; none before the first use.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.get().into_iter().flatten().map(|line| &**line)
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Stripes<AtomicU64>);

impl Counter {
    /// Counts so many more.
    pub fn fetch_add(&self, more: u64, order: Ordering) {
        self.0.own().fetch_add(more, order);
    }

    /// What was counted in all.
    pub fn load(&self, order: Ordering) -> u64 {
        self.0.iter().map(|part| part.load(order)).fold(0, u64::wrapping_add)
    }
}

impl CounterFn for Counter {
    fn increment(&self, value: u64) {
        self.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.increment(value.saturating_sub(self.load(Ordering::Relaxed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_in_parts_of_their_own_and_nothing_is_lost() {
        let counter = Counter::default();
        assert_eq!((counter.load(Ordering::Relaxed), counter.0.iter().count()), (0, 0));
        // More than there are parts.
        let workers = 2 * *PARTS;
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let counter = &counter;
                scope.spawn(move || {
                    become_worker(worker);
                    (0..1000).for_each(|_| counter.fetch_add(1, Ordering::Relaxed));
                });
            }
        });
        let all = 1000 * workers as u64;
        assert_eq!(counter.load(Ordering::Relaxed), all);
        let parts: Vec<_> = counter.0.iter().map(|part| part.load(Ordering::Relaxed)).collect();
        assert_eq!(parts[0], 0, "that is for others");
        assert!(parts[1..].iter().all(|part| *part >= 1000), "{parts:?}");
        counter.increment(5);
        counter.absolute(7);
        assert_eq!(
            (counter.0.part(0).load(Ordering::Relaxed), counter.load(Ordering::Relaxed)),
            (5, all + 5)
        );
    }

    #[test]
    fn parts_lie_in_lines_of_their_own() {
        assert_eq!((align_of::<Line<u8>>(), size_of::<Line<AtomicU64>>()), (64, 64));
    }
}
