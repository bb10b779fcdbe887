//! A seeded simulation of everything that decides: random changes of snapshots, releases that open and close, health,
//! failing tries and picks, held after every step against a simple model of promises 1, 2, 5, 6 and 8.
//!
//! `TEAL_SEEDS` says how many seeds (10,000 when absent), `TEAL_SEED` which single one, with its steps.

mod configs;
mod dice;
mod lanes;
mod oracle;
mod seeds;
mod split;
mod tries;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// What one seed does.
const STEPS: usize = 80;

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
fn promise_1_2_5_6_and_8_hold_after_every_step_of_any_seed() {
    seeds::play_all("simulation", play);
}
