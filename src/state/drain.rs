//! Drains: connections of endpoints that the configuration no longer names, or that the operator took out of
//! use, live until a deadline. Then they are closed, never all at once.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connections::CutReason;
use super::draining::{DrainCause, cause};
use super::live::{EndpointLive, LivingEndpoint};
use super::snapshot::Snapshot;

/// Connections cut in one go; the next ones follow with the next tick.
const CUT_AT_ONCE: usize = 200;
/// So long before a deadline idle connections begin to end; all of the time where it is less.
pub const CLOSING: Duration = Duration::from_secs(30);
/// How long nothing must have moved on a connection that ends as idle.
pub const QUIET: Duration = Duration::from_secs(5);
/// About how often [`Drains::tick`] is called.
const TICK: Duration = Duration::from_secs(1);

/// When the connections of one endpoint are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// From then on those that are idle are closed by FIN.
    pub closing: Instant,
    /// At that time the rest is closed by RST.
    pub deadline: Instant,
}

impl Drain {
    fn new(now: Instant, timeout: Duration) -> Self {
        let deadline = now + timeout;
        Self { closing: deadline.checked_sub(CLOSING.min(timeout)).unwrap_or(now), deadline }
    }

    /// How many ticks are left in which a connection can be asked to end and become idle in time.
    fn rounds_left(&self, now: Instant) -> usize {
        let left = self.deadline.saturating_duration_since(now).saturating_sub(QUIET + TICK);
        usize::try_from(left.as_secs()).unwrap_or(usize::MAX).max(1)
    }
}

/// The drain of one endpoint, if it has one. The writer alone changes it.
#[derive(Debug, Default)]
pub struct DrainCell(Mutex<Option<Drain>>);

impl DrainCell {
    /// What is known.
    pub fn get(&self) -> Option<Drain> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Drain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections that a tick did something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticked {
    /// Asked to end by FIN once they are idle.
    pub asked: usize,
    /// Cut by RST.
    pub cut: usize,
}

/// The endpoints that drain.
#[derive(Debug, Default)]
pub struct Drains {
    endpoints: Vec<Weak<EndpointLive>>,
}

impl Drains {
    /// Starts drains of endpoints that `next` no longer names or has disabled, and ends those of endpoints that came
    /// back. `timeout` says how long connections of a living endpoint may stay; a drain that began keeps its
    /// deadline.
    pub fn follow(
        &mut self,
        living: &[LivingEndpoint],
        next: &Snapshot,
        now: Instant,
        timeout: impl Fn(&LivingEndpoint) -> Duration,
    ) {
        self.endpoints.clear();
        for endpoint in living {
            let live = &endpoint.live;
            let cause = cause(next, endpoint);
            if cause.is_some_and(DrainCause::has_deadline) {
                let drain = Drain::new(now, timeout(endpoint));
                // A rollback is in more of a hurry than what it finds.
                let is_sooner =
                    |known: &Drain| cause == Some(DrainCause::RolledBack) && drain.deadline < known.deadline;
                let mut known = live.drain.lock();
                *known = known.filter(|known| !is_sooner(known)).or(Some(drain));
                self.endpoints.push(Arc::downgrade(live));
            } else if live.drain.lock().take().is_some() {
                live.open.spare();
            }
        }
    }

    /// Closes some of what is over its deadline, and asks some of what is near it to end once it is idle.
    pub fn tick(&mut self, now: Instant) -> Ticked {
        let mut ticked = Ticked::default();
        self.endpoints.retain(|endpoint| {
            let Some(live) = endpoint.upgrade() else { return false };
            let Some(drain) = live.drain.get() else { return false };
            if drain.deadline <= now {
                ticked.cut += live.open.cut(CutReason::DrainDeadline, CUT_AT_ONCE - ticked.cut);
            } else if drain.closing <= now {
                ticked.asked += live.open.ask_to_end_idle(drain.rounds_left(now));
            }
            true
        });
        ticked
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
pub(super) mod tests;
