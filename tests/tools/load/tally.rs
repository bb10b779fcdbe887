//! What clients count: connections that worked, by answer, and those that failed, by reason.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

/// Counts of a run, shared by its tasks.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    answers: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    slowest_ok: Duration,
    slowest_failed: Duration,
}

impl Tally {
    /// Nothing counted yet; the clock starts.
    pub fn new() -> Self {
        Self { started: Instant::now(), counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one connection.
    pub fn add(&self, outcome: Result<String, Failure>) {
        let mut counts = self.counts();
        match outcome {
            Ok(answer) => *counts.answers.entry(answer).or_default() += 1,
            Err(failure) => *counts.errors.entry(failure.0).or_default() += 1,
        }
    }

    /// Counts one connection, and how long it took from connect to answer or failure.
    pub fn add_timed(&self, outcome: Result<String, Failure>, took: Duration) {
        let mut counts = self.counts();
        let slowest = if outcome.is_ok() { &mut counts.slowest_ok } else { &mut counts.slowest_failed };
        *slowest = took.max(*slowest);
        drop(counts);
        self.add(outcome);
    }

    /// Prints the counts as one line of JSON; the exit code says whether anything failed.
    pub fn print(&self) -> ExitCode {
        let counts = self.counts();
        let (ok, failed): (u64, u64) = (counts.answers.values().sum(), counts.errors.values().sum());
        let report = json!({
            "tried": ok + failed,
            "ok": ok,
            "failed": failed,
            "answers": counts.answers,
            "errors": counts.errors,
            "slowest_ok_ms": counts.slowest_ok.as_millis(),
            "slowest_failed_ms": counts.slowest_failed.as_millis(),
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        println!("{report}");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Why a connection failed: what was being done, and what the kernel said.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure that no system call reported.
    pub fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }

    /// A failure while `doing`.
    pub fn during(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self(format!("{doing}: {error}"))
    }
}
