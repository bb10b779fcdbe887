//! A configuration made by hand, and queries and replies byte by byte.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use teal::dns::{Asked, Source, Transport, Verdict, answer};
use teal::model::{
    AdminSettings, AllowFrom, CacheSettings, Catalog, Color, ColorName, DnsSettings, Domain, Endpoint,
    EndpointWeight, ForwardSettings, LimitSettings, MaxConnections, MetricsSettings, Port, PortName,
    ReloadSettings, Route, Service, ServiceName, Settings, Source as AllowedSource, Upstream, VipPool,
    VipSettings, Weight, Zone,
};
use teal::state::Answers;
use teal::state::build::Addresses;

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const CNAME: u16 = 5;
pub const SRV: u16 = 33;
pub const SVCB: u16 = 64;
pub const HTTPS: u16 = 65;
pub const IXFR: u16 = 251;
pub const AXFR: u16 = 252;
pub const ANY: u16 = 255;

pub const UDP: Asked = Asked { transport: Transport::Udp, source: Source::Allowed };
pub const TCP: Asked = Asked { transport: Transport::Tcp, source: Source::Allowed };
pub const STRANGER: Asked = Asked { transport: Transport::Udp, source: Source::Denied };

/// Settings with these zones and this pool; everything else as by default.
pub fn settings(zones: &[&str], pool: &str) -> Settings {
    let allow_from = AllowFrom(vec![AllowedSource::Loopback, AllowedSource::Host, AllowedSource::Bridges]);
    Settings {
        dns: DnsSettings {
            listen: vec!["127.0.0.1:53".parse().unwrap()],
            zones: zones.iter().map(|zone| Zone::parse(zone).unwrap()).collect(),
            ttl: Duration::from_secs(30),
            negative_ttl: Duration::from_secs(5),
            forward: ForwardSettings::off(),
            cache: CacheSettings::by_default(),
            allow_from: allow_from.clone(),
            records: BTreeMap::new(),
            log_one_in: None,
        },
        vip: VipSettings { pool: VipPool(pool.parse().unwrap()), route: Route::None, allow_from },
        metrics: MetricsSettings { listen: None },
        admin: AdminSettings { socket: None },
        reload: ReloadSettings { watch: false, settle: None },
        limits: LimitSettings { max_connections: MaxConnections::Auto },
        release: teal::model::testing::settings().release,
        shutdown_grace: Duration::from_secs(30),
    }
}

/// A service with colors blue and green.
pub fn service(name: &str, ports: &[(u16, &str)]) -> Arc<Service> {
    let port = |(listen, name): &(u16, &str)| Port {
        listen: *listen,
        target: 5000,
        name: PortName::parse(name).ok(),
        expose: Vec::new(),
    };
    let color = |name| Color {
        name: ColorName::parse(name).unwrap(),
        weight: Weight::new(100).unwrap(),
        endpoints: vec![Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port: None, weight: EndpointWeight::ONE }],
        fallback: None,
        max_connections: None,
        proxy_protocol: None,
    };
    Arc::new(Service {
        name: ServiceName::parse(name).unwrap(),
        vip: None,
        ports: ports.iter().map(port).collect(),
        colors: vec![color("blue"), color("green")],
        depends_on: Vec::new(),
        restrict_callers: false,
        policy: teal::model::testing::policy(),
    })
}

/// A catalog with addresses: each service in the order of names gets three, one after the other,
/// beginning at the pool's eleventh: VIP, blue, green.
pub struct World {
    pub catalog: Catalog,
    pub addresses: BTreeMap<ServiceName, Addresses>,
}

impl World {
    pub fn new(settings: Settings, services: Vec<Arc<Service>>) -> Self {
        let first = u32::from(settings.vip.pool.0.network()) + 11;
        let services: BTreeMap<_, _> = services.into_iter().map(|s| (s.name.clone(), s)).collect();
        let mut free = (first..).map(Ipv4Addr::from);
        let addresses = services.keys().map(|name| {
            let vip = free.next().unwrap();
            (name.clone(), Addresses { vip, previews: free.by_ref().take(2).collect() })
        });
        let addresses = addresses.collect();
        let catalog = Catalog { settings, services, apps: BTreeMap::new(), hash: String::new() };
        Self { catalog, addresses }
    }

    /// The same, where the rest of all names and these domains are asked elsewhere.
    pub fn forwarding(mut self, domains: &[&str]) -> Self {
        let forward = &mut self.catalog.settings.dns.forward;
        // Servers that nobody has named: a test says who answers.
        forward.upstreams = vec![Upstream::System];
        let domains = domains.iter().map(|domain| (Domain::parse(domain).unwrap(), vec![Upstream::System]));
        forward.domains = domains.collect();
        self
    }

    /// servicea (port http) and serviceb (ports http, and admin twice) in `local`.
    pub fn small() -> Self {
        let serviceb = service("serviceb", &[(80, "http"), (81, "admin"), (82, "admin"), (83, "")]);
        let services = vec![service("servicea", &[(80, "http")]), serviceb];
        Self::new(settings(&["local"], "127.80.0.0/16"), services)
    }

    pub fn answers(&self) -> Arc<Answers> {
        Answers::build(&self.catalog, &self.addresses, 7)
    }
}

/// A query, to be bent as a test needs it.
#[derive(Clone)]
pub struct Query {
    pub id: u16,
    pub flags: u16,
    pub counts: [u16; 4],
    pub question: Vec<u8>,
    pub rest: Vec<u8>,
}

/// A name in wire format.
pub fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// An OPT with this payload, version, flags and options.
pub fn opt(payload: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 41];
    record.extend_from_slice(&payload.to_be_bytes());
    record.extend_from_slice(&[0, version]);
    record.extend_from_slice(&flags.to_be_bytes());
    record.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    record.extend_from_slice(options);
    record
}

impl Query {
    /// RD set, class IN, no EDNS.
    pub fn new(name: &str, kind: u16) -> Self {
        let mut question = wire_name(name);
        question.extend_from_slice(&kind.to_be_bytes());
        question.extend_from_slice(&1u16.to_be_bytes());
        Self { id: 0xbeef, flags: 0x0100, counts: [1, 0, 0, 0], question, rest: Vec::new() }
    }

    pub fn class(mut self, class: u16) -> Self {
        let at = self.question.len() - 2;
        self.question[at..].copy_from_slice(&class.to_be_bytes());
        self
    }

    pub fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    pub fn counts(mut self, counts: [u16; 4]) -> Self {
        self.counts = counts;
        self
    }

    /// Adds an OPT.
    pub fn opt(self, payload: u16) -> Self {
        self.additional(&opt(payload, 0, 0, &[]))
    }

    /// Adds an additional record.
    pub fn additional(mut self, record: &[u8]) -> Self {
        self.counts[3] += 1;
        self.rest.extend_from_slice(record);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [self.id, self.flags].iter().chain(&self.counts) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.question);
        bytes.extend_from_slice(&self.rest);
        bytes
    }

    /// The reply, whole and parsed by hickory, whose question must be the one sent, byte for byte.
    pub fn ask(&self, answers: &Answers, asked: Asked) -> Reply {
        let mut bytes = Vec::new();
        let verdict = answer(&self.bytes(), asked, answers, &mut bytes);
        assert!(matches!(verdict, Verdict::Reply(..)), "dropped: {verdict:?}");
        let reply = Reply::parse(bytes, verdict);
        assert_eq!(reply.message.metadata.id, self.id);
        let questions = usize::from(u16::from_be_bytes([reply.bytes[4], reply.bytes[5]]));
        if questions == 1 {
            assert_eq!(&reply.bytes[12..12 + self.question.len()], self.question, "the question's echo");
        }
        reply
    }
}

/// A reply.
pub struct Reply {
    pub bytes: Vec<u8>,
    pub verdict: Verdict,
    pub message: Message,
}

impl Reply {
    pub fn parse(bytes: Vec<u8>, verdict: Verdict) -> Self {
        let message = Message::from_vec(&bytes).expect("a reply can be parsed");
        Self { bytes, verdict, message }
    }

    /// One line: rcode, flags, records of the three sections, EDNS.
    pub fn line(&self) -> String {
        let meta = &self.message.metadata;
        // 16 is BADVERS in an OPT and BADSIG in a TSIG.
        let mut words = vec![match u16::from(meta.response_code) {
            16 => "BadVers".to_owned(),
            _ => format!("{:?}", meta.response_code),
        }];
        let flags = [
            (meta.authoritative, "aa"),
            (meta.truncation, "tc"),
            (meta.recursion_desired, "rd"),
            (meta.recursion_available, "ra"),
            (meta.checking_disabled, "cd"),
            (meta.authentic_data, "ad"),
        ];
        words.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).to_owned()));
        let m = &self.message;
        for (section, records) in [("an", &m.answers), ("ns", &m.authorities), ("ar", &m.additionals)] {
            words.extend(records.iter().map(|record| {
                let kind = record.record_type();
                format!("| {section} {} {} {kind} {}", record.name, record.ttl, record.data)
            }));
        }
        if let Some(edns) = &m.edns {
            words.push(format!("| opt v{} {}", edns.version(), edns.max_payload()));
            words.extend(edns.flags().dnssec_ok.then(|| "do".to_owned()));
            words.extend(edns.options().as_ref().iter().map(|(code, option)| {
                format!("{}:{:?}", u16::from(*code), Vec::<u8>::try_from(option).unwrap())
            }));
        }
        words.join(" ")
    }
}

/// The line of the reply to one ordinary query over UDP.
pub fn line(answers: &Answers, name: &str, kind: u16) -> String {
    Query::new(name, kind).ask(answers, UDP).line()
}

impl Query {
    /// The reply to a query whose question cannot be read: it has none.
    pub fn ask_unread(&self) -> Reply {
        let reply = self.ask(&World::small().answers(), UDP);
        assert_eq!(reply.bytes.len(), 12, "header only");
        reply
    }
}
