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

    /// Gives back a place that was taken last and that nobody used.
    pub fn give_back(&self, places: &AtomicU64) {
        places.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes places until it is the turn of one that is `wanted`. The others lose their turns, so that
    /// those that are wanted share them by their weights, instead of one having those of its neighbour.
    pub fn take_wanted(&self, places: &AtomicU64, wanted: impl Fn(usize) -> bool) -> u64 {
        let mut place = self.take(places);
        for _ in 1..self.schedule.period() {
            if wanted(self.schedule.at(place)) {
                break;
            }
            place = self.take(places);
        }
        place
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
    fn what_unwanted_ones_lose_is_shared_by_weight() {
        let pick = RoundRobin::new(&[1, 2, 1, 4]).unwrap();
        let places = AtomicU64::new(0);
        let mut turns = [0; 4];
        for _ in 0..400 {
            let place = pick.take_wanted(&places, |index| index != 3);
            turns[pick.endpoint(place, |index| index == 3).unwrap()] += 1;
        }
        assert_eq!(turns, [100, 200, 100, 0]);
        assert_eq!(pick.endpoint(pick.take_wanted(&places, |_| false), |_| true), None);
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
