//! What teal counted, and whether it is exact.
//!
//! The check is the promise of the split: counted since the change of weights, every color is within
//! 1 − 1/(2k−2) of n·w/W, k being the number of colors with weight. The decisions are teal's own
//! counters; what clients were answered and what backends served must say the same.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cast::{Member, PerSide, Side};
use crate::state::SnapshotCell;

/// Reads the daemon's counters.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Where the snapshot is found.
    pub snapshot: SnapshotCell,
    /// The port of both services.
    pub port: u16,
}

/// The counters of one service at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Weights in effect.
    pub weights: PerSide<u16>,
    /// Decisions of all times, per color.
    pub decided: PerSide<u64>,
    /// Decisions since the last change of weights.
    pub since_change: u64,
}

/// How long a moment is waited for at which no decision is under way.
const CALM_WITHIN: Duration = Duration::from_secs(1);

impl Meter {
    /// The counters now. `None` when the service or a color is not there.
    pub fn read(&self, member: Member) -> Option<Reading> {
        let snapshot = self.snapshot.load();
        let port = snapshot.services.get(member.name())?.port(self.port)?;
        let of = |side: Side| {
            let color = port.colors.iter().find(|color| color.name.as_str() == side.name())?;
            Some((color.weight.get(), color.live.decisions.load(Ordering::Relaxed)))
        };
        let (blue, green) = (of(Side::Blue)?, of(Side::Green)?);
        let since_change = port.split.decided();
        Some(Reading { weights: [blue.0, green.0], decided: [blue.1, green.1], since_change })
    }

    /// The counters at a moment at which none of them moves, so that they belong together: others may
    /// open connections at the same time.
    pub async fn read_calm(&self, member: Member) -> Option<Reading> {
        let deadline = Instant::now() + CALM_WITHIN;
        loop {
            let (before, after) = (self.read(member)?, self.read(member)?);
            if after == before || Instant::now() > deadline {
                return Some(after);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// One service in one step: what was asked and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Which service.
    pub member: Member,
    /// Weights in effect.
    pub weights: PerSide<u16>,
    /// teal's decisions.
    pub decided: PerSide<u64>,
    /// Places of the split's sequence that were taken: as many as there were decisions.
    pub places: u64,
    /// What the answers that clients got tell.
    pub answered: PerSide<u64>,
    /// What backends served.
    pub served: PerSide<u64>,
    /// Which decisions these are.
    pub span: Span,
}

/// Which decisions of a set of weights were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All since the change.
    SinceChange,
    /// Later ones only, so that the bound holds at both ends.
    Within,
}

/// Something that is not as promised.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A color is further off than the bound.
    Split {
        /// Service.
        member: Member,
        /// Color.
        side: Side,
        /// Decisions for it.
        decided: u64,
        /// Its share.
        expected: f64,
        /// The bound.
        bound: f64,
    },
    /// A color of weight 0 was used.
    ZeroWeight {
        /// Service.
        member: Member,
        /// Color.
        side: Side,
        /// How often.
        times: u64,
    },
    /// Clients, backends and teal do not tell the same.
    Disagree {
        /// Service.
        member: Member,
        /// Color.
        side: Side,
        /// Answers.
        answered: u64,
        /// Calls at backends.
        served: u64,
        /// Decisions.
        decided: u64,
    },
    /// Answers in which old and new met.
    Mixed {
        /// How often.
        times: u64,
    },
    /// The split's sequence and the counters do not tell the same.
    Places {
        /// Service.
        member: Member,
        /// Places taken.
        places: u64,
        /// Decisions of all colors.
        decided: u64,
    },
    /// The weights in effect are not those of the step.
    Weights {
        /// Service.
        member: Member,
        /// In effect.
        found: PerSide<u16>,
        /// Asked for.
        asked: PerSide<u16>,
    },
    /// Connections failed.
    Failed {
        /// How many.
        times: u64,
        /// The first one's reason.
        reason: String,
    },
    /// A preview name answered something else, or not.
    Preview {
        /// The name.
        name: String,
        /// What came.
        got: String,
        /// What should have come.
        expected: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split { member, side, decided, expected, bound } => {
                let (member, side) = (member.name(), side.name());
                write!(f, "{member} {side} got {decided}, not within {bound:.2} of {expected:.2}")
            }
            Self::ZeroWeight { member, side, times } => {
                write!(f, "{} {} has weight 0 and got {times}", member.name(), side.name())
            }
            Self::Disagree { member, side, answered, served, decided } => {
                let (member, side) = (member.name(), side.name());
                write!(
                    f,
                    "{member} {side}: clients saw {answered}, backends {served}, teal decided {decided}"
                )
            }
            Self::Places { member, places, decided } => {
                write!(f, "{}: {places} places taken, but {decided} decisions counted", member.name())
            }
            Self::Weights { member, found, asked } => {
                let [blue, green] = found;
                write!(f, "{}'s weights are {blue}:{green}, not {}:{}", member.name(), asked[0], asked[1])
            }
            Self::Failed { times, reason } => write!(f, "{times} connections failed, the first: {reason}"),
            Self::Mixed { times } => write!(f, "old and new met in {times} answers"),
            Self::Preview { name, got, expected } => {
                write!(f, "{name} gave {got:?}, not {expected:?}")
            }
        }
    }
}

/// 1 − 1/(2k−2) for k colors with weight; 0 for one, which gets everything.
pub fn bound(weights: PerSide<u16>) -> f64 {
    let members = weights.iter().filter(|weight| **weight > 0).count();
    if members < 2 { 0.0 } else { 1.0 - 1.0 / (2.0 * members as f64 - 2.0) }
}

/// `count`·w/W of each color.
pub fn shares(weights: PerSide<u16>, count: u64) -> PerSide<f64> {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    weights.map(|weight| if total == 0.0 { 0.0 } else { count as f64 * f64::from(weight) / total })
}

/// Room for the error of floating point, far below any real deviation (a multiple of 1/2000).
const ROUNDING: f64 = 1e-6;

impl Count {
    /// The count between two readings of the same weights.
    pub fn between(
        member: Member,
        (before, after): (Reading, Reading),
        answered: PerSide<u64>,
        served: PerSide<u64>,
    ) -> Self {
        let decided = [0, 1].map(|side| after.decided[side].wrapping_sub(before.decided[side]));
        let span = if before.since_change == 0 { Span::SinceChange } else { Span::Within };
        let places = after.since_change.wrapping_sub(before.since_change);
        Self { member, weights: after.weights, decided, places, answered, served, span }
    }

    /// All decisions.
    pub fn total(&self) -> u64 {
        self.decided.iter().sum()
    }

    /// What each color should have got.
    pub fn expected(&self) -> PerSide<f64> {
        shares(self.weights, self.total())
    }

    /// How far each color may be off.
    pub fn bound(&self) -> f64 {
        match self.span {
            Span::SinceChange => bound(self.weights),
            Span::Within => 2.0 * bound(self.weights),
        }
    }

    /// How far the color that is furthest off is off.
    pub fn off(&self) -> f64 {
        let off =
            self.decided.iter().zip(self.expected()).map(|(got, expected)| (*got as f64 - expected).abs());
        off.fold(0.0, f64::max)
    }

    /// Decisions for connections that are not the demo's: people try the commands.
    pub fn of_others(&self) -> u64 {
        self.total().saturating_sub(self.answered.iter().sum())
    }

    /// Everything that is not as promised.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let member = self.member;
        if self.places != self.total() {
            faults.push(Fault::Places { member, places: self.places, decided: self.total() });
        }
        for side in Side::ALL {
            let index = side as usize;
            let (decided, expected) = (self.decided[index], self.expected()[index]);
            let (answered, served) = (self.answered[index], self.served[index]);
            if self.weights[index] == 0 {
                let times = decided.max(answered).max(served);
                if times > 0 {
                    faults.push(Fault::ZeroWeight { member, side, times });
                }
                continue;
            }
            if (decided as f64 - expected).abs() > self.bound() + ROUNDING {
                faults.push(Fault::Split { member, side, decided, expected, bound: self.bound() });
            }
            // Others add to the decisions only.
            if answered != served || answered > decided {
                faults.push(Fault::Disagree { member, side, answered, served, decided });
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(weights: PerSide<u16>, decided: PerSide<u64>) -> Count {
        let (answered, served, places) = (decided, decided, decided.iter().sum());
        Count { member: Member::B, weights, decided, places, answered, served, span: Span::SinceChange }
    }

    #[test]
    fn the_nearest_whole_numbers_are_exact() {
        for decided in [[77, 26], [78, 26], [300, 100], [0, 0]] {
            assert_eq!(count([75, 25], decided).faults(), [], "{decided:?}");
        }
        for decided in [[50, 51], [51, 50]] {
            assert_eq!(count([50, 50], decided).faults(), [], "{decided:?}");
        }
        assert_eq!(count([0, 100], [0, 402]).faults(), []);
    }

    #[test]
    fn one_connection_too_many_is_a_fault() {
        for decided in [[78, 25], [76, 27], [302, 99]] {
            let faults = count([75, 25], decided).faults();
            assert!(
                matches!(faults[..], [Fault::Split { .. }, Fault::Split { .. }]),
                "{decided:?}: {faults:?}"
            );
        }
        let fault = &count([75, 25], [78, 25]).faults()[0];
        assert_eq!(fault.to_string(), "serviceb blue got 78, not within 0.50 of 77.25");
    }

    #[test]
    fn a_color_of_weight_zero_that_is_used_is_a_fault() {
        let faults = count([100, 0], [99, 1]).faults();
        assert!(faults.contains(&Fault::ZeroWeight { member: Member::B, side: Side::Green, times: 1 }));
        let mut served_only = count([100, 0], [100, 0]);
        served_only.served = [100, 1];
        assert_eq!(
            served_only.faults(),
            [Fault::ZeroWeight { member: Member::B, side: Side::Green, times: 1 }]
        );
    }

    #[test]
    fn backends_that_tell_another_story_than_clients_are_a_fault() {
        let mut count = count([75, 25], [75, 25]);
        count.served = [76, 24];
        assert_eq!(count.faults().len(), 2);
    }

    #[test]
    fn an_answer_from_a_color_that_was_not_decided_is_a_fault() {
        let mut count = count([75, 25], [75, 25]);
        (count.answered, count.served) = ([76, 24], [76, 24]);
        assert!(matches!(count.faults()[..], [Fault::Disagree { side: Side::Blue, .. }]));
    }

    #[test]
    fn counters_that_count_twice_are_a_fault() {
        let mut count = count([75, 25], [154, 52]);
        (count.answered, count.served, count.places) = ([77, 26], [77, 26], 103);
        assert_eq!(count.faults(), [Fault::Places { member: Member::B, places: 103, decided: 206 }]);
    }

    #[test]
    fn connections_of_others_are_no_fault() {
        let mut count = count([75, 25], [78, 26]);
        (count.answered, count.served) = ([75, 26], [75, 26]);
        assert_eq!((count.faults(), count.of_others()), (vec![], 3));
    }

    #[test]
    fn a_span_that_begins_later_has_the_bound_at_both_ends() {
        let mut later = count([75, 25], [78, 25]);
        later.span = Span::Within;
        assert_eq!(later.faults(), []);
        later.decided = [79, 24];
        assert!(!later.faults().is_empty());
    }
}
