//! The set of listeners: what a snapshot wants listened at, bound and served by all workers.
//!
//! A change has two phases. [`Plane::prepare`] binds what is new and touches nothing else, so that a
//! reload can still be refused; [`Plane::commit`] starts the new listeners and closes the old ones. A
//! listener that stays keeps its socket.
//!
//! Closing resets nothing that waits: the socket first ignores new SYNs (whose senders try again, and
//! are refused by then), the workers go on accepting for [`CLOSING_GRACE`], take what is left in the
//! queue, and close. What remains: a client whose handshake takes longer than that is reset. Some kernels
//! (6.18 is one) let nobody without `CAP_NET_ADMIN` make a TCP socket ignore SYNs: there, who comes in that
//! time is served, and a connection that comes in the instant between the last look and the close is reset.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admit::ListenerState;
use super::route::{Route, Want, Wanted};
use super::serve::Handler;
use super::shared::Shared;
use crate::net::holder::holders_of;
use crate::net::{ListenOptions, Listener, Workers, accept_loop};
use crate::state::{CutReason, Snapshot};

/// How long handshakes that have begun may take once a listener closes.
pub const CLOSING_GRACE: Duration = Duration::from_millis(100);

/// All listeners of the proxy.
pub struct Plane {
    shared: Arc<Shared>,
    workers: Arc<Workers>,
    open: Mutex<HashMap<SocketAddr, Open>>,
    closing: Mutex<HashMap<SocketAddr, TaskTracker>>,
    /// Set once and for all by [`Self::stop_accepting`], under the lock of `open`.
    stopped: AtomicBool,
}

/// A listener that is served.
struct Open {
    listener: Listener,
    options: ListenOptions,
    state: Arc<ListenerState>,
    stop: CancellationToken,
    /// Its accept loops.
    loops: TaskTracker,
}

/// Listeners that are bound but not served yet. Dropping it closes them.
pub struct Prepared {
    wanted: Wanted,
    fresh: Vec<(SocketAddr, Want, Listener)>,
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} for service {}: {error}{}", .route.service, held_by(.holder.as_ref()))]
pub struct BindFailure {
    /// The address.
    pub address: SocketAddr,
    /// Where its connections would go.
    pub route: Route,
    /// What the kernel says.
    pub error: io::Error,
    /// Name and pid of the process that holds the port, where the kernel tells.
    pub holder: Option<String>,
}

fn held_by(holder: Option<&String>) -> String {
    holder.map(|holder| format!(", the port is held by {holder}")).unwrap_or_default()
}

/// Says who is in the way, of all at once: one process may be in the way of thousands.
fn name_holders(failures: &mut [BindFailure]) {
    let is_held = |failure: &&mut BindFailure| failure.error.kind() == io::ErrorKind::AddrInUse;
    let held: Vec<_> = failures.iter_mut().filter(is_held).collect();
    let addresses: Vec<_> = held.iter().map(|failure| failure.address).collect();
    if !addresses.is_empty() {
        for (failure, holder) in held.into_iter().zip(holders_of(&addresses)) {
            failure.holder = holder;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plane {
    /// Without listeners.
    pub fn new(shared: Arc<Shared>, workers: Arc<Workers>) -> Self {
        Self {
            shared,
            workers,
            open: Mutex::default(),
            closing: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Binds every address of `wanted` that is not open yet.
    ///
    /// # Errors
    /// All addresses that cannot be bound; nothing has changed then.
    pub async fn prepare(&self, wanted: Wanted) -> Result<Prepared, Vec<BindFailure>> {
        let (prepared, failures) = self.prepare_partial(wanted).await;
        if failures.is_empty() { Ok(prepared) } else { Err(failures) }
    }

    /// Binds what can be bound, and says what cannot: for the start, where the rest runs all the same.
    pub async fn prepare_partial(&self, wanted: Wanted) -> (Prepared, Vec<BindFailure>) {
        let mut failures = Vec::new();
        let mut fresh = Vec::new();
        for (address, want) in
            wanted.iter().filter(|(address, _)| !lock(&self.open).contains_key(address)).collect::<Vec<_>>()
        {
            self.wait_closed(*address).await;
            match Listener::bind(*address, want.options) {
                Ok(listener) => fresh.push((*address, want.clone(), listener)),
                Err(error) => {
                    let route = want.route.clone();
                    failures.push(BindFailure { address: *address, route, error, holder: None });
                }
            }
        }
        name_holders(&mut failures);
        (Prepared { wanted, fresh }, failures)
    }

    /// An address that was just given up is free again when its queue has been served.
    async fn wait_closed(&self, address: SocketAddr) {
        let closing = lock(&self.closing).get(&address).cloned();
        if let Some(loops) = closing {
            // A worker that hangs must not make the reload hang: binding says what is wrong then.
            let _ = tokio::time::timeout(CLOSING_GRACE * 10, loops.wait()).await;
        }
    }

    /// Serves what was prepared and closes what is not wanted any more. `snapshot` is the one that the
    /// listeners were wanted by; store it before. Call it after every snapshot stored, so that what
    /// waits in the queue of a listener that closes later finds its service as it was last.
    ///
    /// # Errors
    /// Options of a listener that stays could not be changed; everything else has been done.
    pub fn commit(&self, prepared: Prepared, snapshot: &Snapshot) -> io::Result<()> {
        let Prepared { wanted, fresh } = prepared;
        let mut open = lock(&self.open);
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let unwanted: Vec<_> = open.keys().filter(|address| !wanted.contains_key(address)).copied().collect();
        for address in unwanted {
            if let Some(listener) = open.remove(&address) {
                self.close(address, listener);
            }
        }
        for (address, want, listener) in fresh {
            if let Entry::Vacant(place) = open.entry(address) {
                place.insert(self.serve(listener, &want));
            }
        }
        let mut outcome = Ok(());
        for (address, listener) in open.iter_mut() {
            let Some(want) = wanted.get(address) else { continue };
            outcome = outcome.and(listener.update(want, snapshot));
        }
        outcome
    }

    fn serve(&self, listener: Listener, want: &Want) -> Open {
        let state =
            ListenerState { route: ArcSwap::from_pointee(want.route.clone()), last: ArcSwapOption::empty() };
        let open = Open {
            listener,
            options: want.options,
            state: Arc::new(state),
            stop: CancellationToken::new(),
            loops: TaskTracker::new(),
        };
        for index in 0..self.workers.count() {
            let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&open.state));
            let mut handler = Handler { shared, listener: state, warned: None };
            let (listener, stop) = (open.listener.clone(), open.stop.clone());
            self.workers.spawn_on(
                index,
                open.loops.track_future(async move {
                    let address = listener.address();
                    if let Err(error) = accept_loop(listener, stop, &mut handler).await {
                        tracing::error!(%address, %error, "a worker cannot accept connections");
                    }
                }),
            );
        }
        open
    }

    /// Closes a listener once its queue has been served. Returns at once.
    fn close(&self, address: SocketAddr, open: Open) {
        let Open { listener, stop, loops, .. } = open;
        listener.ignore_new_or_say();
        drop(listener);
        loops.close();
        lock(&self.closing).retain(|_, loops| !loops.is_empty());
        lock(&self.closing).insert(address, loops);
        self.workers.spawn_on(0, async move {
            tokio::time::sleep(CLOSING_GRACE).await;
            stop.cancel();
        });
    }

    /// The addresses listened at: as wanted, and as bound where port 0 was wanted.
    pub fn bound(&self) -> HashMap<SocketAddr, SocketAddr> {
        lock(&self.open).iter().map(|(wanted, open)| (*wanted, open.listener.address())).collect()
    }

    /// Closes all listeners, for good: [`Self::commit`] does nothing from now on. Returns when everything
    /// that waited in their queues has been taken.
    pub async fn stop_accepting(&self) {
        let all: Vec<_> = {
            let mut open = lock(&self.open);
            self.stopped.store(true, Ordering::Relaxed);
            open.drain().collect()
        };
        for (address, open) in all {
            self.close(address, open);
        }
        let closing: Vec<_> = lock(&self.closing).values().cloned().collect();
        for loops in closing {
            loops.wait().await;
        }
    }

    /// Connections open right now, those still connecting included.
    pub fn open_count(&self) -> usize {
        self.shared.open_count()
    }

    /// Ends every served connection with RST; returns how many were asked to end.
    pub fn cut_all(&self, reason: CutReason) -> usize {
        self.shared.live.endpoints().iter().map(|endpoint| endpoint.live.open.cut(reason, usize::MAX)).sum()
    }
}

impl Open {
    /// Takes what changed without touching the socket.
    fn update(&mut self, want: &Want, snapshot: &Snapshot) -> io::Result<()> {
        if **self.state.route.load() != want.route {
            self.state.route.store(Arc::new(want.route.clone()));
        }
        if let Some(service) = snapshot.services.get(&want.route.service) {
            self.state.last.store(Some(Arc::clone(service)));
        }
        if self.options != want.options {
            self.listener.set_options(want.options)?;
            self.options = want.options;
        }
        Ok(())
    }
}
