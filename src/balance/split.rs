//! The split: which color a new connection of one service and port goes to.
//!
//! A [`Split`] is one life of a set of weights. Threads share it and take places of its schedule with
//! one atomic addition, so the bound of [`Schedule`] holds for all of them together.
//!
//! # A change of weights
//!
//! The bound is counted from the change: the successor begins afresh when the old weights have run
//! for at least one whole cycle, and what is left over decides ties only. When they have not, what each
//! color is still owed is carried into the new sequence as a debt. Without that, weights that change
//! faster than their cycle is long would starve small colors: at 97:3 green's first turn is the 17th,
//! and with ten connections between two changes it would never come. With it, the bound holds for the
//! whole run of short lives together, counted from the last fresh start.

use std::sync::atomic::{AtomicU64, Ordering};

use super::schedule::{Owed, Schedule};
use crate::telemetry::Line;

/// One life of a service's weights on one port.
#[derive(Debug)]
pub struct Split {
    weights: Vec<u16>,
    owed: Vec<Owed>,
    /// Absent when all weights are 0.
    schedule: Option<Schedule>,
    /// In a line of its own: what it is next to is read by every connection.
    decided: Line<AtomicU64>,
}

impl Split {
    /// A fresh start. `rotation` decides ties and should differ from host to host.
    /// `weights` are those of at most 16 colors, each at most 1000.
    pub fn new(weights: Vec<u16>, rotation: usize) -> Self {
        let owed = vec![Owed::default(); weights.len()];
        Self::carrying(weights, owed, rotation)
    }

    /// A start that takes over what the colors are owed.
    pub fn carrying(weights: Vec<u16>, owed: Vec<Owed>, rotation: usize) -> Self {
        let schedule = Schedule::carried(&weights, &owed, rotation);
        Self { weights, owed, schedule, decided: Line::default() }
    }

    /// The color of the next connection: its index in the weights given. `None` when all are 0.
    pub fn decide(&self) -> Option<usize> {
        let schedule = self.schedule.as_ref()?;
        Some(schedule.at(self.decided.fetch_add(1, Ordering::Relaxed)))
    }

    /// Decisions so far.
    pub fn decided(&self) -> u64 {
        self.decided.load(Ordering::Relaxed)
    }

    /// The weights, in the order given.
    pub fn weights(&self) -> &[u16] {
        &self.weights
    }

    /// What a successor should take over, by color.
    pub fn owed(&self) -> Vec<Owed> {
        match &self.schedule {
            None => self.owed.clone(),
            Some(schedule) => schedule.owed_after(self.decided(), &self.weights, &self.owed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Credit;
    use super::*;
    use proptest::prelude::*;

    /// |turns − n·w/W| ≤ 1 − 1/(2k−2), in whole numbers.
    fn within_bound(weights: &[u16], turns: &[u64]) -> bool {
        let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        let places: i128 = turns.iter().map(|turns| i128::from(*turns)).sum();
        let members = weights.iter().filter(|weight| **weight > 0).count();
        let denominator = i128::try_from((2 * members).saturating_sub(2).max(1)).unwrap();
        weights.iter().zip(turns).all(|(weight, turns)| {
            let off = (i128::from(*turns) * total - places * i128::from(*weight)).abs();
            off * denominator <= (denominator - 1) * total
        })
    }

    fn count(split: &Split, decisions: u64) -> Vec<u64> {
        let mut turns = vec![0; split.weights().len()];
        for _ in 0..decisions {
            turns[split.decide().unwrap()] += 1;
        }
        turns
    }

    #[test]
    fn promise_1_any_number_of_threads_share_one_sequence() {
        for threads in [1, 2, 3, 8] {
            let split = Split::new(vec![97, 3, 11], 1);
            let counts = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| count(&split, 7_777))).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
            });
            let turns: Vec<u64> = (0..3).map(|color| counts.iter().map(|count| count[color]).sum()).collect();
            assert!(within_bound(split.weights(), &turns), "{threads} threads: {turns:?}");
        }
    }

    #[test]
    fn promise_1_weights_that_change_faster_than_their_cycle_favour_no_color() {
        let weights = [[97, 3], [96, 4]];
        let mut split = Split::new(weights[0].to_vec(), 0);
        let (mut green, mut owed) = (0u64, 0u64);
        for change in 0..1000 {
            green += count(&split, 10)[1];
            owed += u64::from(split.weights()[1]) * 10;
            let owed_to = split.owed();
            split = Split::carrying(weights[(change + 1) % 2].to_vec(), owed_to, 0);
        }
        assert!((green * 100).abs_diff(owed) <= 50 + 1, "green got {green}, was owed {owed}/100");
    }

    /// Threads decide without pause while weights change under them, as connections do while snapshots
    /// are swapped. Every life is counted whole.
    #[test]
    fn promise_1_changes_under_load_favour_no_color() {
        use std::sync::atomic::AtomicBool;
        use std::sync::{Arc, Mutex};

        const LIVES: usize = 200;
        const WEIGHTS: [[u16; 2]; 5] = [[97, 3], [50, 50], [100, 0], [1, 999], [25, 75]];
        let start = Arc::new(Split::new(WEIGHTS[0].to_vec(), 0));
        let (current, over) = (Mutex::new((0usize, start)), AtomicBool::new(false));
        let lives = Mutex::new(vec![[0u64; 2]; LIVES]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let (life, split) = current.lock().unwrap().clone();
                        let color = split.decide().unwrap();
                        lives.lock().unwrap()[life][color] += 1;
                    }
                });
            }
            for life in 1..LIVES {
                let seen = current.lock().unwrap().1.decided();
                while current.lock().unwrap().1.decided() < seen + 20 {
                    std::thread::yield_now();
                }
                let mut current = current.lock().unwrap();
                let weights = WEIGHTS[life % WEIGHTS.len()].to_vec();
                *current = (life, Arc::new(Split::carrying(weights, current.1.owed(), 0)));
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut off = 0.0;
        for (life, [blue, green]) in lives.into_inner().unwrap().into_iter().enumerate() {
            let [weight, other] = WEIGHTS[life % WEIGHTS.len()];
            assert!(other > 0 || green == 0, "weight 0 got {green} in life {life}");
            let share = f64::from(weight) / f64::from(weight + other);
            off += blue as f64 - (blue + green) as f64 * share;
        }
        // What fresh starts leave over goes in either direction and must not add up.
        assert!(off.abs() < 10.0, "blue got {off} turns too many over {LIVES} lives");
    }

    #[test]
    fn a_change_after_a_whole_cycle_starts_afresh() {
        let split = Split::new(vec![3, 1], 0);
        count(&split, 5);
        assert!(split.owed().iter().all(|owed| owed.debt == Credit::ZERO));
    }

    #[test]
    fn all_weights_zero_decide_nothing() {
        assert_eq!(Split::new(vec![0, 0], 0).decide(), None);
    }

    proptest! {
        #[test]
        fn promise_1_every_prefix_since_a_fresh_start_is_within_the_bound(
            weights in prop::collection::vec(0u16..=1000, 1..=8),
            decisions in 0u64..3000,
            rotation in 0usize..8,
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let split = Split::new(weights, rotation);
            prop_assert!(within_bound(split.weights(), &count(&split, decisions)));
        }

        #[test]
        fn promise_1_two_colors_stay_within_half_a_turn_over_all_short_lives_together(
            lives in prop::collection::vec((1u16..=999, 0u64..200), 1..40),
        ) {
            let mut split = Split::new(vec![500, 500], 0);
            // Thousandths of a turn; short lives only, so that nothing is dropped in between.
            let (mut got, mut owed) = (0i64, 0i64);
            for (blue, decisions) in lives {
                let owed_to = split.owed();
                split = Split::carrying(vec![blue, 1000 - blue], owed_to, 0);
                let decisions = decisions.min(split.schedule.as_ref().unwrap().period() - 1);
                got += 1000 * i64::try_from(count(&split, decisions)[0]).unwrap();
                owed += i64::from(blue) * i64::try_from(decisions).unwrap();
                prop_assert!((got - owed).abs() <= 501, "got {got}, owed {owed}");
            }
        }

        #[test]
        fn several_colors_stay_within_a_turn_and_a_bit_over_short_lives(
            lives in prop::collection::vec((prop::collection::vec(1u16..=100, 4), 0u64..40), 1..40),
        ) {
            let mut split = Split::new(vec![1, 1, 1, 1], 0);
            let mut off = [0f64; 4];
            for (weights, decisions) in lives {
                let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
                split = Split::carrying(weights, split.owed(), 0);
                let decisions = decisions.min(split.schedule.as_ref().unwrap().period() - 1);
                for (color, turns) in count(&split, decisions).iter().enumerate() {
                    off[color] += *turns as f64 - decisions as f64 * f64::from(split.weights()[color]) / total;
                    prop_assert!(off[color].abs() < 2.0, "color {color} is off by {}", off[color]);
                }
            }
        }
    }
}
