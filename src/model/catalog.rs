//! The catalog: what a valid configuration says about services, colors and apps.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::access::AllowFrom;
use super::health::{HealthCheck, OnAllDown, Outlier};
use super::limits::ConnectionLimits;
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
    /// Whether its members call each other on one side while a release of it is open.
    pub lanes: LaneMode,
}

/// What becomes of connections from one member of an open release to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaneMode {
    /// They are split like all others.
    #[default]
    Off,
    /// They stay on the caller's side, and are split when nothing works there.
    Prefer,
    /// They stay on the caller's side, and are refused when nothing works there.
    Require,
}

impl LaneMode {
    /// The word that the configuration has for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
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
    /// Whether only endpoints of services that depend on this one may connect to its VIP.
    pub restrict_callers: bool,
    /// How its connections are handled.
    pub policy: Policy,
}

impl Service {
    /// Addresses that it listens at: its VIP and each preview on every port, and what is exposed.
    pub fn listeners(&self) -> usize {
        let exposed: usize = self.ports.iter().map(|port| port.expose.len()).sum();
        self.ports.len() * (1 + self.colors.len()) + exposed
    }

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
    /// Its connections at most, over all ports of the service; at the limit it is as if it were down.
    pub max_connections: Option<NonZeroU32>,
    /// Whether its endpoints are told who the client is, before its first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
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
    /// How many retries there may be for 100 connections of the last seconds, per service and port.
    pub retry_budget_percent: u32,
    /// A connection on which nothing moved for so long is closed; never when absent.
    pub idle_timeout: Option<Duration>,
    /// The same once one side has said FIN and the other has not; never when absent.
    pub half_close_timeout: Option<Duration>,
    /// A connection that was accepted so long ago is closed; never when absent.
    pub max_connection_age: Option<Duration>,
    /// Whether the log has a line for each connection.
    pub log_connections: bool,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// Local addresses to connect to endpoints from, in turn; the kernel chooses where none of the
    /// endpoint's family is listed.
    pub source_addresses: Vec<IpAddr>,
    /// From whom connections to `expose` addresses come with a PROXY protocol header; nobody else may
    /// come there then. Empty: they come without one, from everybody.
    pub proxy_protocol_from: AllowFrom,
    /// TCP keepalive on both sides after so long without data; none when absent.
    pub keepalive: Option<Duration>,
    /// How long connections of removed services, colors and endpoints may live.
    pub drain_timeout: Duration,
    /// How an endpoint is picked inside a color.
    pub balance: Balance,
    /// Whether connections are split, or clients.
    pub affinity: Affinity,
    /// What happens to connections of a color of which no endpoint can be reached.
    pub on_color_down: OnColorDown,
    /// What happens when checks say that nothing of a service works.
    pub on_all_down: OnAllDown,
    /// How the health of endpoints is found out.
    pub health: HealthCheck,
    /// When failed connections eject an endpoint; never when absent.
    pub outlier: Option<Outlier>,
    /// How long an endpoint that comes into use takes to its full share; none when absent.
    pub slow_start: Option<Duration>,
}

/// A version of the PROXY protocol (HAProxy's proxy-protocol.txt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Default for Policy {
    /// What holds where a configuration says nothing.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            connect_total_timeout: Duration::from_secs(3),
            retries: 2,
            retry_budget_percent: 20,
            idle_timeout: None,
            half_close_timeout: None,
            max_connection_age: None,
            log_connections: false,
            limits: ConnectionLimits::default(),
            source_addresses: Vec::new(),
            proxy_protocol_from: AllowFrom::default(),
            keepalive: Some(Duration::from_secs(60)),
            drain_timeout: Duration::from_secs(600),
            balance: Balance::RoundRobin,
            affinity: Affinity::None,
            on_color_down: OnColorDown::Spill,
            on_all_down: OnAllDown::Try,
            health: HealthCheck::tcp(),
            outlier: Some(Outlier::default()),
            slow_start: None,
        }
    }
}

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, each as often as its weight says.
    RoundRobin,
    /// Of two, the one with fewer open connections for its weight.
    LeastConnections,
    /// Each client its own, by its source address.
    SourceHash,
}

/// What a color is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// By turns of the split, connection by connection.
    None,
    /// By the client's source address.
    SourceIp,
}

/// What happens when a color is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnColorDown {
    /// Another color with weight serves the connection.
    Spill,
    /// The connection is refused.
    Reject,
}
