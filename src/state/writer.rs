//! The one writer: turns a valid catalog into the next snapshot, or refuses and changes nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use super::diff::{Change, changes, needs_restart, risky_removals};
use super::directory::{StateDirectory, StateError};
use super::drain::{Drains, Ticked};
use super::fault;
use super::journal::{Event, Journal};
use super::live::{Live, LivingEndpoint};
use super::overrides::{Actor, Cause, Edit, Overrides};
use super::problems::Problems;
use super::releases::{ReleaseEnd, Releases};
use super::snapshot::{Snapshot, SnapshotCell};
use super::successor::{bounds, next_snapshot, serial, wanted};
use super::vip::{VipError, VipTable};
use crate::model::{Catalog, ServiceName};
use crate::telemetry::names::CONFIG_DRIFT;

/// The file of the state directory that keeps addresses.
const VIPS: &str = "vips.json";

/// Whatever carries connections for the snapshot: the sockets of the proxy today.
pub trait DataPlane: Send {
    /// Makes ready for `next` without touching anything that runs.
    ///
    /// # Errors
    /// What could not be made ready, one sentence each; nothing has changed then.
    fn prepare<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, Result<(), Vec<String>>>;

    /// Makes ready as far as possible, and says itself what is missing.
    fn prepare_what_can_be<'a>(&'a mut self, next: &'a Snapshot) -> BoxFuture<'a, ()>;

    /// Carries out what was prepared; `next` is what readers see from now on.
    fn commit(&mut self, next: &Snapshot);

    /// Whether something of the current snapshot is still missing.
    fn is_incomplete(&self) -> bool;
}

/// Whether removals that look like half a file are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Refuse them.
    Guarded,
    /// The operator said so by hand.
    Allowed,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Settings that only a restart can change.
    #[error("restart needed: {} cannot change while teal runs", .0.join(", "))]
    Restart(Vec<&'static str>),
    /// What looks like half a file.
    #[error(
        "refused, as it would remove much at once:\n  {}\nif that is meant: teal reload --allow-removal",
        .0.join("\n  ")
    )]
    Removal(Vec<String>),
    /// What an open release needs.
    #[error(
        "refused, as an open release needs what it would remove:\n  {}\nconfirm the release or roll it back first",
        .0.join("\n  ")
    )]
    Release(Vec<String>),
    /// A VIP cannot be given.
    #[error("{}", join(.0))]
    Vips(Vec<VipError>),
    /// Addresses that cannot be listened at.
    #[error("cannot listen:\n  {}", .0.join("\n  "))]
    Listen(Vec<String>),
}

fn join(errors: &[VipError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What the writer works with.
#[derive(Clone)]
pub struct Base {
    /// Where live facts are found.
    pub live: Arc<Live>,
    /// Where addresses are kept.
    pub directory: Arc<StateDirectory>,
    /// Where it says what is wrong.
    pub problems: Problems,
    /// Decides ties of splits; from the machine id.
    pub rotation: usize,
}

/// The moment of a change.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For what is kept on disk: seconds since 1970.
    pub unix_seconds: u64,
}

/// The first snapshot of a process, already where readers find it, but with nothing listening yet.
pub struct First {
    cell: SnapshotCell,
    kept: VipTable,
    vips: VipTable,
    journal: Journal,
    overrides: Overrides,
    releases: Arc<Releases>,
    /// What the journal must be told of.
    events: Vec<Event>,
    at: u64,
}

impl First {
    /// Builds it.
    ///
    /// # Errors
    /// A VIP cannot be given, or the kept addresses cannot be read. A damaged journal is no error: its last
    /// verified weights are in effect, and the problem is shown.
    pub fn build(catalog: Catalog, base: &Base, now: Now) -> Result<Self, StartError> {
        let kept: VipTable = base.directory.read::<Kept>(VIPS)?.map(|kept| kept.leases).unwrap_or_default();
        let vips = kept.assign(&wanted(&catalog), &bounds(&catalog, now)).map_err(Refusal::Vips)?;
        let journal = Journal::open(base.directory.path());
        let mut overrides = journal.chain().overrides().clone();
        let releases = Arc::new(journal.chain().releases().clone());
        let open = journal.chain().open_intent().filter(|_| journal.damage().is_none());
        let ended = end_overrides((&mut overrides, &releases), &catalog, now);
        let events = open.map(|intent| Event::Abandoned { intent }).into_iter().chain(ended).collect();
        let set = ((&overrides, &releases), serial(now));
        let snapshot = next_snapshot(catalog, &vips, base, set, None);
        let (cell, at) = (Arc::new(ArcSwap::from_pointee(snapshot)), now.unix_seconds);
        Ok(Self { cell, kept, vips, journal, overrides, releases, events, at })
    }

    /// Where readers find the snapshot, now and later.
    pub fn cell(&self) -> &SnapshotCell {
        &self.cell
    }
}

/// Owns the next snapshot. There is one in a process.
pub struct Writer {
    pub(super) base: Base,
    plane: Box<dyn DataPlane>,
    vips: VipTable,
    /// Whether `vips` is what the state directory holds.
    saved: Saved,
    drains: Drains,
    cell: SnapshotCell,
    /// What is set at run time, as it is in effect.
    pub(super) overrides: Overrides,
    /// Releases and freezes, as they are in effect.
    pub(super) releases: Arc<Releases>,
    pub(super) journal: Arc<Mutex<Journal>>,
}

/// Whether addresses are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saved {
    Yes,
    /// The disk failed.
    No,
}

impl Writer {
    /// Carries out the first snapshot. What cannot be listened at is reported, and tried again.
    pub async fn start(first: First, base: Base, plane: Box<dyn DataPlane>) -> Self {
        let First { cell, kept, vips, journal, overrides, releases, events, at } = first;
        let snapshot = cell.load_full();
        let (drains, journal) = (Drains::default(), Arc::new(Mutex::new(journal)));
        let mut writer =
            Self { base, plane, vips: kept, saved: Saved::Yes, drains, cell, overrides, releases, journal };
        Self::show_drift(&snapshot);
        writer.keep(vips).await;
        writer.note(events, at).await;
        writer.plane.prepare_what_can_be(&snapshot).await;
        writer.plane.commit(&snapshot);
        writer
    }

    /// Where readers find the snapshot.
    pub fn cell(&self) -> &SnapshotCell {
        &self.cell
    }

    /// Makes `catalog` what is, at one instant, and says what changed.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed then.
    pub async fn apply(
        &mut self,
        catalog: Catalog,
        removal: Removal,
        now: Now,
    ) -> Result<Vec<Change>, Refusal> {
        let before = self.cell.load_full();
        let restart = needs_restart(&before.catalog, &catalog);
        if !restart.is_empty() {
            return Err(Refusal::Restart(restart));
        }
        let torn = self.releases.torn_by(&catalog);
        if !torn.is_empty() {
            return Err(Refusal::Release(torn));
        }
        let risky = risky_removals(&before, &catalog);
        if removal == Removal::Guarded && !risky.is_empty() {
            return Err(Refusal::Removal(risky));
        }
        let vips = self.vips.assign(&wanted(&catalog), &bounds(&catalog, now)).map_err(Refusal::Vips)?;
        let mut overrides = self.overrides.clone();
        let ended = end_overrides((&mut overrides, &self.releases), &catalog, now);
        let set = ((&overrides, &self.releases), serial(now));
        let next = next_snapshot(catalog, &vips, &self.base, set, Some(&before));
        let next = Arc::new(next);
        self.plane.prepare(&next).await.map_err(Refusal::Listen)?;
        self.keep(vips).await;
        self.swap(&before, &next, now.instant);
        self.overrides = overrides;
        let mut changes = changes(&before.catalog, &next.catalog);
        if let Some(Event::Ended { edits, .. }) = &ended {
            changes.extend(edits.iter().map(|edit| Change(edit.to_string())));
        }
        self.note(ended.into_iter().collect(), now.unix_seconds).await;
        Ok(changes)
    }

    /// Makes `next`, which has the listeners of `before`, what is.
    pub(super) async fn swap_overrides(&mut self, before: &Snapshot, next: &Arc<Snapshot>, now: Instant) {
        self.plane.prepare_what_can_be(next).await;
        self.swap(before, next, now);
    }

    /// The instant at which everything takes effect.
    fn swap(&mut self, before: &Snapshot, next: &Arc<Snapshot>, now: Instant) {
        self.cell.store(Arc::clone(next));
        fault::point();
        self.plane.commit(next);
        self.follow_drains(before, next, now);
        Self::show_drift(next);
    }

    /// Counts services whose baseline is not what the file says; the status names them.
    fn show_drift(now: &Snapshot) {
        let drifted = now.services.values().filter(|state| state.overrides.baseline.is_some());
        metrics::gauge!(CONFIG_DRIFT.name).set(drifted.count() as f64);
    }

    /// Closes connections whose drain is over or nearly so, lets go of series that nobody needs, and tries again what the
    /// disk would not take. Call it about every second.
    pub async fn tick(&mut self, now: Now) {
        let Ticked { asked, cut } = self.drains.tick(now.instant);
        if asked > 0 {
            tracing::debug!(
                connections = asked,
                "connections are to end once they are idle: their drain_timeout is nearly over"
            );
        }
        if cut > 0 {
            tracing::info!(connections = cut, "cut connections whose drain_timeout is over");
        }
        self.base.live.sweep();
        if self.saved == Saved::No {
            self.save().await;
        }
        self.settle(now.unix_seconds).await;
    }

    /// Tries again what the data plane could not do. Call it about every second, but not while stopping.
    pub async fn complete(&mut self) {
        if self.plane.is_incomplete() {
            let current = self.cell.load_full();
            self.plane.prepare_what_can_be(&current).await;
            self.plane.commit(&current);
        }
    }

    /// Addresses are kept before anybody can learn them; a disk that fails is no reason to stop.
    async fn keep(&mut self, vips: VipTable) {
        let differ = vips != self.vips;
        self.vips = vips;
        if differ {
            self.save().await;
        }
    }

    async fn save(&mut self) {
        let (directory, leases) = (Arc::clone(&self.base.directory), self.vips.clone());
        let written = tokio::task::spawn_blocking(move || directory.write(VIPS, Kept { leases })).await;
        self.saved = match written {
            Ok(Ok(())) => {
                self.base.problems.clear("state");
                Saved::Yes
            }
            Ok(Err(error)) => {
                self.base.problems.set("state", error.to_string());
                Saved::No
            }
            Err(error) => {
                tracing::error!(%error, "addresses were not written");
                Saved::No
            }
        };
    }

    fn follow_drains(&mut self, before: &Snapshot, next: &Snapshot, now: Instant) {
        let timeout = |endpoint: &LivingEndpoint| {
            if let Some(ReleaseEnd::RolledBack(grace)) =
                next.releases.ends(&endpoint.service, &endpoint.color)
            {
                return grace;
            }
            let service = next.catalog.services.get(&endpoint.service);
            let service = service.or_else(|| before.catalog.services.get(&endpoint.service));
            service.map_or(Duration::ZERO, |service| service.policy.drain_timeout)
        };
        self.drains.follow(&self.base.live.endpoints(), next, now, timeout);
    }
}

/// Takes out of `overrides` what `catalog` ends, and says so for the journal. Members of open releases keep their
/// weights: the release asks what is to become of the file's.
fn end_overrides(
    (overrides, releases): (&mut Overrides, &Releases),
    catalog: &Catalog,
    now: Now,
) -> Option<Event> {
    let is_member = |service: &ServiceName| releases.open_with(service).is_some();
    let edits: Vec<Edit> = overrides.ended_by(catalog, is_member);
    if edits.is_empty() {
        return None;
    }
    let why = format!("the configuration is {} now", catalog.hash);
    let cause = Cause { actor: Actor::configuration(), at: now.unix_seconds, why };
    overrides.apply(&edits, &cause);
    Some(Event::Ended { edits, cause })
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The configuration cannot be carried out.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    leases: VipTable,
}
