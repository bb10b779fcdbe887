//! What is counted about forwarding as a whole; what belongs to one upstream is counted there.

use std::sync::OnceLock;

use metrics::{Counter, Gauge};

use crate::telemetry::names::{
    DNS_CACHE_BYTES, DNS_CACHE_ENTRIES, DNS_CACHE_HITS, DNS_CACHE_MISSES, DNS_CACHE_STALE,
    DNS_FORWARDS_IN_FLIGHT, DNS_FORWARDS_LIMITED,
};

/// Why a query got SERVFAIL at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// As many queries wait as may.
    InFlight,
    /// The client has asked as often as it may.
    Rate,
    /// There is no upstream for the name.
    NoUpstream,
    /// teal has asked this itself.
    Loop,
}

impl Limited {
    const ALL: [Self; 4] = [Self::InFlight, Self::Rate, Self::NoUpstream, Self::Loop];

    fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Rate => "rate",
            Self::NoUpstream => "no_upstream",
            Self::Loop => "loop",
        }
    }
}

/// What a look into the cache came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// An answer that is good.
    Fresh,
    /// One that is over, as no upstream answers.
    Stale,
    /// Nothing: somebody is asked.
    Nothing,
}

/// Handles, resolved at first use.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    in_flight: OnceLock<Gauge>,
    cache: OnceLock<[Gauge; 2]>,
    recalls: [OnceLock<Counter>; 3],
    limited: [OnceLock<Counter>; Limited::ALL.len()],
}

impl ForwardMetrics {
    /// So many queries wait now.
    pub fn in_flight(&self, queries: usize) {
        self.in_flight.get_or_init(|| metrics::gauge!(DNS_FORWARDS_IN_FLIGHT.name)).set(queries as f64);
    }

    /// The cache has so many answers and octets now.
    pub fn cache(&self, (entries, octets): (usize, usize)) {
        let [entries_gauge, octets_gauge] = self
            .cache
            .get_or_init(|| [metrics::gauge!(DNS_CACHE_ENTRIES.name), metrics::gauge!(DNS_CACHE_BYTES.name)]);
        entries_gauge.set(entries as f64);
        octets_gauge.set(octets as f64);
    }

    /// Counts a look into the cache.
    pub fn found(&self, recall: Recall) {
        let name = match recall {
            Recall::Fresh => DNS_CACHE_HITS.name,
            Recall::Stale => DNS_CACHE_STALE.name,
            Recall::Nothing => DNS_CACHE_MISSES.name,
        };
        self.recalls[recall as usize].get_or_init(|| metrics::counter!(name)).increment(1);
    }

    /// Counts a query that was not asked.
    pub fn limited(&self, reason: Limited) {
        let counter = self.limited[reason as usize]
            .get_or_init(|| metrics::counter!(DNS_FORWARDS_LIMITED.name, "reason" => reason.label()));
        counter.increment(1);
    }
}
