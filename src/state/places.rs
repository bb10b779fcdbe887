//! Places under limits: taken without a lock, exactly as many as there are, and given back when dropped.
//!
//! Places are counted whether or not a limit is set, so that one that a reload sets binds at once. Only
//! connections by client address are counted from when their limit is set, as nobody else pays for it.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::color::ColorLive;
use super::live::EndpointLive;
use super::reasons::ErrorReason;
use crate::model::{AcceptRate, ConnectionLimits};
use crate::telemetry::Stripes;

/// A number of connections. Where no limit is set each worker counts its own, and nobody waits for anybody; under a
/// limit all take from one number.
#[derive(Debug, Default)]
pub struct Places {
    /// Taken without a limit, less all that were given back, of either kind; wraps.
    free: Stripes<AtomicU64>,
    /// Taken under a limit.
    limited: AtomicU64,
}

impl Places {
    /// Takes one more, unless `max` are taken.
    fn take(&self, max: Option<NonZeroU32>) -> bool {
        let Some(max) = max else {
            self.free.own().fetch_add(1, Ordering::Release);
            return true;
        };
        // Read before `limited`: what was given back has been taken, so this is never too low.
        let free = self.sum_free();
        let one_more = |limited: u64| (taken(limited, free) < max.get()).then(|| limited.wrapping_add(1));
        self.limited.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    fn give_back(&self) {
        self.free.own().fetch_sub(1, Ordering::Release);
    }

    fn sum_free(&self) -> u64 {
        self.free.iter().map(|part| part.load(Ordering::Acquire)).fold(0, u64::wrapping_add)
    }

    /// Whether `max` are taken. Somebody may come or go right after.
    pub fn are_full(&self, max: Option<NonZeroU32>) -> bool {
        max.is_some_and(|max| self.taken() >= max.get())
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        let free = self.sum_free();
        taken(self.limited.load(Ordering::Acquire), free)
    }
}

/// A connection that is given back by another worker than took it may be seen gone before it was seen to come: then
/// the sum is below 0 for a moment.
fn taken(limited: u64, free: u64) -> u32 {
    u32::try_from(limited.wrapping_add(free).cast_signed().max(0)).unwrap_or(u32::MAX)
}

/// Shards of the table of client addresses: workers seldom meet at one.
const SHARDS: usize = 16;

/// Connections by client address. An address is known only while it has a connection, so the table is
/// bounded by the connections.
#[derive(Debug, Default)]
struct Sources {
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

impl Sources {
    fn shard(&self, source: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let shards = SHARDS as u64;
        let index = usize::try_from(self.hasher.hash_one(source) % shards).unwrap_or_default();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, source: IpAddr, max: NonZeroU32) -> bool {
        let mut shard = self.shard(source);
        match shard.entry(source) {
            Entry::Occupied(taken) if *taken.get() >= max.get() => false,
            entry => {
                *entry.or_default() += 1;
                true
            }
        }
    }

    fn give_back(&self, source: IpAddr) {
        let mut shard = self.shard(source);
        let Entry::Occupied(mut taken) = shard.entry(source) else { return };
        *taken.get_mut() -= 1;
        if *taken.get() == 0 {
            taken.remove();
        }
        if shard.is_empty() {
            shard.shrink_to_fit();
        }
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// When the next connection is due under a rate: a token bucket as one number (the generic cell rate
/// algorithm, ITU-T I.371), in nanoseconds since the service was first known.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    fn take(&self, rate: AcceptRate, now_ns: u64) -> bool {
        let each_ns = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX) / u64::from(rate.count.get());
        let saved_ns = each_ns.saturating_mul(u64::from(rate.count.get() - 1));
        let next = |due_ns: u64| {
            let due_ns = due_ns.max(now_ns);
            (due_ns - now_ns <= saved_ns).then(|| due_ns.saturating_add(each_ns))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// The live facts of a service, over all its ports and colors.
#[derive(Debug)]
pub struct ServiceLive {
    /// Its connections, those still connecting included.
    pub places: Places,
    sources: OnceLock<Box<Sources>>,
    pace: Pace,
    began: Instant,
}

impl ServiceLive {
    /// Without connections; time counts from `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self { places: Places::default(), sources: OnceLock::new(), pace: Pace::default(), began }
    }

    /// Room for one more connection from `source`.
    ///
    /// # Errors
    /// The limit that was reached. Nothing has been taken then.
    pub fn enter(
        self: &Arc<Self>,
        limits: &ConnectionLimits,
        (source, now): (IpAddr, Instant),
    ) -> Result<Entrance, ErrorReason> {
        // A client at its own limit takes nothing from the others, not even for a moment.
        let source = limits.source.map(|max| self.enter_from(source.to_canonical(), max)).transpose()?;
        if !self.places.take(limits.service) {
            return Err(ErrorReason::LimitService);
        }
        let place = ServicePlace(Arc::clone(self));
        if let Some(rate) = limits.rate {
            let now_ns = now.saturating_duration_since(self.began).as_nanos();
            if !self.pace.take(rate, u64::try_from(now_ns).unwrap_or(u64::MAX)) {
                return Err(ErrorReason::LimitRate);
            }
        }
        Ok(Entrance { _source: source, _place: place })
    }

    fn enter_from(self: &Arc<Self>, source: IpAddr, max: NonZeroU32) -> Result<SourcePlace, ErrorReason> {
        let taken = self.sources.get_or_init(Box::default).take(source, max);
        taken.then(|| SourcePlace(Box::new((Arc::clone(self), source)))).ok_or(ErrorReason::LimitSource)
    }
}

/// A connection's place under the limits of its service.
#[derive(Debug)]
pub struct Entrance {
    _source: Option<SourcePlace>,
    _place: ServicePlace,
}

#[derive(Debug)]
struct ServicePlace(Arc<ServiceLive>);

impl Drop for ServicePlace {
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

#[derive(Debug)]
struct SourcePlace(Box<(Arc<ServiceLive>, IpAddr)>);

impl Drop for SourcePlace {
    fn drop(&mut self) {
        let (service, source) = &*self.0;
        if let Some(sources) = service.sources.get() {
            sources.give_back(*source);
        }
    }
}

/// A place in a color.
#[derive(Debug)]
pub struct ColorPlace(Arc<ColorLive>);

impl ColorPlace {
    /// Takes one, unless the color has `max` connections over all ports of its service.
    pub fn take(color: &Arc<ColorLive>, max: Option<NonZeroU32>) -> Option<Self> {
        color.places.take(max).then(|| Self(Arc::clone(color)))
    }
}

impl Deref for ColorPlace {
    type Target = ColorLive;

    fn deref(&self) -> &ColorLive {
        &self.0
    }
}

impl Drop for ColorPlace {
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

/// A place at an endpoint.
#[derive(Debug)]
pub struct EndpointPlace(Arc<EndpointLive>);

impl EndpointPlace {
    /// Takes one, unless the endpoint has `max` connections.
    pub fn take(endpoint: &Arc<EndpointLive>, max: Option<NonZeroU32>) -> Option<Self> {
        endpoint.places.take(max).then(|| Self(Arc::clone(endpoint)))
    }
}

impl Deref for EndpointPlace {
    type Target = EndpointLive;

    fn deref(&self) -> &EndpointLive {
        &self.0
    }
}

impl Drop for EndpointPlace {
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
