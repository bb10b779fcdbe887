//! How many source ports are in use towards each endpoint: those of open connections, and those that the kernel
//! keeps for a minute because teal said FIN first.
//!
//! Counted rather than asked for: the kernel's table of a busy host is too large to be read every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::live::Live;
use super::snapshot::Snapshot;
use crate::net::ports::SourcePorts;

/// How often [`mark`] is to be called.
pub const MARK_SECONDS: u64 = 5;
/// Marks that span a minute, which is how long a port stays in `TIME_WAIT`, whenever a connection ended between
/// two of them.
const MARKS: usize = 13;

/// Ended connections of one endpoint whose port stays taken for a while.
#[derive(Debug, Default)]
pub struct PortCell {
    /// Since the endpoint was first known; wraps.
    ended: AtomicU32,
    /// The same at the last marks, the newest first.
    marks: Mutex<[u32; MARKS]>,
}

impl PortCell {
    /// A connection ended on which teal said FIN first.
    pub fn note_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn marks(&self) -> std::sync::MutexGuard<'_, [u32; MARKS]> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self) {
        let mut marks = self.marks();
        marks.rotate_right(1);
        marks[0] = self.ended.load(Ordering::Relaxed);
    }

    /// How many ended within the last minute, or a little more.
    fn waiting(&self) -> u32 {
        self.ended.load(Ordering::Relaxed).wrapping_sub(self.marks()[MARKS - 1])
    }
}

/// The source ports towards one address, over all services and colors that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortUse {
    /// In use.
    pub used: u32,
    /// How many there are, over all source addresses.
    pub limit: u32,
}

/// Begins a new period of [`MARK_SECONDS`] for all endpoints.
pub fn mark(live: &Live) {
    for endpoint in live.endpoints() {
        endpoint.live.ports.mark();
    }
}

/// The use of every address that has any.
pub fn port_use(snapshot: &Snapshot, live: &Live, ports: &SourcePorts) -> BTreeMap<SocketAddr, PortUse> {
    let mut all = BTreeMap::<SocketAddr, (u32, BTreeSet<Option<IpAddr>>)>::new();
    for endpoint in live.endpoints() {
        let address = endpoint.live.address;
        let waiting = if ports.keeps_waiting(address.ip()) { endpoint.live.ports.waiting() } else { 0 };
        let used = endpoint.live.places.taken().saturating_add(waiting);
        let (sum, sources) = all.entry(address).or_default();
        *sum = sum.saturating_add(used);
        let policy = snapshot.services.get(&endpoint.service).map(|state| &state.service.policy);
        let listed = policy.map_or(&[][..], |policy| &policy.source_addresses);
        let mut fitting = listed.iter().filter(|source| source.is_ipv4() == address.is_ipv4()).peekable();
        if fitting.peek().is_none() {
            // One that the kernel chooses.
            sources.insert(None);
        }
        sources.extend(fitting.map(|source| Some(*source)));
    }
    all.retain(|_, (used, _)| *used > 0);
    let of_address = |(used, sources): (u32, BTreeSet<_>)| {
        let sources = u32::try_from(sources.len()).unwrap_or(u32::MAX);
        PortUse { used, limit: ports.count().saturating_mul(sources) }
    };
    all.into_iter().map(|(address, found)| (address, of_address(found))).collect()
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
