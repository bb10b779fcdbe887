//! The pick: which endpoint of a color gets a connection. One algorithm a file; this is the choice
//! between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;

use super::least_connections::LeastConnections;
use super::round_robin::RoundRobin;
use super::source_hash::SourceHash;
use crate::model::Balance;

/// Picks endpoints of one color on one port, named by their index. Immutable: what moves from connection
/// to connection is the color's counter of places, which outlives it.
#[derive(Debug)]
pub enum Pick {
    /// In turn.
    RoundRobin(RoundRobin),
    /// The less busy of two.
    LeastConnections(LeastConnections),
    /// The client's own.
    SourceHash(SourceHash),
}

impl Pick {
    /// Picks by `balance` among endpoints with these addresses and weights (each above 0). `seed` differs
    /// from host to host, for algorithms whose hosts should not move in step.
    ///
    /// `None` when there is no endpoint, or when the sum of the weights is too large for round robin
    /// (see [`RoundRobin::new`]).
    pub fn new(balance: Balance, endpoints: &[(SocketAddr, u16)], seed: u64) -> Option<Self> {
        let weights = || endpoints.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
        match balance {
            Balance::RoundRobin => RoundRobin::new(&weights()).map(Self::RoundRobin),
            Balance::LeastConnections => LeastConnections::new(&weights(), seed).map(Self::LeastConnections),
            Balance::SourceHash => SourceHash::new(endpoints).map(Self::SourceHash),
        }
    }

    /// Which algorithm it is.
    pub fn balance(&self) -> Balance {
        match self {
            Self::RoundRobin(_) => Balance::RoundRobin,
            Self::LeastConnections(_) => Balance::LeastConnections,
            Self::SourceHash(_) => Balance::SourceHash,
        }
    }

    /// What decides for one connection from `client`, over all of its tries: a place in the sequence that
    /// `places` counts, or what the client hashes to.
    pub fn take(&self, places: &AtomicU64, client: IpAddr) -> u64 {
        match self {
            Self::RoundRobin(pick) => pick.take(places),
            Self::LeastConnections(pick) => pick.take(places),
            Self::SourceHash(pick) => pick.take(client),
        }
    }

    /// The same for a connection whose turn so far is that of an endpoint that cannot be used: in a
    /// sequence, what such endpoints lose is shared by the others' weights.
    pub fn take_wanted(&self, places: &AtomicU64, client: IpAddr, wanted: impl Fn(usize) -> bool) -> u64 {
        match self {
            Self::RoundRobin(pick) => pick.take_wanted(places, wanted),
            Self::LeastConnections(_) | Self::SourceHash(_) => self.take(places, client),
        }
    }

    /// Gives back what was taken last and nobody used.
    pub fn give_back(&self, places: &AtomicU64) {
        if let Self::RoundRobin(pick) = self {
            pick.give_back(places);
        }
    }

    /// The endpoint to try for a connection that took `place`, among those that are not `excluded`; `None`
    /// when all are. `open` says how many connections an endpoint has.
    pub fn endpoint(
        &self,
        place: u64,
        excluded: impl Fn(usize) -> bool,
        open: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(pick) => pick.endpoint(place, excluded),
            Self::LeastConnections(pick) => pick.endpoint(place, excluded, open),
            Self::SourceHash(pick) => pick.endpoint(place, excluded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn balance() -> impl Strategy<Value = Balance> {
        prop_oneof![Just(Balance::RoundRobin), Just(Balance::LeastConnections), Just(Balance::SourceHash),]
    }

    proptest! {
        /// Promise 6, for every algorithm: tries visit every endpoint once.
        #[test]
        fn promise_6_tries_go_to_every_endpoint_once_before_they_end(
            balance in balance(),
            endpoints in prop::collection::vec((1u16..=20, 0u32..50), 1..40),
            place in any::<u64>(),
            client in any::<u32>(),
        ) {
            let members: Vec<_> = endpoints
                .iter()
                .enumerate()
                .map(|(index, (weight, _))| (SocketAddr::from(([10, 0, 0, 1], u16::try_from(index).unwrap())), *weight))
                .collect();
            let pick = Pick::new(balance, &members, 7).unwrap();
            let place = pick.take(&AtomicU64::new(place), IpAddr::V4(client.into()));
            let mut tried = Vec::new();
            while let Some(index) =
                pick.endpoint(place, |index| tried.contains(&index), |index| endpoints[index].1)
            {
                prop_assert!(!tried.contains(&index));
                tried.push(index);
            }
            tried.sort_unstable();
            prop_assert!(tried.into_iter().eq(0..endpoints.len()));
        }
    }

    #[test]
    fn no_endpoint_is_no_pick() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::SourceHash] {
            assert!(Pick::new(balance, &[], 0).is_none());
        }
    }
}
