//! Promise 1 for one service and port: turns counted, and held against the bound.
//!
//! The bound is that of `ARCHITECTURE.md`, "The split": from a fresh start it is 1 − 1/(2k−2) after any number
//! of decisions. Weights that change before they have run a whole cycle hand on what each color is owed;
//! then two colors stay within half a turn over all those lives together, more colors, or colors that come and go,
//! within two turns.

use std::collections::BTreeSet;

use teal::model::ColorName;

/// How far more than two colors may stray over lives shorter than their cycle, in turns.
const SHORT_LIVES_MAX: f64 = 2.0;

/// One service's weights on one port since they last changed.
#[derive(Debug)]
pub struct SplitOracle {
    weights: Vec<(ColorName, u16)>,
    turns: Vec<u64>,
    /// What each color was owed at the start, in turns; absent after a fresh start.
    owed: Option<Vec<f64>>,
    /// Colors that had weight since the last fresh start.
    involved: BTreeSet<ColorName>,
    /// Whether one of them left since then, and what it was owed with it.
    is_short: bool,
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl SplitOracle {
    pub fn new(weights: &[(ColorName, u16)]) -> Self {
        let mut split = Self {
            weights: weights.to_vec(),
            turns: vec![0; weights.len()],
            owed: None,
            involved: BTreeSet::new(),
            is_short: false,
        };
        split.involve();
        split
    }

    fn involve(&mut self) {
        let with_weight = self.weights.iter().filter(|(_, weight)| *weight > 0);
        self.involved.extend(with_weight.map(|(name, _)| name.clone()));
    }

    fn total(&self) -> u64 {
        self.weights.iter().map(|(_, weight)| u64::from(*weight)).sum()
    }

    fn decisions(&self) -> u64 {
        self.turns.iter().sum()
    }

    /// How far a color is behind its share, in turns.
    fn behind(&self, index: usize) -> f64 {
        let owed = self.owed.as_ref().map_or(0.0, |owed| owed[index]);
        let total = self.total().max(1) as f64;
        let share = self.decisions() as f64 * f64::from(self.weights[index].1) / total;
        owed + share - self.turns[index] as f64
    }

    /// The weights are these now.
    pub fn change(&mut self, weights: &[(ColorName, u16)]) {
        if self.weights == weights {
            return;
        }
        let common = self.weights.iter().fold(0, |common, (_, weight)| divisor(common, u64::from(*weight)));
        let is_whole = common > 0 && self.decisions() >= self.total() / common;
        let is_fresh = is_whole || (self.owed.is_none() && self.decisions() == 0);
        if is_fresh {
            *self = Self::new(weights);
            return;
        }
        let has = |name: &ColorName| weights.iter().any(|(now, _)| now == name);
        self.is_short |= self.weights.iter().any(|(name, _)| !has(name));
        let owed = |(name, _): &(ColorName, u16)| {
            let before = self.weights.iter().position(|(before, _)| before == name);
            before.map_or(0.0, |index| self.behind(index).clamp(-1.0, 1.0))
        };
        self.owed = Some(weights.iter().map(owed).collect());
        (self.weights, self.turns) = (weights.to_vec(), vec![0; weights.len()]);
        self.involve();
    }

    /// A connection was decided to be `color`'s.
    pub fn decided(&mut self, color: &ColorName) {
        let index = self.weights.iter().position(|(name, _)| name == color);
        let index = index.unwrap_or_else(|| panic!("promise 1: {color} is no color of the service"));
        assert!(self.weights[index].1 > 0, "promise 2: the split chose {color}, which has weight 0");
        self.turns[index] += 1;
        let is_kept = (0..self.turns.len()).all(|index| self.is_within(index));
        assert!(is_kept, "promise 1: {self:?}");
    }

    fn is_within(&self, index: usize) -> bool {
        if self.owed.is_some() {
            let bound = if self.involved.len() <= 2 && !self.is_short { 0.5 } else { SHORT_LIVES_MAX };
            return self.behind(index).abs() <= bound + 1e-6;
        }
        // |x − n·w/W| ≤ 1 − 1/(2k−2), in whole numbers.
        let members = self.weights.iter().filter(|(_, weight)| *weight > 0).count() as u64;
        let (total, share) = (self.total(), self.decisions() * u64::from(self.weights[index].1));
        let off = (self.turns[index] * total).abs_diff(share);
        let denominator = (2 * members).saturating_sub(2).max(1);
        off * denominator <= (denominator - 1) * total
    }
}
