//! Catalogs for tests: loopback addresses, no DNS, one port a service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::access::{AllowFrom, Source};
use super::cache::CacheSettings;
use super::catalog::{Catalog, Color, Endpoint, Policy, Port, Service};
use super::forward::ForwardSettings;
use super::health::HealthCheck;
use super::name::{ColorName, ServiceName, Zone};
use super::settings::{
    AdminSettings, DnsSettings, LimitSettings, MaxConnections, MetricsSettings, ReleaseSettings,
    ReloadSettings, Route, Settings, VipPool, VipSettings,
};
use super::weight::{EndpointWeight, Weight};

/// Settings that allow everybody on this host, with the pool 127.80.0.0/16.
pub fn settings() -> Settings {
    let allow_from = AllowFrom(vec![Source::Loopback, Source::Host]);
    Settings {
        dns: DnsSettings {
            listen: Vec::new(),
            zones: vec![Zone::parse("local").expect("a label")],
            ttl: Duration::from_secs(30),
            negative_ttl: Duration::from_secs(5),
            forward: ForwardSettings::off(),
            cache: CacheSettings::by_default(),
            allow_from: allow_from.clone(),
            records: std::collections::BTreeMap::new(),
            log_one_in: None,
        },
        vip: VipSettings {
            pool: VipPool("127.80.0.0/16".parse().expect("a network")),
            route: Route::None,
            allow_from,
        },
        metrics: MetricsSettings { listen: None },
        admin: AdminSettings { socket: None },
        reload: ReloadSettings { watch: false, settle: None },
        limits: LimitSettings { max_connections: MaxConnections::Auto },
        release: ReleaseSettings { gates_dir: "/etc/teal/gates".into(), hooks_dir: "/etc/teal/hooks".into() },
        shutdown_grace: Duration::from_secs(30),
    }
}

/// The defaults, without checks.
pub fn policy() -> Policy {
    Policy { health: HealthCheck::None, outlier: None, ..Policy::default() }
}

/// A color with these endpoints, each of weight 1.
pub fn color(name: &str, weight: i64, endpoints: &[SocketAddr]) -> Color {
    let endpoint = |address: &SocketAddr| Endpoint {
        ip: address.ip(),
        port: Some(address.port()),
        weight: EndpointWeight::ONE,
    };
    Color {
        name: ColorName::parse(name).expect("a label"),
        weight: Weight::new(weight).expect("a weight"),
        endpoints: endpoints.iter().map(endpoint).collect(),
        fallback: None,
        max_connections: None,
        proxy_protocol: None,
    }
}

/// A service with one port that listens at `listen`.
pub fn service(name: &str, listen: u16, mut colors: Vec<Color>) -> Service {
    colors.sort_by(|a, b| a.name.cmp(&b.name));
    Service {
        name: ServiceName::parse(name).expect("a label"),
        vip: None,
        ports: vec![Port { listen, target: 9, name: None, expose: Vec::new() }],
        colors,
        depends_on: Vec::new(),
        restrict_callers: false,
        policy: policy(),
    }
}

/// A catalog of these services.
pub fn catalog(services: Vec<Service>) -> Catalog {
    Catalog {
        settings: settings(),
        services: services.into_iter().map(|service| (service.name.clone(), Arc::new(service))).collect(),
        apps: std::collections::BTreeMap::new(),
        hash: String::from("0123456789abcdef"),
    }
}
