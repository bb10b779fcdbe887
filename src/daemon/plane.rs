//! The proxy's sockets as the writer's data plane.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::listeners::explain;
use crate::proxy::plane::{BindFailure, Plane, Prepared};
use crate::proxy::route::wanted;
use crate::state::{DataPlane, Problems, Snapshot};
use crate::telemetry::names::LISTENERS_FAILED;

/// Prefix of the subjects of problems with listeners.
const SUBJECT: &str = "listen ";

/// The proxy's sockets.
pub struct ProxyPlane {
    plane: Arc<Plane>,
    problems: Problems,
    prepared: Option<Prepared>,
    missing: usize,
}

impl ProxyPlane {
    /// Wraps the proxy's sockets; what cannot be bound is noted in `problems`.
    pub fn new(plane: Arc<Plane>, problems: Problems) -> Self {
        Self { plane, problems, prepared: None, missing: 0 }
    }

    fn note_missing(&mut self, failures: &[BindFailure]) {
        self.missing = failures.len();
        metrics::gauge!(LISTENERS_FAILED.name).set(failures.len() as f64);
        let subject = |failure: &BindFailure| format!("{SUBJECT}{}", failure.address);
        let subjects: Vec<String> = failures.iter().map(subject).collect();
        for (failure, subject) in failures.iter().zip(&subjects) {
            self.problems.set(subject, sentence(failure));
        }
        self.problems.clear_others(SUBJECT, &subjects);
    }
}

fn sentence(failure: &BindFailure) -> String {
    format!("{failure}; {}", explain(failure.address, &failure.error))
}

impl DataPlane for ProxyPlane {
    fn prepare<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, Result<(), Vec<String>>> {
        async move {
            match self.plane.prepare(wanted(next)).await {
                Ok(prepared) => {
                    self.note_missing(&[]);
                    self.prepared = Some(prepared);
                    Ok(())
                }
                Err(failures) => Err(failures.iter().map(sentence).collect()),
            }
        }
        .boxed()
    }

    fn prepare_what_can_be<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, ()> {
        async move {
            let (prepared, failures) = self.plane.prepare_partial(wanted(next)).await;
            self.note_missing(&failures);
            self.prepared = Some(prepared);
        }
        .boxed()
    }

    fn commit(&mut self, next: &Snapshot) {
        let Some(prepared) = self.prepared.take() else { return };
        if let Err(error) = self.plane.commit(prepared, next) {
            tracing::warn!(%error, "cannot change the options of a listener");
        }
    }

    fn is_incomplete(&self) -> bool {
        self.missing > 0
    }
}
