//! Starts the task that drives releases, and the one that tells people of them. When either ends, traffic goes on.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::release::engine::{Engine, Parts, Request};
use crate::release::outside::{Notifier, notify};
use crate::state::requests::ChangeRequest;
use crate::state::{Base, SnapshotCell};

/// Requests that may wait for the engine.
const REQUESTS: usize = 8;

/// Starts both, and returns where the engine takes requests.
pub fn start(
    base: &Base,
    snapshot: &SnapshotCell,
    changes: &mpsc::Sender<ChangeRequest>,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> mpsc::Sender<Request> {
    let notifier = Arc::new(Notifier::default());
    let engine = Engine::new(Parts {
        snapshot: Arc::clone(snapshot),
        live: Arc::clone(&base.live),
        changes: changes.clone(),
        notifier: Arc::clone(&notifier),
        state: base.directory.path().to_owned(),
    });
    let (requests, wanted) = mpsc::channel(REQUESTS);
    tasks.spawn(engine.run(wanted, stop.clone()));
    let stop = stop.clone();
    tasks.spawn(async move { notifier.run(stop, notify::PATIENCE).await });
    requests
}
