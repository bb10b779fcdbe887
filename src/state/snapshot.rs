//! The snapshot: one immutable value with everything that a query or a connection needs to be decided.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use super::answers::Answers;
use super::color::{ColorLive, PortLive};
use super::health::HealthState;
use super::lanes::Inbound;
use super::live::EndpointLive;
use super::outlier::SuccessAt;
use super::overrides::{Admission, ServiceOverrides, hex};
use super::places::ServiceLive;
use super::releases::Releases;
use crate::balance::{Pick, SourceAffinity, Split};
use crate::model::{Catalog, ColorName, Port, ProxyProtocol, Service, ServiceName, Weight};

/// Where the current snapshot is found. Do not hold a guard of it across an await: take
/// `load_full()` there.
pub type SnapshotCell = Arc<ArcSwap<Snapshot>>;

/// Everything decided about services, at one instant.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the snapshots of this process, from 1.
    pub generation: u64,
    /// What the configuration says.
    pub catalog: Arc<Catalog>,
    /// Services by name.
    pub services: BTreeMap<ServiceName, Arc<ServiceState>>,
    /// What DNS says about all of their names.
    pub answers: Arc<Answers>,
    /// Releases and freezes.
    pub releases: Arc<Releases>,
}

/// A service with its addresses and live facts.
#[derive(Debug)]
pub struct ServiceState {
    /// What the configuration says.
    pub service: Arc<Service>,
    /// The address that its name answers with.
    pub vip: Ipv4Addr,
    /// The address of each color's preview name, in the order of `service.colors`.
    pub previews: Vec<Ipv4Addr>,
    /// Facts over all ports and colors.
    pub live: Arc<ServiceLive>,
    /// In the order of `service.ports`.
    pub ports: Vec<PortState>,
    /// What is set at run time; weights and admissions in `ports` have it in them already.
    pub overrides: ServiceOverrides,
    /// Who calls it in a lane, and who may call it at all.
    pub inbound: Inbound,
}

/// One port of a service: the unit that the split is exact for.
#[derive(Debug)]
pub struct PortState {
    /// What the configuration says.
    pub port: Port,
    /// The sequence that new connections take their color from; replaced when weights change.
    pub split: Arc<Split>,
    /// Chooses the color instead of the split, where the service has `affinity`. With the split's weights.
    pub affinity: Option<SourceAffinity>,
    /// In the order of `service.colors`, which is also that of the split's weights.
    pub colors: Vec<ColorState>,
    /// Errors of connections for which no color was chosen.
    pub live: Arc<PortLive>,
}

/// One color on one port.
#[derive(Debug)]
pub struct ColorState {
    /// Its name.
    pub name: ColorName,
    /// Weight in effect: the override's, else the configuration's.
    pub weight: Weight,
    /// Index of the color that takes its connections when all colors with weight are down.
    pub fallback: Option<usize>,
    /// Its connections at most, over all ports.
    pub max_connections: Option<NonZeroU32>,
    /// What makes a connection to its endpoints a success.
    pub success: SuccessAt,
    /// Whether endpoints that come into use get their share little by little.
    pub slow_start: bool,
    /// Whether its endpoints are told who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// At least one.
    pub endpoints: Vec<EndpointState>,
    /// Which of the endpoints gets a connection.
    pub pick: Arc<Pick>,
    /// Counters, and the place in the pick's sequence.
    pub live: Arc<ColorLive>,
}

/// One endpoint of one color on one port.
#[derive(Debug, Clone)]
pub struct EndpointState {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Its share inside the color.
    pub weight: u16,
    /// Whether the operator lets it have new connections.
    pub admission: Admission,
    /// Its open connections and its health.
    pub live: Arc<EndpointLive>,
    /// Whether its service has checks, so that its health counts.
    pub checked: bool,
}

impl EndpointState {
    /// Its health, as far as it counts.
    pub fn health(&self) -> HealthState {
        if self.checked { self.live.health.state() } else { HealthState::Unchecked }
    }
}

impl ColorState {
    /// Whether every endpoint that may have connections is down: checks say so, or it is ejected for failed
    /// connections.
    pub fn is_down(&self) -> bool {
        let is_down = |endpoint: &EndpointState| {
            endpoint.health() == HealthState::Unhealthy || endpoint.live.outlier.is_ejected()
        };
        self.endpoints.iter().filter(|endpoint| endpoint.is_enabled()).all(is_down)
    }
}

impl PortState {
    /// The color of that name.
    pub fn color(&self, name: &ColorName) -> Option<&ColorState> {
        self.colors.iter().find(|color| color.name == *name)
    }

    /// Whether every endpoint of every color with weight is down. Not so while all weights are 0: then nobody
    /// asks for one.
    pub fn is_down(&self) -> bool {
        self.has_weight_and_all(ColorState::is_down)
    }

    /// Whether there are colors with weight, and something holds for all of them.
    pub fn has_weight_and_all(&self, holds: impl Fn(&ColorState) -> bool) -> bool {
        let mut weighted = self.colors.iter().filter(|color| !color.weight.is_zero()).peekable();
        weighted.peek().is_some() && weighted.all(holds)
    }
}

impl Snapshot {
    /// First 16 hex digits of the SHA-256 of the configuration's hash and of every service's baseline, each as
    /// `service color=weight` in order of name: equal on hosts that would do the same without overrides.
    pub fn baseline_hash(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(&self.catalog.hash);
        for state in self.services.values() {
            for color in &state.service.colors {
                let weight = state.overrides.baseline(color);
                hasher.update(format!("\n{} {}={weight}", state.service.name, color.name));
            }
        }
        hex(&hasher.finalize()[..8])
    }

    /// The service's port that listens at `listen`, with its service.
    pub fn port(&self, service: &ServiceName, listen: u16) -> Option<(&Arc<ServiceState>, &PortState)> {
        let service = self.services.get(service)?;
        Some((service, service.port(listen)?))
    }
}

impl EndpointState {
    /// Whether the operator lets it have new connections.
    pub fn is_enabled(&self) -> bool {
        self.admission == Admission::Enabled
    }
}

impl ServiceState {
    /// The weight in effect of the color at this index of `service.colors`.
    pub fn weight(&self, index: usize) -> Weight {
        self.service.colors.get(index).map_or(Weight::ZERO, |color| self.overrides.weight(color))
    }

    /// The port that listens at `listen`.
    pub fn port(&self, listen: u16) -> Option<&PortState> {
        self.ports.iter().find(|port| port.port.listen == listen)
    }
}
