//! How often an equally good color fails, over all looks, signals, members and stages of a release.
//!
//! `TEAL_RELEASES` says how many releases are played (10,000 when absent).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::testing::{Behaviour, OUTCOMES, fails, one_of, play, random, share};
use super::tests::{judgement, stage};
use super::*;
use crate::model::release::Judgement;

const RELEASES: u64 = 10_000;
/// Looks at a stage. The engine looks more often, but never without new connections.
const LOOKS: u64 = 25;

/// A release of a color that behaves just like the old one; whether it failed.
fn fails_by_chance(seed: u64) -> bool {
    let mut random = random(seed);
    let judgement = Judgement {
        failures_max_per_10000: None,
        first_byte_ratio_max_percent: one_of(&mut random, &[100, 130, 200]),
        first_byte_floor: Duration::from_millis(one_of(&mut random, &[0, 1, 20])),
        consecutive_failures_max: one_of(&mut random, &[5, 10, 20]),
        ..judgement()
    };
    let rate = one_of(&mut random, &[0.0, 0.001, 0.01, 0.05, 0.3]);
    let outcomes = OUTCOMES.map(|outcome| (outcome, rate * 2.0 * share(&mut random) / OUTCOMES.len() as f64));
    let median_s = 0.0003 * 1000_f64.powf(share(&mut random));
    let behaviour = Behaviour::new(&outcomes, (median_s, 0.3 + 1.5 * share(&mut random)));
    let steps = one_of(&mut random, &[&[10, 50, 100][..], &[50, 100], &[1, 10, 25, 90, 100], &[100]]);
    let members = one_of(&mut random, &[1, 1, 2, 3]);
    let mut before = Sample::default();
    for _ in 0..one_of(&mut random, &[300, 1000]) {
        behaviour.connect(&mut before, &mut random);
    }
    let mut before = vec![before; members];
    for percent in steps {
        let mut facts = stage(*percent, vec![(Sample::default(), Sample::default()); members]);
        facts.comparisons = steps.len() * members;
        for (member, before) in facts.members.iter_mut().zip(&before) {
            member.before = Some(before.clone());
        }
        let times = one_of(&mut random, &[300, 600, 1500]);
        if play(&judgement, &mut facts, (&behaviour, &behaviour), (times, times / LOOKS), &mut random)
            .is_some()
        {
            return true;
        }
        for (member, before) in facts.members.iter().zip(&mut before) {
            *before = before.plus(&member.old);
        }
    }
    false
}

#[test]
fn an_equally_good_color_fails_in_at_most_one_of_a_thousand_releases() {
    let given = std::env::var("TEAL_RELEASES").ok();
    let releases = given.map_or(RELEASES, |text| text.parse().expect("TEAL_RELEASES is a number"));
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= releases {
                        return;
                    }
                    failed.fetch_add(u64::from(fails_by_chance(seed)), Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{failed} of {releases} releases of an equally good color failed");
    assert!(failed * 1000 <= releases, "{failed} of {releases}");
}

#[test]
fn the_simulation_decides_as_the_judgement_does() {
    let mut random = random(1);
    for _ in 0..200 {
        let behaviour = |rate: f64| Behaviour::new(&OUTCOMES.map(|outcome| (outcome, rate)), (0.005, 0.5));
        let (new, old) = (behaviour(0.03 * share(&mut random)), behaviour(0.001));
        let mut facts = stage(50, vec![(Sample::default(), Sample::default())]);
        let never = Judgement { consecutive_failures_max: u32::MAX, ..judgement() };
        play(&never, &mut facts, (&new, &old), (400, 1000), &mut random);
        assert_eq!(fails(&never, &facts), judge(&never, &facts).kind == VerdictKind::Fail);
    }
}
