//! The sockets of the proxy and of DNS as the writer's data plane.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::listeners::{advice, failed_listeners};
use super::resolver::{self, Resolver};
use crate::proxy::plane::{BindFailure, Plane, Prepared};
use crate::proxy::route::wanted;
use crate::state::{DataPlane, Problems, Snapshot};

/// All sockets that follow the snapshot.
pub struct Planes {
    proxy: ProxyPlane,
    resolver: Arc<Resolver>,
    prepared: Option<resolver::Prepared>,
}

impl Planes {
    /// The proxy's sockets, and those of DNS, which run already. What the proxy cannot bind is noted in
    /// `problems`.
    pub fn new(plane: &Arc<Plane>, resolver: &Arc<Resolver>, problems: &Problems) -> Self {
        let proxy = ProxyPlane::new(Arc::clone(plane), problems.clone());
        Self { proxy, resolver: Arc::clone(resolver), prepared: None }
    }
}

impl DataPlane for Planes {
    fn prepare<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, Result<(), Vec<String>>> {
        async move {
            let proxy = self.proxy.prepare(next).await;
            let dns = self.resolver.prepare(&next.catalog.settings.dns.listen).await;
            match (proxy, dns) {
                (Ok(()), Ok(prepared)) => {
                    self.prepared = Some(prepared);
                    Ok(())
                }
                (proxy, dns) => {
                    self.proxy.forget();
                    Err([proxy.err(), dns.err()].into_iter().flatten().flatten().collect())
                }
            }
        }
        .boxed()
    }

    fn prepare_what_can_be<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, ()> {
        // The addresses of DNS are those of the last configuration, and it tries again by itself.
        self.proxy.prepare_what_can_be(next)
    }

    fn commit(&mut self, next: &Snapshot) {
        self.proxy.commit(next);
        if let Some(prepared) = self.prepared.take() {
            self.resolver.commit(&next.catalog.settings.dns.listen, prepared);
        }
    }

    fn is_incomplete(&self) -> bool {
        self.proxy.is_incomplete()
    }
}

/// Prefix of the subjects of problems with listeners.
const SUBJECT: &str = "listen ";

/// The proxy's sockets.
struct ProxyPlane {
    plane: Arc<Plane>,
    problems: Problems,
    prepared: Option<Prepared>,
    /// Wanted addresses that cannot be listened at.
    missing: BTreeSet<SocketAddr>,
}

impl ProxyPlane {
    fn new(plane: Arc<Plane>, problems: Problems) -> Self {
        Self { plane, problems, prepared: None, missing: BTreeSet::new() }
    }

    /// Lets go of what was prepared.
    fn forget(&mut self) {
        self.prepared = None;
    }

    fn note_missing(&mut self, failures: &[BindFailure]) {
        failed_listeners().increment(failures.len() as f64 - self.missing.len() as f64);
        self.missing = failures.iter().map(|failure| failure.address).collect();
        let subject = |failure: &BindFailure| format!("{SUBJECT}{}", failure.address);
        let subjects: Vec<String> = failures.iter().map(subject).collect();
        for (failure, subject) in failures.iter().zip(&subjects) {
            self.problems.set(subject, sentence(failure));
        }
        self.problems.clear_others(SUBJECT, &subjects);
    }
}

fn sentence(failure: &BindFailure) -> String {
    format!("{failure}; {}", advice(&failure.error))
}

impl DataPlane for ProxyPlane {
    fn prepare<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, Result<(), Vec<String>>> {
        async move {
            let (prepared, failures) = self.plane.prepare_partial(wanted(next)).await;
            // What was missing before does not keep the others from changing: a rollback of one service
            // must not wait for the address of another.
            let is_new = |failure: &&BindFailure| !self.missing.contains(&failure.address);
            let new: Vec<_> = failures.iter().filter(is_new).map(sentence).collect();
            if !new.is_empty() {
                return Err(new);
            }
            self.note_missing(&failures);
            self.prepared = Some(prepared);
            Ok(())
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
        !self.missing.is_empty()
    }
}
