//! Schedules: cyclic sequences in which every member comes exactly as often as its weight says, and
//! at every place as close to its share as any sequence can be.
//!
//! # The bound
//!
//! Let k be the number of members with weight above 0, W the sum of the weights divided by their
//! greatest common divisor, and δ = 1 − 1/(2k−2) (½ for k = 2, 0 for k = 1). After any number n of
//! places from the start, member i has been named x times with |x − n·wᵢ/W| ≤ δ. No sequence can do
//! better for every choice of weights: R. Tijdeman, "The chairman assignment problem", Discrete
//! Mathematics 32 (1980) 323–330, which also gives the rule used here.
//!
//! # The rule, and why it works
//!
//! Keeping the bound from below and from above gives the c-th turn of member i a first and a last
//! place where it may stand:
//!
//! - not before n ≥ (c − δ)·W/wᵢ, or the member would be ahead of its share by more than δ;
//! - not after  n ≤ (c − 1 + δ)·W/wᵢ + 1, or it would be behind by more than δ at the place before.
//!
//! At each place, of the members whose next turn may stand there, the one whose turn must come soonest
//! is taken (earliest deadline first). In any window of places the turns that must lie inside it number
//! at most the places of the window (Tijdeman's lemma, which is where δ comes from), so a turn is always
//! ready and none is late. After W places every member has had exactly wᵢ turns and the situation is
//! the one at the start, so W places repeated for ever keep the bound for ever.
//!
//! Ties are real choices: 1:1 may begin with either member. They go to the member that earlier schedules
//! left behind, else to the one that comes first counting from a rotation that differs from host to
//! host, so that many hosts do not move in step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Scale of [`Credit`]: 2³² units are one turn.
const TURN: i128 = 1 << 32;

/// Parts of a place that are told apart when deadlines are compared: two different deadlines of weights
/// up to 2¹⁶ are at least 1/2³² of a place apart.
const FRACTION: i128 = 1 << 34;

/// How far a member is behind its share, in turns: positive when it is owed something.
/// Fixed point with 32 bits after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Credit(i64);

impl Credit {
    /// Nothing owed.
    pub const ZERO: Self = Self(0);

    /// The sum, kept within one turn either way.
    fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).clamp(-ONE, ONE))
    }

    /// share − turns, where the share is `places` · `weight` / `total`, plus what was owed before.
    /// The result is kept within one turn either way.
    fn after(self, places: u64, turns: u64, share: Share) -> Self {
        let owed = i128::from(places) * i128::from(share.weight) * TURN / i128::from(share.total);
        let credit = i128::from(self.0) + owed - i128::from(turns) * TURN;
        Self(i64::try_from(credit.clamp(-TURN, TURN)).expect("clamped to 33 bits"))
    }
}

/// [`TURN`] in the type of a credit.
const ONE: i64 = 1 << 32;

/// What a member is owed when a schedule begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owed {
    /// Is paid back, and counts for the bound.
    pub debt: Credit,
    /// Was left over by schedules that ended, and decides ties only: paying it back would break the bound.
    pub left_over: Credit,
}

#[derive(Clone, Copy)]
struct Share {
    weight: u64,
    total: u64,
}

/// A cyclic sequence of member indexes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    places: Arc<[u16]>,
}

/// One member's next turn, ordered by the place where it must stand at the latest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    deadline: i128,
    tie: usize,
    member: usize,
    count: u64,
}

/// What the rule needs to know of all members, with weights divided by their common divisor.
struct Rule<'a> {
    weights: Vec<u64>,
    owed: &'a [Owed],
    total: u64,
    /// 2k − 2, at least 1: the denominator of δ.
    denominator: i128,
    /// The order of each member in a tie.
    ties: Vec<usize>,
}

impl Rule<'_> {
    /// The place, as a fraction of [`Self::unit`], where the member's share including its credit
    /// reaches `turns`; `turns` is a whole number of 1/(2k−2) turns.
    fn place_of(&self, turns: i128, member: usize) -> i128 {
        let credit = i128::from(self.owed[member].debt.0) * self.denominator;
        (turns * TURN - credit) * i128::from(self.total) * FRACTION / i128::from(self.weights[member])
    }

    /// One place, in the unit of [`Self::place_of`].
    fn unit(&self) -> i128 {
        self.denominator * TURN * FRACTION
    }

    /// The first place, counted from 1, where the member's `count`-th turn may stand.
    fn release(&self, count: u64, member: usize) -> u64 {
        let delta = self.denominator - 1;
        let earliest = self.place_of(i128::from(count) * self.denominator - delta, member);
        // Before the first place: at once.
        u64::try_from((earliest + self.unit() - 1).div_euclid(self.unit())).unwrap_or(0)
    }

    /// The turn with the last place where it may stand.
    fn turn(&self, count: u64, member: usize) -> Turn {
        let delta = self.denominator - 1;
        let deadline = self.place_of(i128::from(count - 1) * self.denominator + delta, member);
        Turn { deadline, tie: self.ties[member], member, count }
    }
}

impl Schedule {
    /// The longest cycle that is built, in places.
    pub const PLACES_MAX: u64 = 1 << 16;

    /// The schedule of these weights from a fresh start. `rotation` decides ties.
    ///
    /// Returns `None` when all weights are 0, or when the weights divided by their greatest common
    /// divisor sum up to more than [`Self::PLACES_MAX`].
    pub fn new(weights: &[u16], rotation: usize) -> Option<Self> {
        Self::carried(weights, &vec![Owed::default(); weights.len()], rotation)
    }

    /// The schedule of these weights that pays back the debts in `owed`, which has an entry per member.
    /// The bound then holds for debts and shares together.
    pub fn carried(weights: &[u16], owed: &[Owed], rotation: usize) -> Option<Self> {
        let divisor = u64::from(weights.iter().copied().fold(0, gcd));
        if divisor == 0 {
            return None;
        }
        let weights: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / divisor).collect();
        let total: u64 = weights.iter().sum();
        if total > Self::PLACES_MAX {
            return None;
        }
        let members = weights.iter().filter(|weight| **weight > 0).count();
        let denominator = i128::try_from((2 * members).saturating_sub(2).max(1)).expect("fits: at most 2^17");
        let ties = ties(owed, rotation);
        let rule = Rule { weights, owed, total, denominator, ties };
        Some(Self { places: rule_out(&rule).into() })
    }

    /// Places in one cycle: the sum of the weights divided by their greatest common divisor.
    pub fn period(&self) -> u64 {
        self.places.len() as u64
    }

    /// The member at place `index`, counted from 0; cycles repeat for ever.
    pub fn at(&self, index: u64) -> usize {
        let place = index % self.period();
        usize::from(self.places[usize::try_from(place).expect("below 2^16")])
    }

    /// What each member is owed after `places` places. After a whole cycle nothing is a debt any more;
    /// before that everything is.
    pub fn owed_after(&self, places: u64, weights: &[u16], owed: &[Owed]) -> Vec<Owed> {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let partial = usize::try_from(places % self.period()).expect("below 2^16");
        // Whole cycles owe nothing, so only the last one counts.
        let mut turns = vec![0u64; weights.len()];
        for member in &self.places[..partial] {
            turns[usize::from(*member)] += 1;
        }
        let after = |member: usize| {
            let share = Share { weight: u64::from(weights[member]), total };
            let Owed { debt, left_over } = owed[member];
            let credit = debt.after(partial as u64, turns[member], share);
            if places < self.period() {
                Owed { debt: credit, left_over }
            } else {
                Owed { debt: Credit::ZERO, left_over: left_over.plus(credit) }
            }
        };
        (0..weights.len()).map(after).collect()
    }
}

/// Who comes first in a tie: who was left behind most, then by rotation.
fn ties(owed: &[Owed], rotation: usize) -> Vec<usize> {
    let mut members: Vec<usize> = (0..owed.len()).collect();
    members.sort_by_key(|member| (Reverse(owed[*member].left_over), (member + rotation) % owed.len()));
    let mut ties = vec![0; owed.len()];
    for (order, member) in members.into_iter().enumerate() {
        ties[member] = order;
    }
    ties
}

/// Lays out one cycle.
fn rule_out(rule: &Rule<'_>) -> Vec<u16> {
    let mut waiting = BinaryHeap::new();
    let mut ready = BinaryHeap::new();
    let next = |count: u64, member: usize| Reverse((rule.release(count, member), rule.turn(count, member)));
    waiting.extend((0..rule.weights.len()).filter(|member| rule.weights[*member] > 0).map(|m| next(1, m)));
    let mut places = Vec::with_capacity(usize::try_from(rule.total).expect("at most 2^16"));
    for place in 1..=rule.total {
        while waiting.peek().is_some_and(|Reverse((release, _))| *release <= place) {
            ready.extend(waiting.pop().map(|Reverse((_, turn))| Reverse(turn)));
        }
        // Only a carried credit can leave a place without a turn that may stand there.
        let taken = ready.pop().or_else(|| waiting.pop().map(|Reverse((_, turn))| Reverse(turn)));
        let Reverse(turn) = taken.expect("the turns of a cycle number its places");
        places.push(u16::try_from(turn.member).expect("at most 2^16 members, as each has a turn"));
        if turn.count < rule.weights[turn.member] {
            waiting.push(next(turn.count + 1, turn.member));
        }
    }
    places
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Fails unless |turns − share| ≤ 1 − 1/(2k−2) at every place of two cycles, in whole numbers.
    fn assert_exact(weights: &[u16], rotation: usize) {
        let schedule = Schedule::new(weights, rotation).expect("some weight");
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        let members = weights.iter().filter(|weight| **weight > 0).count();
        let denominator = i64::try_from((2 * members).saturating_sub(2).max(1)).unwrap();
        let mut turns = vec![0i64; weights.len()];
        for index in 0..2 * schedule.period() {
            turns[schedule.at(index)] += 1;
            let places = i64::try_from(index).unwrap() + 1;
            for (weight, turns) in weights.iter().zip(&turns) {
                let off = (turns * total - places * i64::from(*weight)).abs();
                assert!(
                    off * denominator <= (denominator - 1) * total,
                    "{weights:?} after {places} places: {turns} turns for weight {weight}"
                );
            }
        }
    }

    #[test]
    fn promise_1_all_pairs_of_percentages_are_exact() {
        for first in 0..=100 {
            assert_exact(&[first, 100 - first], usize::from(first));
        }
    }

    #[test]
    fn the_judged_splits_are_exact() {
        for weights in
            [&[97, 3][..], &[50, 50], &[1, 999], &[5, 3, 2, 1], &[1000, 1000, 1, 999, 500, 3, 7, 1]]
        {
            for rotation in 0..weights.len() {
                assert_exact(weights, rotation);
            }
        }
    }

    #[test]
    fn promise_2_weight_zero_never_comes() {
        let schedule = Schedule::new(&[0, 7, 0], 0).unwrap();
        assert!((0..20).all(|index| schedule.at(index) == 1));
        assert_eq!(Schedule::new(&[0, 0], 0), None);
    }

    #[test]
    fn weights_are_reduced_and_bounded() {
        assert_eq!(Schedule::new(&[500, 500], 0).unwrap().period(), 2);
        assert_eq!(Schedule::new(&[1000, 999].repeat(40), 0), None);
    }

    #[test]
    fn who_was_left_behind_comes_first_among_equals() {
        let schedule = Schedule::new(&[1, 1], 0).unwrap();
        let owed = schedule.owed_after(3, &[1, 1], &[Owed::default(); 2]);
        assert_eq!(owed[1], Owed { debt: Credit::ZERO, left_over: Credit(ONE / 2) });
        assert_eq!(Schedule::carried(&[1, 1], &owed, 0).unwrap().at(0), 1);
    }

    #[test]
    fn promise_1_the_rotation_decides_who_comes_first_among_equals() {
        let first = |rotation| Schedule::new(&[1, 1], rotation).unwrap().at(0);
        assert_eq!((first(0), first(1)), (0, 1));
    }

    proptest! {
        #[test]
        fn any_weights_are_exact(weights in prop::collection::vec(0u16..=1000, 1..=8), rotation in 0usize..8) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            assert_exact(&weights, rotation);
        }

        #[test]
        fn small_weights_are_exact(weights in prop::collection::vec(0u16..=12, 2..=16), rotation in 0usize..16) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            assert_exact(&weights, rotation);
        }

        #[test]
        fn what_is_owed_sums_up_to_nothing(
            weights in prop::collection::vec(1u16..=50, 2..=8), places in 0u64..1000,
        ) {
            let schedule = Schedule::new(&weights, 0).unwrap();
            let owed = schedule.owed_after(places, &weights, &vec![Owed::default(); weights.len()]);
            let sum: i64 = owed.iter().map(|owed| owed.debt.0 + owed.left_over.0).sum();
            prop_assert!(sum.unsigned_abs() <= weights.len() as u64, "only rounding is left: {sum}");
        }
    }
}
