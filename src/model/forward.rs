//! Where names outside the zones are asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::limits::AcceptRate;
use super::name::Domain;

/// Where a question may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Upstream {
    /// The resolvers of the host's resolv.conf, as it changes.
    System,
    /// This one.
    At(SocketAddr),
}

/// `[dns] upstreams`, `[dns.forward]` and their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSettings {
    /// For names in none of the zones and none of `domains`. Empty: such names are refused.
    pub upstreams: Vec<Upstream>,
    /// Others' domains with their own upstreams, at least one each. The longest one that a name ends with
    /// counts, also against a zone.
    pub domains: BTreeMap<Domain, Vec<Upstream>>,
    /// Queries that may wait for upstreams at once; others get SERVFAIL.
    pub max_in_flight: usize,
    /// Queries of each source that go to upstreams, over time; others get SERVFAIL.
    pub rate_per_source: Option<AcceptRate>,
}

impl ForwardSettings {
    /// None of the names outside the zones, within the bounds that a configuration has by default.
    pub fn off() -> Self {
        Self { upstreams: Vec::new(), domains: BTreeMap::new(), max_in_flight: 1000, rate_per_source: None }
    }

    /// Every upstream that is named, some perhaps several times.
    pub fn all(&self) -> impl Iterator<Item = Upstream> {
        self.upstreams.iter().chain(self.domains.values().flatten()).copied()
    }
}
