//! A seeded simulation of everything that decides: random changes of snapshots, releases that open and close, health,
//! failing tries and picks, held after every step against a simple model of promises 1, 2, 5, 6 and 8.
//!
//! `TEAL_SEEDS` says how many seeds (10,000 when absent), `TEAL_SEED` which single one, with its steps.

mod configs;
mod dice;
mod lanes;
mod oracle;
mod split;
mod tries;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

const SEEDS: u64 = 10_000;
/// What one seed does.
const STEPS: usize = 80;
/// Steps that a failure shows.
const SHOWN: usize = 40;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

/// Plays one seed; what was done, when it failed.
fn play(seed: u64) -> Result<(), Vec<String>> {
    let mut world = World::new(seed);
    let played = catch_unwind(AssertUnwindSafe(|| {
        (0..STEPS).for_each(|_| world.step());
        world.finish();
    }));
    played.map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        world.log.extend(said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)));
        world.log
    })
}

fn fail(seed: u64, log: &[String]) -> ! {
    let last = &log[log.len().saturating_sub(SHOWN)..];
    panic!("seed {seed}, after:\n{}\nreplay: TEAL_SEED={seed} cargo test --test simulation", last.join("\n"));
}

#[test]
fn promise_1_2_5_6_and_8_hold_after_every_step_of_any_seed() {
    if let Some(seed) = number("TEAL_SEED") {
        return play(seed).unwrap_or_else(|log| fail(seed, &log));
    }
    let (seeds, next) = (number("TEAL_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = std::thread::scope(|scope| {
        let work = || loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return None;
            }
            if let Err(log) = play(seed) {
                next.store(seeds, Ordering::Relaxed);
                return Some((seed, log));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("play catches panics")).min()
    });
    if let Some((seed, log)) = found {
        fail(seed, &log);
    }
}
