//! The catalog: what a valid configuration says about services, colors and apps.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::health::{HealthCheck, OnAllDown, Outlier};
use super::name::{AppName, ColorName, PortName, ServiceName};
use super::settings::Settings;
use super::weight::{EndpointWeight, Weight};

/// A whole configuration, valid by construction (only `config` makes one from text).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Everything that is not a service or an app.
    pub settings: Settings,
    /// Services by name.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Apps by name.
    pub apps: BTreeMap<AppName, App>,
    /// First 16 hex digits of the SHA-256 of the configuration's text, in order of reading.
    pub hash: String,
}

/// Services that are released together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Members, in the order of the file, each one once.
    pub services: Vec<ServiceName>,
}

/// A name in the zone with a virtual IP, one or more ports and one or more colors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in every zone.
    pub name: ServiceName,
    /// A VIP chosen by the operator; else one is given from the pool.
    pub vip: Option<Ipv4Addr>,
    /// At least one; `listen` is unique.
    pub ports: Vec<Port>,
    /// At least one, sorted by name, so that the order of a file never changes a split.
    pub colors: Vec<Color>,
    /// Services that this one calls.
    pub depends_on: Vec<ServiceName>,
    /// How its connections are handled.
    pub policy: Policy,
}

impl Service {
    /// The color with that name.
    pub fn color(&self, name: &ColorName) -> Option<&Color> {
        self.colors.iter().find(|color| color.name == *name)
    }
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// Where clients connect, on the VIP.
    pub listen: u16,
    /// Where endpoints listen that do not say a port of their own.
    pub target: u16,
    /// Its name in SRV records.
    pub name: Option<PortName>,
    /// Further addresses, outside the pool, where this port is reachable for everybody.
    pub expose: Vec<SocketAddr>,
}

/// A named set of endpoints with a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Color {
    /// Its name, unique in the service.
    pub name: ColorName,
    /// Its share of new connections.
    pub weight: Weight,
    /// At least one, each address once.
    pub endpoints: Vec<Endpoint>,
    /// The color that takes this one's connections when all colors with weight are down.
    pub fallback: Option<ColorName>,
}

/// One backend of a color.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its port, where the service has one port only; else each port's `target` applies.
    pub port: Option<u16>,
    /// Its share of the color's connections.
    pub weight: EndpointWeight,
}

impl Endpoint {
    /// The address to connect to for connections of `port`.
    pub fn address(&self, port: &Port) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port.target))
    }
}

/// How the connections of a service are handled: the keys of `[defaults]`, with a service's own on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Bound of each try to connect.
    pub connect_timeout: Duration,
    /// Bound of all tries of one connection together.
    pub connect_total_timeout: Duration,
    /// Further tries after the first one inside a color.
    pub retries: u32,
    /// A connection on which nothing moved for so long is closed; never when absent.
    pub idle_timeout: Option<Duration>,
    /// TCP keepalive on both sides after so long without data; none when absent.
    pub keepalive: Option<Duration>,
    /// How long connections of removed services, colors and endpoints may live.
    pub drain_timeout: Duration,
    /// How an endpoint is picked inside a color.
    pub balance: Balance,
    /// What happens to connections of a color of which no endpoint can be reached.
    pub on_color_down: OnColorDown,
    /// What happens when checks say that nothing of a service works.
    pub on_all_down: OnAllDown,
    /// How the health of endpoints is found out.
    pub health: HealthCheck,
    /// When failed connections eject an endpoint; never when absent.
    pub outlier: Option<Outlier>,
}

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, each as often as its weight says.
    RoundRobin,
}

/// What happens when a color is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnColorDown {
    /// Another color with weight serves the connection.
    Spill,
    /// The connection is refused.
    Reject,
}
