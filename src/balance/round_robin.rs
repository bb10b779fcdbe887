//! Round robin: endpoints in turn.

use std::sync::atomic::{AtomicU64, Ordering};

use super::schedule::Schedule;

/// Endpoints in turn, each as often as its weight says, whatever the number of threads.
#[derive(Debug)]
pub struct RoundRobin {
    schedule: Schedule,
}

impl RoundRobin {
    /// In turn over endpoints with these weights (each above 0). `None` when there is none, or when the
    /// reduced weights sum up to more than [`Schedule::PLACES_MAX`].
    pub fn new(weights: &[u16]) -> Option<Self> {
        Schedule::new(weights, 0).map(|schedule| Self { schedule })
    }

    /// Takes the next place of the sequence that `places` counts. Keep what comes back for the
    /// connection: [`Self::endpoint`] then says whom to try.
    pub fn take(&self, places: &AtomicU64) -> u64 {
        places.fetch_add(1, Ordering::Relaxed)
    }

    /// The endpoint for a connection that took `place`: the first one from there on that is not
    /// `excluded`. `None` when all are. A retry goes on in the same sequence without moving it, so
    /// that a dead endpoint does not change whose turn it is.
    pub fn endpoint(&self, place: u64, excluded: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.schedule.period()).map(|step| self.schedule.at(place + step)).find(|index| !excluded(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_in_turn_by_weight() {
        let pick = RoundRobin::new(&[1, 2, 1]).unwrap();
        let places = AtomicU64::new(0);
        let mut turns = [0; 3];
        for _ in 0..400 {
            turns[pick.endpoint(pick.take(&places), |_| false).unwrap()] += 1;
        }
        assert_eq!(turns, [100, 200, 100]);
    }

    #[test]
    fn a_retry_never_goes_to_one_twice_while_another_is_left() {
        let pick = RoundRobin::new(&[1, 5, 1]).unwrap();
        let place = pick.take(&AtomicU64::new(3));
        let mut tried = Vec::new();
        while let Some(index) = pick.endpoint(place, |index| tried.contains(&index)) {
            tried.push(index);
        }
        tried.sort_unstable();
        assert_eq!(tried, [0, 1, 2]);
    }
}
