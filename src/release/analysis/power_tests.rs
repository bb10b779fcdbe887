//! After how many connections of the new color a bad one fails: the table of docs/judgement.md.
//!
//! `TEAL_RELEASES` says how many stages are played for each row (200 when absent).

use super::testing::{Behaviour, Outcome, play, random};
use super::tests::{judgement, stage};
use super::*;

const GOOD: (f64, f64) = (0.005, 0.5);
/// A stage ends here.
const CONNECTIONS_MAX: u64 = 2000;

/// A color that fails in one way, beside one that fails in 0.1 % of connections.
struct Bad {
    name: &'static str,
    outcomes: &'static [(Outcome, f64)],
    first_byte: (f64, f64),
    /// Of the new color, until nine of ten are found out: at 10 %, at 50 %.
    connections: [u64; 2],
}

const BAD: [Bad; 9] = [
    Bad {
        name: "refuses all",
        outcomes: &[(Outcome::Refused, 1.0)],
        first_byte: GOOD,
        connections: [10, 20],
    },
    Bad {
        name: "resets all",
        outcomes: &[(Outcome::ResetBefore, 1.0)],
        first_byte: GOOD,
        connections: [10, 20],
    },
    Bad {
        name: "answers empty",
        outcomes: &[(Outcome::Empty, 1.0)],
        first_byte: GOOD,
        connections: [10, 20],
    },
    Bad { name: "hangs", outcomes: &[(Outcome::Unanswered, 1.0)], first_byte: GOOD, connections: [10, 20] },
    Bad {
        name: "10 times slower",
        outcomes: &[(Outcome::Refused, 0.001)],
        first_byte: (0.05, 0.5),
        connections: [30, 60],
    },
    Bad {
        name: "2 times slower",
        outcomes: &[(Outcome::Refused, 0.001)],
        first_byte: (0.1, 0.5),
        connections: [350, 600],
    },
    Bad {
        name: "5 % refused",
        outcomes: &[(Outcome::Refused, 0.05)],
        first_byte: GOOD,
        connections: [400, 600],
    },
    Bad { name: "5 % empty", outcomes: &[(Outcome::Empty, 0.05)], first_byte: GOOD, connections: [400, 600] },
    Bad {
        name: "1 % refused",
        outcomes: &[(Outcome::Refused, 0.01)],
        first_byte: GOOD,
        connections: [2000, 2000],
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
            let times = CONNECTIONS_MAX * 100 / percent.unsigned_abs();
            let piece = 100 / percent.unsigned_abs();
            let colors = (&new, &old);
            play(&judgement(), &mut facts, colors, (times, piece), &mut random(seed))
                .unwrap_or(CONNECTIONS_MAX)
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
        for (percent, stated) in [10, 50].into_iter().zip(bad.connections) {
            let (half, most) = found_after(bad, percent, runs);
            println!("{}, at {percent} %: half after {half}, nine of ten after {most}", bad.name);
            assert!(most <= stated, "{} at {percent} %: {most}, {stated} stated", bad.name);
        }
    }
}
