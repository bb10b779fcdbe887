//! Catalogs for tests: loopback addresses, no DNS, one port a service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::access::{AllowFrom, Source};
use super::catalog::{Affinity, Balance, Catalog, Color, Endpoint, OnColorDown, Policy, Port, Service};
use super::health::{HealthCheck, OnAllDown};
use super::limits::ConnectionLimits;
use super::name::{ColorName, ServiceName, Zone};
use super::settings::{
    AdminSettings, DnsSettings, LimitSettings, MaxConnections, MetricsSettings, ReloadSettings, Route,
    Settings, VipPool, VipSettings,
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
            allow_from: allow_from.clone(),
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
        shutdown_grace: Duration::from_secs(30),
    }
}

/// The defaults, without checks.
pub fn policy() -> Policy {
    Policy {
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
        health: HealthCheck::None,
        outlier: None,
    }
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
