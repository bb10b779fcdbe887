//! What is counted about forwarding as a whole; what belongs to one upstream is counted there.

use std::sync::OnceLock;

use metrics::{Counter, Gauge};

use crate::telemetry::names::{DNS_FORWARDS_IN_FLIGHT, DNS_FORWARDS_LIMITED};

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

/// Handles, resolved at first use.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    in_flight: OnceLock<Gauge>,
    limited: [OnceLock<Counter>; Limited::ALL.len()],
}

impl ForwardMetrics {
    /// So many queries wait now.
    pub fn in_flight(&self, queries: usize) {
        self.in_flight.get_or_init(|| metrics::gauge!(DNS_FORWARDS_IN_FLIGHT.name)).set(queries as f64);
    }

    /// Counts a query that was not asked.
    pub fn limited(&self, reason: Limited) {
        let counter = self.limited[reason as usize]
            .get_or_init(|| metrics::counter!(DNS_FORWARDS_LIMITED.name, "reason" => reason.label()));
        counter.increment(1);
    }
}
