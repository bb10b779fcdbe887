//! The snapshot: one immutable value with everything that a query or a connection needs to be decided.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::answers::Answers;
use super::live::{ColorLive, EndpointLive, PortLive};
use super::places::ServiceLive;
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
    /// Weight in effect.
    pub weight: Weight,
    /// Index of the color that takes its connections when all colors with weight are down.
    pub fallback: Option<usize>,
    /// Its connections at most, over all ports.
    pub max_connections: Option<NonZeroU32>,
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
    /// Its open connections.
    pub live: Arc<EndpointLive>,
}

impl Snapshot {
    /// The service's port that listens at `listen`, with its service.
    pub fn port(&self, service: &ServiceName, listen: u16) -> Option<(&Arc<ServiceState>, &PortState)> {
        let service = self.services.get(service)?;
        Some((service, service.port(listen)?))
    }
}

impl ServiceState {
    /// The port that listens at `listen`.
    pub fn port(&self, listen: u16) -> Option<&PortState> {
        self.ports.iter().find(|port| port.port.listen == listen)
    }

    /// The index of a color, the same in every port.
    pub fn color_index(&self, color: &ColorName) -> Option<usize> {
        self.service.colors.iter().position(|known| known.name == *color)
    }
}
