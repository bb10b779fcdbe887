//! Says when a configuration has changed and is complete.
//!
//! `daemon` makes a [`Watcher`] *before* it first reads the configuration, so that nothing falls between,
//! and runs it as a task. Whoever wants to read at another moment (SIGHUP, `teal reload`) does so through
//! the [`WatchHandle`], which waits for writers. Nothing here knows what a configuration means: a report
//! may be followed by the same text as before, which the receiver sees by its hash.
//!
//! Seen are: a rename over the file, a symlink swapped anywhere on its path, a write that ends with a
//! close, and in a folder the same for `teal.toml` and `conf.d/*.toml`. A file that somebody wrote to is
//! not reported before it is closed. Not seen are writes through a memory map, on another machine of a
//! network file system, or a rename on the outer side of a bind-mounted single file: these need
//! `teal reload`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::files::{self, ReadError};
use super::inotify::{Drained, Key, Notifications, WatchError};
use super::pending::{Pending, Report};
use super::polling::{POLL_INTERVAL, Poll};
use crate::config::Sources;

/// How long a reload by hand waits for somebody who is writing.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Between looks whether a writer has finished, while somebody waits for that, and before more of a flood
/// of events is taken in.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Between reading and the look that decides whether somebody began to write meanwhile. The kernel cuts
/// a file, or copies into it, first, and tells us when it is done with that.
const SECOND_LOOK: Duration = Duration::from_millis(5);
/// The same when a file was found empty, which is what one that is about to be written looks like.
const SECOND_LOOK_EMPTY: Duration = Duration::from_millis(100);

/// Watches a configuration until it is told to stop.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

/// Asks a [`Watcher`], also while it runs. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct WatchHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: PathBuf,
    state: Mutex<State>,
    /// The task has to look again: what it sleeps for has changed.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    settle: Duration,
    pending: Pending<Key>,
    /// Absent: the kernel does not watch for us, so we poll.
    notifications: Option<Notifications>,
    /// What the task has to hear: an error that somebody else met.
    failed: Option<WatchError>,
}

/// What the task does next.
struct Step {
    report: Report,
    wake_at: Option<Instant>,
}

/// Why a way of watching ended.
enum Ended {
    Stopped,
    Failed(WatchError),
}

impl Watcher {
    /// Begins to watch the file or folder `config`, which need not exist yet. A change is reported once
    /// nothing has changed for `settle`. When the kernel refuses to watch, this is logged, and the
    /// configuration is looked at every 2 s instead.
    pub fn new(config: &Path, settle: Duration) -> Self {
        let mut pending = Pending::default();
        let notifications =
            Notifications::start(config, &mut pending).inspect_err(|error| warn_polling(config, error)).ok();
        let state = Mutex::new(State { settle, pending, notifications, failed: None });
        Self { shared: Arc::new(Shared { config: config.to_owned(), state, wake: Notify::new() }) }
    }

    /// What others ask this watcher through.
    pub fn handle(&self) -> WatchHandle {
        WatchHandle { shared: Arc::clone(&self.shared) }
    }

    /// Calls `changed`, which must return at once, after each change, until `stop` is cancelled. With no
    /// settle time, the call follows a rename or close within milliseconds.
    pub async fn run(self, mut changed: impl FnMut() + Send, stop: CancellationToken) {
        let descriptor = self.shared.lock().notifications.as_ref().map(Notifications::descriptor);
        if let Some(descriptor) = descriptor {
            match self.run_inotify(descriptor, &mut changed, &stop).await {
                Ended::Stopped => return,
                Ended::Failed(error) => {
                    warn_polling(&self.shared.config, &error);
                    let mut state = self.shared.lock();
                    state.notifications = None;
                    state.pending = Pending::default();
                    drop(state);
                    // What happened until now may have been missed.
                    changed();
                }
            }
        }
        self.run_polling(&mut changed, &stop).await;
    }

    async fn run_inotify(
        &self,
        descriptor: Arc<OwnedFd>,
        changed: &mut (impl FnMut() + Send),
        stop: &CancellationToken,
    ) -> Ended {
        let readable = match register(descriptor) {
            Ok(readable) => readable,
            Err(error) => return Ended::Failed(WatchError::of(&error)),
        };
        loop {
            let step = match self.shared.step() {
                Ok(step) => step,
                Err(error) => return Ended::Failed(error),
            };
            if step.report == Report::Now {
                changed();
            }
            tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = sleep_until(step.wake_at) => {}
                () = self.shared.wake.notified() => {}
                ready = readable.readable() => match ready {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(error) => return Ended::Failed(WatchError::of(&error)),
                },
            }
        }
    }

    async fn run_polling(&self, changed: &mut (impl FnMut() + Send), stop: &CancellationToken) {
        let mut poll = Poll::new(&self.shared.config);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            if poll.look(&self.shared.config) == Report::Now {
                changed();
            }
        }
    }
}

impl WatchHandle {
    /// A file of the configuration that somebody has written to and not closed yet, as far as the
    /// kernel tells: nothing while the configuration is polled.
    pub fn being_written(&self) -> Option<PathBuf> {
        self.shared.look().being_written
    }

    /// Whether somebody is in the middle of writing the configuration.
    pub fn is_being_written(&self) -> bool {
        self.being_written().is_some()
    }

    /// Changes the settle time.
    pub fn set_settle(&self, settle: Duration) {
        self.shared.lock().settle = settle;
        self.shared.wake.notify_one();
    }

    /// Reads the configuration, but not while somebody writes it: waits `patience` for that to end, and
    /// reads again if somebody began meanwhile. [`PATIENCE`] suits. To be used after a report as well,
    /// since the next writer may come at any moment.
    ///
    /// # Errors
    /// It cannot be read, or is still being written.
    pub async fn read(&self, patience: Duration) -> Result<Sources, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            let before = self.shared.look();
            if let Some(path) = before.being_written {
                if Instant::now() >= deadline {
                    return Err(ReadError::BeingWritten { path, waited: patience });
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            let config = self.shared.config.clone();
            let read = tokio::task::spawn_blocking(move || files::read(&config)).await;
            let result = read.unwrap_or_else(|error| {
                Err(ReadError::Io { path: self.shared.config.clone(), source: error.into() })
            });
            tokio::time::sleep(second_look(&result)).await;
            if self.shared.look().disturbances == before.disturbances {
                return result;
            }
            if Instant::now() >= deadline {
                return Err(ReadError::Unstable { path: self.shared.config.clone() });
            }
        }
    }
}

fn second_look(result: &Result<Sources, ReadError>) -> Duration {
    let has_empty =
        result.as_ref().is_ok_and(|sources| sources.files.iter().any(|file| file.text.is_empty()));
    if has_empty { SECOND_LOOK_EMPTY } else { SECOND_LOOK }
}

/// The state at one moment.
struct Look {
    being_written: Option<PathBuf>,
    disturbances: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happened until now, and decides.
    fn step(&self) -> Result<Step, WatchError> {
        let mut state = self.lock();
        let settle = state.settle;
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let drained = state.drain(&self.config)?;
        let State { pending, notifications, .. } = &mut *state;
        let now = Instant::now();
        if let Some(notifications) = notifications {
            for key in pending.unsure(now) {
                let bytes = std::fs::metadata(notifications.path(&key)).map_or(0, |meta| meta.len());
                pending.looked(&key, bytes, now);
            }
            while let Some(key) = pending.slow(now) {
                let path = notifications.path(&key);
                tracing::warn!(path = %path.display(), "has been open for writing for 10 s; it is not read before its writer closes it");
            }
        }
        let report = pending.report(now, settle);
        let wake_at = match drained {
            Drained::All => pending.wake_at(settle),
            Drained::Some => Some(now + LOOK_AGAIN),
        };
        Ok(Step { report, wake_at })
    }

    /// Looks from outside the task, which decides about reports afterwards.
    fn look(&self) -> Look {
        let mut state = self.lock();
        let generation = state.pending.generation();
        let drained = state.drain(&self.config).unwrap_or_else(|error| {
            state.failed = Some(error);
            Drained::Some
        });
        if drained == Drained::Some || state.pending.generation() != generation {
            self.wake.notify_one();
        }
        let State { pending, notifications, .. } = &*state;
        let being_written = notifications
            .as_ref()
            .and_then(|notifications| pending.being_written().map(|key| notifications.path(key)));
        Look { being_written, disturbances: pending.disturbances() }
    }
}

impl State {
    fn drain(&mut self, config: &Path) -> Result<Drained, WatchError> {
        match &mut self.notifications {
            Some(notifications) => notifications.drain(config, &mut self.pending),
            None => Ok(Drained::All),
        }
    }
}

fn register(descriptor: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an owned descriptor stays open and is never swapped"
    )]
    AsyncFd::new(descriptor)
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn warn_polling(config: &Path, error: &WatchError) {
    tracing::warn!(
        path = %config.display(), %error,
        "the kernel does not watch the configuration; looking at it every {POLL_INTERVAL:?} instead"
    );
}
