//! The health thread: checks go on whatever the control thread does, and a slow scrape never looks like
//! a dead endpoint.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::limits;
use crate::health::{FirstRound, Monitor, Parts};
use crate::state::{Base, SnapshotCell};

/// The running thread.
pub struct Checks {
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Checks {
    /// Starts checking what the snapshot names.
    ///
    /// # Errors
    /// The thread or its event queue cannot be made.
    pub fn start(snapshot: &SnapshotCell, base: &Base) -> io::Result<(Self, FirstRound)> {
        let parts = Parts {
            snapshot: Arc::clone(snapshot),
            live: Arc::clone(&base.live),
            problems: base.problems.clone(),
            checks_max: limits::checks_max(),
            seed: RandomState::new().hash_one(base.rotation),
        };
        let (monitor, first_round) = Monitor::new(parts);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = thread::Builder::new()
            .name("teal-health".to_owned())
            .spawn(move || runtime.block_on(monitor.run(until)))?;
        Ok((Self { stop, thread: Some(thread) }, first_round))
    }

    /// Ends the thread.
    pub fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, which is what is asked for.
            let _ = thread.join();
        }
    }
}
