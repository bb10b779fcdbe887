//! What configures the daemon itself: DNS, VIP pool, metrics, control socket, reload, limits.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::access::AllowFrom;
use super::cache::CacheSettings;
use super::forward::ForwardSettings;
use super::name::{RecordName, Zone};

/// Everything outside `[apps]`, `[services]` and `[defaults]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[dns]`
    pub dns: DnsSettings,
    /// `[vip]`
    pub vip: VipSettings,
    /// `[metrics]`
    pub metrics: MetricsSettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[reload]`
    pub reload: ReloadSettings,
    /// `[limits]`
    pub limits: LimitSettings,
    /// `[release]`
    pub release: ReleaseSettings,
    /// `[shutdown] grace`: how long open connections may live after SIGTERM.
    pub shutdown_grace: Duration,
}

/// `[dns]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Addresses to answer at, over UDP and TCP. Empty: no DNS.
    pub listen: Vec<SocketAddr>,
    /// The zones that teal owns; at least one, the first is primary.
    pub zones: Vec<Zone>,
    /// TTL of positive answers, whole seconds.
    pub ttl: Duration,
    /// TTL of negative answers (RFC 2308 §5), whole seconds.
    pub negative_ttl: Duration,
    /// Where names outside the zones are asked.
    pub forward: ForwardSettings,
    /// How long their answers are remembered.
    pub cache: CacheSettings,
    /// Who may ask; others get REFUSED.
    pub allow_from: AllowFrom,
    /// Records of the operator's own, each name in one of the zones.
    pub records: BTreeMap<RecordName, RecordData>,
    /// One answered query of so many has a line in the log; none when absent.
    pub log_one_in: Option<NonZeroU32>,
}

/// What a name of `[dns.records]` has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// CNAME: another name for this one, and no other record (RFC 1034 §3.6.2).
    Alias(RecordName),
    /// At least one record.
    Records {
        /// A.
        v4: Vec<Ipv4Addr>,
        /// AAAA.
        v6: Vec<Ipv6Addr>,
        /// TXT, one record each.
        texts: Vec<String>,
    },
}

/// The network that VIPs are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VipPool(pub Ipv4Net);

impl VipPool {
    /// Whether `address` lies in the pool.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }

    /// Whether every address of the pool is a loopback address, which needs no route and can be
    /// reached from the same network namespace only.
    pub fn is_loopback(self) -> bool {
        self.0.network().is_loopback() && self.0.broadcast().is_loopback()
    }

    /// Addresses that may be given to names: the pool without its first and last.
    pub fn usable(self) -> u32 {
        let size = u64::from(u32::from(self.0.broadcast())) - u64::from(u32::from(self.0.network())) + 1;
        u32::try_from(size.saturating_sub(2)).unwrap_or(u32::MAX)
    }
}

/// What to do about the route to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A pool outside 127.0.0.0/8 gets one local route.
    Auto,
    /// The operator sees to it.
    None,
}

/// `[vip]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipSettings {
    /// Where VIPs are taken from.
    pub pool: VipPool,
    /// How packets for the pool find this host.
    pub route: Route,
    /// Who may connect to VIPs; others get RST.
    pub allow_from: AllowFrom,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where `/metrics`, `/healthz` and `/readyz` are served; nothing when absent.
    pub listen: Option<SocketAddr>,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// The control socket; absent means the default place for whoever runs the daemon.
    pub socket: Option<PathBuf>,
}

/// `[reload]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Whether files are watched. SIGHUP and `teal reload` work either way.
    pub watch: bool,
    /// How long nothing may have changed before a reload begins; absent: 0 for a file, 2 s for a folder.
    pub settle: Option<Duration>,
}

/// `[release]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseSettings {
    /// The folder of programs that releases may name as gates.
    pub gates_dir: PathBuf,
    /// The folder of programs that releases may name as hooks.
    pub hooks_dir: PathBuf,
}

/// How many connections may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxConnections {
    /// What the descriptor limit allows, less a reserve for DNS and control.
    Auto,
    /// Exactly so many; an error at start when the descriptor limit does not allow it.
    Exactly(u32),
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Open connections in the whole process.
    pub max_connections: MaxConnections,
}
