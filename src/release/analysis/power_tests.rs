//! After how many connections of the new color a bad one fails: the table of docs/judgement.md.
//!
//! `TEAL_RELEASES` says how many stages are played for each row (200 when absent).

use super::testing::{Behaviour, Outcome, play, random};
use super::tests::{judgement, stage};
use super::*;

const GOOD: (f64, f64) = (0.005, 0.5);
/// A stage ends here.
const CONNECTIONS_MAX: u64 = 6000;
/// At the last, the old color is known by so many connections from before.
const PERCENTS: [i64; 3] = [10, 50, 100];
const BEFORE: u64 = 1000;

/// A color that fails in one way, beside one that fails in 0.1 % of connections.
struct Bad {
    name: &'static str,
    outcomes: &'static [(Outcome, f64)],
    first_byte: (f64, f64),
    /// Of the new color, until nine of ten are found out: at each of [`PERCENTS`].
    connections: [u64; 3],
}

const BAD: [Bad; 9] = [
    Bad {
        name: "refuses all",
        outcomes: &[(Outcome::Refused, 1.0)],
        first_byte: GOOD,
        connections: [10, 10, 5],
    },
    Bad {
        name: "resets all",
        outcomes: &[(Outcome::ResetBefore, 1.0)],
        first_byte: GOOD,
        connections: [10, 10, 5],
    },
    Bad {
        name: "answers empty",
        outcomes: &[(Outcome::Empty, 1.0)],
        first_byte: GOOD,
        connections: [10, 10, 5],
    },
    Bad {
        name: "hangs",
        outcomes: &[(Outcome::Unanswered, 1.0)],
        first_byte: GOOD,
        connections: [10, 10, 5],
    },
    Bad {
        name: "10 times slower",
        outcomes: &[(Outcome::Refused, 0.001)],
        first_byte: (0.05, 0.5),
        connections: [20, 50, 15],
    },
    Bad {
        name: "2 times slower",
        outcomes: &[(Outcome::Refused, 0.001)],
        first_byte: (0.1, 0.5),
        connections: [300, 600, 400],
    },
    Bad {
        name: "5 % refused",
        outcomes: &[(Outcome::Refused, 0.05)],
        first_byte: GOOD,
        connections: [300, 650, 400],
    },
    Bad {
        name: "5 % empty",
        outcomes: &[(Outcome::Empty, 0.05)],
        first_byte: GOOD,
        connections: [250, 550, 300],
    },
    Bad {
        name: "1 % refused",
        outcomes: &[(Outcome::Refused, 0.01)],
        first_byte: GOOD,
        connections: [2500, 5000, 6000],
    },
];

/// Connections of the new color at which half, and nine of ten, are found out; the last is the stage's end where
/// they are not.
fn found_after(bad: &Bad, percent: i64, runs: u64) -> (u64, u64) {
    let old_s = if bad.name == "2 times slower" { 0.05 } else { GOOD.0 };
    let old = Behaviour::new(&[(Outcome::Refused, 0.001)], (old_s, GOOD.1));
    let new = Behaviour::new(bad.outcomes, bad.first_byte);
    let mut found: Vec<_> = (0..runs)
        .map(|seed| {
            let mut facts = stage(percent, vec![(Sample::default(), Sample::default())]);
            let mut random = random(seed);
            if percent == 100 {
                let mut before = Sample::default();
                (0..BEFORE).for_each(|_| old.connect(&mut before, &mut random));
                facts.members[0].before = Some(before);
            }
            let times = CONNECTIONS_MAX * 100 / percent.unsigned_abs();
            let piece = 100 / percent.unsigned_abs();
            let colors = (&new, &old);
            play(&judgement(), &mut facts, colors, (times, piece), &mut random).unwrap_or(CONNECTIONS_MAX)
        })
        .collect();
    found.sort_unstable();
    (found[found.len() / 2], found[found.len() * 9 / 10])
}

#[test]
fn bad_colors_are_found_out_within_the_connections_that_the_docs_state() {
    let given = std::env::var("TEAL_RELEASES").ok();
    let runs = given.map_or(20, |text| text.parse().expect("TEAL_RELEASES is a number"));
    for bad in &BAD {
        for (percent, stated) in PERCENTS.into_iter().zip(bad.connections) {
            let (half, most) = found_after(bad, percent, runs);
            println!("{}, at {percent} %: half after {half}, nine of ten after {most}", bad.name);
            assert!(most <= stated, "{} at {percent} %: {most}, {stated} stated", bad.name);
        }
    }
}
