//! Colors that behave as they are told, connection by connection, from a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use statrs::function::erf::erf;

use super::judging::{Bounds, Control, weigh};
use super::{FirstBytes, Sample, StageFacts, hard_failure};
use crate::model::release::Judgement;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Refused,
    ResetBefore,
    Empty,
    Unanswered,
    ResetAfter,
    Early,
    Stalled,
}

/// All of them.
pub const OUTCOMES: [Outcome; 7] = [
    Outcome::Refused,
    Outcome::ResetBefore,
    Outcome::Empty,
    Outcome::Unanswered,
    Outcome::ResetAfter,
    Outcome::Early,
    Outcome::Stalled,
];

/// How a color behaves: outcomes with their probabilities, and a log-normal time to the first byte.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// In parts of 2³², cumulative.
    outcomes: Vec<(u64, Outcome)>,
    first_byte: Vec<u32>,
}

const PARTS: f64 = 4_294_967_295.0;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2³²")]
fn parts(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * PARTS) as u32
}

impl Behaviour {
    pub fn new(outcomes: &[(Outcome, f64)], (median_s, sigma): (f64, f64)) -> Self {
        let mut sum = 0.0;
        let cumulative = outcomes.iter().map(|(outcome, probability)| {
            sum += probability;
            (u64::from(parts(sum)), *outcome)
        });
        let normal = |z: f64| 0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2));
        let within = |bound: &f64| parts(normal((bound / median_s).ln() / sigma));
        let outcomes = cumulative.collect();
        Self { outcomes, first_byte: FirstBytes::bounds().iter().map(within).collect() }
    }

    /// One more connection.
    pub fn connect(&self, sample: &mut Sample, random: &mut StdRng) {
        let drawn = random.next_u64();
        let (what, how_long) = (drawn >> 32, u32::try_from(drawn & 0xffff_ffff).unwrap());
        let outcome = self.outcomes.iter().find(|(below, _)| what < *below).map(|(_, outcome)| *outcome);
        sample.tried += 1;
        if outcome != Some(Outcome::Refused) {
            sample.served += 1;
            sample.ended += 1;
        }
        let is_answered = match outcome {
            Some(Outcome::Refused) => count(&mut sample.failed, false),
            Some(Outcome::ResetBefore) => count(&mut sample.reset_before, false),
            Some(Outcome::Empty) => count(&mut sample.empty, false),
            Some(Outcome::Unanswered) => count(&mut sample.unanswered, false),
            Some(Outcome::ResetAfter) => count(&mut sample.reset_after, true),
            Some(Outcome::Early) => count(&mut sample.early, true),
            Some(Outcome::Stalled) => count(&mut sample.stalled, true),
            None => true,
        };
        if is_answered {
            sample.in_a_row = 0;
            sample.first_byte.counts.resize(self.first_byte.len() + 1, 0);
            sample.first_byte.counts[self.first_byte.partition_point(|within| *within < how_long)] += 1;
        } else {
            sample.in_a_row += 1;
        }
    }
}

fn count(counter: &mut u64, is_answered: bool) -> bool {
    *counter += 1;
    is_answered
}

pub fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A number of 0 to 1.
pub fn share(random: &mut StdRng) -> f64 {
    f64::from(u32::try_from(random.next_u64() >> 32).unwrap()) / PARTS
}

/// One of these.
pub fn one_of<T: Copy>(random: &mut StdRng, choices: &[T]) -> T {
    choices[usize::try_from(random.next_u64() % choices.len() as u64).unwrap()]
}

/// Whether the verdict is fail: what [`super::judge`] decides, without the words.
pub fn fails(judgement: &Judgement, stage: &StageFacts) -> bool {
    let bound = Bounds::of(stage).fails;
    let is_worse = |member| {
        let control = Control::of(member, stage.min_connections);
        weigh(judgement, &member.new, &control.sample).iter().any(|weighed| weighed.evidence >= bound)
    };
    stage.members.iter().any(is_worse)
}

/// Connections of a stage go to the members' colors in turn, by weight, `times` of each member; after each piece
/// of so many somebody looks. Says after how many of the new color it failed, if it did.
pub fn play(
    judgement: &Judgement,
    stage: &mut StageFacts,
    (new, old): (&Behaviour, &Behaviour),
    (times, piece): (u64, u64),
    random: &mut StdRng,
) -> Option<u64> {
    let percent = u64::from(stage.percent.get());
    for number in 1..=times {
        for index in 0..stage.members.len() {
            let member = &mut stage.members[index];
            // The fairest schedule of two: the new color's share of the first n, rounded.
            let turn = |n: u64| (n * percent + 50) / 100;
            if turn(number) > turn(number - 1) {
                new.connect(&mut member.new, random);
                let is_hard = member.new.in_a_row >= judgement.consecutive_failures_max
                    && hard_failure(judgement, stage).is_some();
                if is_hard {
                    return Some(stage.members[index].new.tried);
                }
            } else {
                old.connect(&mut member.old, random);
            }
        }
        if number % piece == 0 && fails(judgement, stage) {
            return Some(stage.members[0].new.tried);
        }
    }
    None
}
