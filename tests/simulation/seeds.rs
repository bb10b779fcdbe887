//! Plays many seeds on all cores, and shows the first one that fails so that it can be played again.
//!
//! `TEAL_SEEDS` says how many seeds (10,000 when absent), `TEAL_SEED` which single one.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 10_000;
/// Steps that a failure shows.
const SHOWN: usize = 40;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> Option<String> {
    let said = panic.downcast_ref::<String>().cloned();
    said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
}

fn fail(target: &str, seed: u64, log: &[String]) -> ! {
    let last = &log[log.len().saturating_sub(SHOWN)..];
    panic!("seed {seed}, after:\n{}\nreplay: TEAL_SEED={seed} cargo test --test {target}", last.join("\n"));
}

/// Plays all seeds; `play` gives back what was done where it failed.
pub fn play_all(target: &str, play: fn(u64) -> Result<(), Vec<String>>) {
    if let Some(seed) = number("TEAL_SEED") {
        return play(seed).unwrap_or_else(|log| fail(target, seed, &log));
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
        fail(target, seed, &log);
    }
}
