//! Random choices that a seed repeats.

use teal::health::agenda::Random;

/// Random choices.
pub struct Dice(Random);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        // Seeds that are neighbours must not begin alike.
        let start = random.draw();
        Self(Random(start))
    }

    /// Anything below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.draw() % bound
    }

    /// From `first` to `last`, both included.
    pub fn between(&mut self, first: u16, last: u16) -> u16 {
        first + u16::try_from(self.below(u64::from(last - first) + 1)).expect("not above a u16")
    }

    /// True in so many of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// An index of something with so many members.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}
