//! Who may ask DNS and who may connect to VIPs.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Who may enter: whoever one of these sources covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowFrom(pub Vec<Source>);

/// A group of source addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// 127.0.0.0/8 and `::1`.
    Loopback,
    /// The host's own addresses and the VIP pool: with a local route, a client on the host may have
    /// the VIP itself as its source.
    Host,
    /// The subnets of this host's bridges, as they are now.
    Bridges,
    /// Private, shared and link-local addresses: RFC 1918, RFC 6598, RFC 3927, RFC 4193, `fe80::/10`.
    Private,
    /// A network in CIDR form.
    Network(IpNet),
}

/// What the kernel says about this host's networks, followed live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostNetworks {
    /// Addresses of the host's interfaces.
    pub own: HashSet<IpAddr>,
    /// Subnets of the host's bridges.
    pub bridges: Vec<IpNet>,
}

impl AllowFrom {
    /// Whether `source` may enter. `pool` counts as the host itself. Addresses of the form
    /// `::ffff:a.b.c.d` are judged as IPv4.
    pub fn permits(&self, source: IpAddr, pool: Ipv4Net, host: &HostNetworks) -> bool {
        let source = source.to_canonical();
        self.0.iter().any(|allowed| match allowed {
            Source::Loopback => source.is_loopback(),
            Source::Host => host.is_host(source, pool),
            Source::Bridges => host.bridges.iter().any(|net| net.contains(&source)),
            Source::Private => is_private(source),
            Source::Network(net) => net.contains(&source),
        })
    }
}

impl HostNetworks {
    /// Whether `source` is this host itself: any of its processes, with an address of an interface, or with a VIP.
    pub fn is_host(&self, source: IpAddr, pool: Ipv4Net) -> bool {
        let source = source.to_canonical();
        self.own.contains(&source) || in_pool(pool, source)
    }
}

fn in_pool(pool: Ipv4Net, source: IpAddr) -> bool {
    matches!(source, IpAddr::V4(source) if pool.contains(&source))
}

fn is_private(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Address space shared by carriers and, in practice, by container networks (RFC 6598).
fn is_shared(v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    first == 100 && (64..128).contains(&second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(allowed: Source, source: &str) -> bool {
        let host = HostNetworks {
            own: HashSet::from(["192.0.2.7".parse().unwrap()]),
            bridges: vec!["172.17.0.1/16".parse().unwrap()],
        };
        AllowFrom(vec![allowed]).permits(source.parse().unwrap(), "198.18.0.0/16".parse().unwrap(), &host)
    }

    #[test]
    fn each_group_permits_what_its_name_says() {
        assert!(permits(Source::Loopback, "127.9.9.9") && permits(Source::Loopback, "::ffff:127.0.0.1"));
        assert!(!permits(Source::Loopback, "192.0.2.7"));
        assert!(permits(Source::Host, "192.0.2.7") && permits(Source::Host, "198.18.3.4"));
        assert!(!permits(Source::Host, "172.17.0.9"));
        assert!(permits(Source::Bridges, "172.17.4.5") && !permits(Source::Bridges, "172.18.0.1"));
        assert!(permits(Source::Private, "100.64.0.1") && permits(Source::Private, "fd00::1"));
        assert!(!permits(Source::Private, "203.0.113.1"));
        let network = Source::Network("203.0.113.0/24".parse().unwrap());
        assert!(permits(network, "203.0.113.1") && !permits(network, "203.0.114.1"));
    }
}
