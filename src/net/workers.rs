//! Worker threads: each has a runtime of its own, so that a connection stays on one core from accept
//! to close.
//!
//! Started by the daemon. What runs on them is an argument.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::names::WORKER_LOOP_LAG;
use crate::telemetry::stripes::become_worker;

/// Threads with a current-thread runtime each.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    stop: CancellationToken,
}

/// How often each worker measures how late its timers are.
const LAG_PERIOD: Duration = Duration::from_secs(1);

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// A thread or its event queue cannot be made.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let mut workers = Self {
            handles: Vec::with_capacity(count.get()),
            threads: Mutex::default(),
            stop: CancellationToken::new(),
        };
        for index in 0..count.get() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.handles.push(runtime.handle().clone());
            let stop = workers.stop.clone();
            let thread = thread::Builder::new().name(format!("teal-worker-{index}")).spawn(move || {
                become_worker(index);
                runtime.spawn(measure_lag(index));
                runtime.block_on(stop.cancelled());
            })?;
            workers.threads().push(thread);
        }
        Ok(workers)
    }

    /// As many as cores that this process may use.
    pub fn default_count() -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Runs `future` on the worker with this index, counted from 0 and modulo their number.
    pub fn spawn_on<F>(&self, index: usize, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.handles[index % self.handles.len()].spawn(future)
    }

    /// Ends the threads and drops what still runs on them. Blocks until they have ended; call it from
    /// outside of them.
    pub fn shutdown(&self) {
        self.stop.cancel();
        for thread in self.threads().drain(..) {
            // A worker that panicked has ended, which is what is asked for.
            let _ = thread.join();
        }
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<thread::JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn measure_lag(index: usize) {
    let gauge = metrics::gauge!(WORKER_LOOP_LAG.name, "worker" => index.to_string());
    loop {
        let due = Instant::now() + LAG_PERIOD;
        tokio::time::sleep_until(due).await;
        gauge.set(due.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_future_runs_on_the_worker_it_was_given_to() {
        let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
        for index in 0..2 {
            let name = workers.spawn_on(index, async { thread::current().name().map(str::to_owned) }).await;
            assert_eq!(name.unwrap().unwrap(), format!("teal-worker-{index}"));
        }
        workers.shutdown();
    }
}
