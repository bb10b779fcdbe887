//! What could be read so far, with places: the material of the rules that look across tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use super::policy::PolicyDraft;
use super::source::Place;
use super::walk::Placed;
use crate::model::{
    AppName, ColorName, Domain, Endpoint, LaneMode, Port, ProxyProtocol, RecordData, RecordName, ServiceName,
    Settings, VipPool, Weight,
};

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) settings: SettingsDraft,
    pub(super) defaults: PolicyDraft,
    /// In the order of the files.
    pub(super) services: Vec<ServiceDraft>,
    /// In the order of the files.
    pub(super) apps: Vec<AppDraft>,
}

/// The settings, and what rules need to know about them.
#[derive(Debug)]
pub(super) struct SettingsDraft {
    pub(super) settings: Settings,
    /// Absent when what was written is no pool, so that nothing is held against it.
    pub(super) pool: Option<VipPool>,
    /// Absent when the default applies.
    pub(super) pool_place: Option<Place>,
    /// Upstreams that are addresses.
    pub(super) upstreams: Vec<Placed<SocketAddr>>,
    /// Domains with upstreams of their own.
    pub(super) forwarded: Vec<Placed<Domain>>,
    /// Listeners of DNS and metrics.
    pub(super) listeners: Vec<Listener>,
    /// In the order of the file.
    pub(super) records: Vec<RecordDraft>,
}

/// A name of `[dns.records]`.
#[derive(Debug)]
pub(super) struct RecordDraft {
    pub(super) name: Placed<RecordName>,
    /// Its table.
    pub(super) place: Place,
    pub(super) data: RecordData,
    /// Its A records, each where it is written.
    pub(super) v4: Vec<(Ipv4Addr, Place)>,
}

impl SettingsDraft {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            pool: Some(settings.vip.pool),
            settings,
            pool_place: None,
            upstreams: Vec::new(),
            forwarded: Vec::new(),
            listeners: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Adds the listeners of which the file says nothing, so that nothing else takes their address.
    pub(super) fn add_default_listeners(&mut self) {
        let written = |owner: Owner| self.listeners.iter().any(|listener| listener.owner == owner);
        let mut silent = Vec::new();
        if !written(Owner::Dns) {
            silent.extend(self.settings.dns.listen.iter().map(|address| (*address, Owner::Dns)));
        }
        if !written(Owner::Metrics) {
            silent.extend(self.settings.metrics.listen.map(|address| (address, Owner::Metrics)));
        }
        self.listeners.extend(silent.into_iter().map(|(address, owner)| Listener {
            address,
            owner,
            place: None,
        }));
    }

    pub(super) fn dns_addresses(&self) -> impl Iterator<Item = (Ipv4Addr, Option<Place>)> {
        self.listeners.iter().filter(|listener| listener.owner == Owner::Dns).filter_map(|listener| {
            match listener.address.ip() {
                IpAddr::V4(ip) => Some((ip, listener.place)),
                IpAddr::V6(_) => None,
            }
        })
    }
}

/// An address where teal listens, other than a VIP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) owner: Owner,
    /// Absent for defaults.
    pub(super) place: Option<Place>,
}

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Dns,
    Metrics,
    Expose,
}

impl Owner {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dns => "`[dns] listen`",
            Self::Metrics => "`[metrics] listen`",
            Self::Expose => "`expose`",
        }
    }
}

impl Listener {
    pub(super) fn new(address: Placed<SocketAddr>, owner: Owner) -> Self {
        Self { address: address.value, owner, place: Some(address.place) }
    }
}

/// A service.
#[derive(Debug)]
pub(super) struct ServiceDraft {
    pub(super) name: Placed<ServiceName>,
    pub(super) vip: Option<Placed<Ipv4Addr>>,
    pub(super) ports: Vec<PortDraft>,
    pub(super) colors: Vec<ColorDraft>,
    pub(super) depends_on: Vec<Placed<ServiceName>>,
    /// Absent when it is not written or wrong.
    pub(super) restrict_callers: Option<Placed<bool>>,
    pub(super) policy: PolicyDraft,
}

/// A port of a service.
#[derive(Debug)]
pub(super) struct PortDraft {
    pub(super) port: Port,
    /// Where `listen` is written.
    pub(super) listen_place: Place,
    pub(super) name_place: Option<Place>,
    pub(super) expose: Vec<Placed<SocketAddr>>,
}

/// What colors need to know about the ports of their service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PortSummary {
    /// How many there are, if that is known.
    pub(super) count: Option<usize>,
    /// Where endpoints without a port of their own listen, if that is a single port.
    pub(super) only_target: Option<u16>,
}

/// A color of a service.
#[derive(Debug)]
pub(super) struct ColorDraft {
    pub(super) name: Placed<ColorName>,
    /// Absent when it is missing or wrong.
    pub(super) weight: Option<Weight>,
    pub(super) endpoints: Vec<Placed<Endpoint>>,
    pub(super) fallback: Option<Placed<ColorName>>,
    pub(super) max_connections: Option<NonZeroU32>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

/// An app.
#[derive(Debug)]
pub(super) struct AppDraft {
    pub(super) name: Placed<AppName>,
    pub(super) services: Vec<Placed<ServiceName>>,
    /// Absent when it is not written or wrong.
    pub(super) lanes: Option<Placed<LaneMode>>,
}
