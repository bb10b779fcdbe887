//! Catalogs of any size for the benchmarks: `service0`, `service1`, ..., each with one port and two
//! colors of three endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use teal::model::{
    AdminSettings, AllowFrom, CacheSettings, Catalog, Color, ColorName, DnsSettings, Endpoint,
    EndpointWeight, ForwardSettings, LimitSettings, MaxConnections, MetricsSettings, Port, PortName,
    ReloadSettings, Route, Service, ServiceName, Settings, Source, VipPool, VipSettings, Weight, Zone,
};
use teal::state::build::Addresses;

/// A catalog, and an address for each of its names.
pub struct Example {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// Addresses by service.
    pub addresses: BTreeMap<ServiceName, Addresses>,
}

/// The name of service number `index`.
pub fn service_name(index: usize) -> ServiceName {
    ServiceName::parse(&format!("service{index}")).expect("a DNS label")
}

/// A catalog of so many services.
pub fn example(services: usize) -> Example {
    let mut addresses = BTreeMap::new();
    let mut all = BTreeMap::new();
    for index in 0..services {
        let first = u32::from(Ipv4Addr::new(127, 80, 0, 1)) + u32::try_from(index * 3).expect("few services");
        let previews = vec![Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2)];
        addresses.insert(service_name(index), Addresses { vip: Ipv4Addr::from(first), previews });
        all.insert(service_name(index), Arc::new(service(index)));
    }
    let catalog = Catalog { settings: settings(), services: all, apps: BTreeMap::new(), hash: String::new() };
    Example { catalog: Arc::new(catalog), addresses }
}

fn service(index: usize) -> Service {
    let [_, _, third, fourth] = u32::try_from(index).expect("few services").to_be_bytes();
    Service {
        name: service_name(index),
        vip: None,
        ports: vec![Port { listen: 80, target: 5000, name: PortName::parse("http").ok(), expose: vec![] }],
        colors: vec![color("blue", 97, [11, third, fourth]), color("green", 3, [12, third, fourth])],
        depends_on: vec![],
        restrict_callers: false,
        policy: teal::model::testing::policy(),
    }
}

fn color(name: &str, weight: i64, [second, third, fourth]: [u8; 3]) -> Color {
    let endpoint = |host: u8| Endpoint {
        ip: IpAddr::from([10, second + 10 * host, third, fourth]),
        port: None,
        weight: EndpointWeight::ONE,
    };
    Color {
        name: ColorName::parse(name).expect("a DNS label"),
        weight: Weight::new(weight).expect("0 to 1000"),
        endpoints: (0..3).map(endpoint).collect(),
        fallback: None,
        max_connections: None,
        proxy_protocol: None,
    }
}

fn settings() -> Settings {
    let allow_from = AllowFrom(vec![Source::Loopback]);
    let pool = VipPool("127.80.0.0/16".parse().expect("a network"));
    Settings {
        dns: DnsSettings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
            zones: vec![Zone::parse("local").expect("a zone")],
            ttl: Duration::from_secs(30),
            negative_ttl: Duration::from_secs(5),
            forward: ForwardSettings::off(),
            cache: CacheSettings::by_default(),
            allow_from: allow_from.clone(),
            records: BTreeMap::new(),
            log_one_in: None,
        },
        vip: VipSettings { pool, route: Route::None, allow_from },
        metrics: MetricsSettings { listen: None },
        admin: AdminSettings { socket: None },
        reload: ReloadSettings { watch: false, settle: None },
        limits: LimitSettings { max_connections: MaxConnections::Auto },
        release: teal::model::testing::settings().release,
        shutdown_grace: Duration::from_secs(30),
    }
}
