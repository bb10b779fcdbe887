//! The words of teal as types: names, weights, addresses, the catalog and the settings.
//!
//! Owns no behaviour that needs a socket, a clock, a file or randomness. Every room above uses these
//! types; a value that exists is valid, so nothing above `config` checks again.

pub mod access;
pub mod cache;
pub mod catalog;
pub mod forward;
pub mod health;
pub mod limits;
pub mod name;
pub mod release;
pub mod settings;
#[doc(hidden)]
pub mod testing;
pub mod weight;

pub use access::{AllowFrom, HostNetworks, Source};
pub use cache::CacheSettings;
pub use catalog::{
    Affinity, App, Balance, Catalog, Color, Endpoint, LaneMode, OnColorDown, Policy, Port, ProxyProtocol,
    Service,
};
pub use forward::{ForwardSettings, Upstream};
pub use health::{ActiveCheck, CheckKind, HealthCheck, HttpCheck, OnAllDown, Outlier, StatusSet};
pub use limits::{AcceptRate, ConnectionLimits};
pub use name::{AppName, ColorName, Domain, NameError, PortName, RecordName, ServiceName, Zone};
pub use settings::{
    AdminSettings, DnsSettings, LimitSettings, MaxConnections, MetricsSettings, RecordData, ReleaseSettings,
    ReloadSettings, Route, Settings, VipPool, VipSettings,
};
pub use weight::{EndpointWeight, Weight, WeightError};
