//! A seeded simulation of releases: random operators, edits of the file, flaps of health, verdicts, gates, a journal
//! that fails, crashes and clocks that jump, held after every step against a simple model of what a release may do.
//!
//! `TEAL_SEEDS` says how many seeds (10,000 when absent), `TEAL_SEED` which single one, with its steps.

#[path = "../simulation/dice.rs"]
mod dice;
mod oracle;
mod scene;
#[path = "../simulation/seeds.rs"]
mod seeds;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// What one seed does before everything is well again and somebody brings the release to its end.
const STEPS: usize = 100;
/// Seeds that are played twice.
const TWICE: u64 = 200;

/// Plays one seed; what was done, when it failed.
fn play(seed: u64) -> Result<(), Vec<String>> {
    let mut world = World::new(seed);
    let played = catch_unwind(AssertUnwindSafe(|| {
        (0..STEPS).for_each(|_| world.step());
        world.finish();
    }));
    played.map_err(|panic| {
        world.log.extend(seeds::said(&*panic));
        world.log
    })
}

#[test]
fn promise_11_and_12_hold_after_every_step_of_any_seed() {
    seeds::play_all("release", play);
}

#[test]
fn the_seeds_go_everywhere() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..TWICE {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        seen.extend(world.seen);
    }
    let everywhere = [
        "Confirmed",
        "RolledBack",
        "Undone",
        "a deadline is over",
        "a gate did not pass",
        "awaiting_confirm",
        "baking",
        "closed",
        "confirmed",
        "confirming",
        "failed",
        "frozen",
        "held by hand",
        "inconclusive verdict",
        "judging",
        "rolling_back",
        "shifting",
        "the daemon was restarted",
        "the file changed weights",
        "the journal cannot be written",
        "too few working endpoints",
    ];
    let missed: Vec<_> = everywhere.iter().filter(|place| !seen.contains(**place)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn a_seed_always_leaves_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        world.finish();
        world.trace
    };
    let traces: Vec<u64> = (0..TWICE).map(trace).collect();
    assert_eq!(traces, (0..TWICE).map(trace).collect::<Vec<_>>());
    let different: std::collections::BTreeSet<_> = traces.iter().collect();
    assert!(different.len() > 190, "only {} different traces", different.len());
}
