//! Whether a pool of VIPs has its route, or what is in the way: pure.

use std::fmt;

use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::{RouteHeader, RouteType};

/// The table that the kernel asks first, of addresses that are its own.
pub(super) const TABLE_LOCAL: u32 = 255;
/// The table of ordinary routes.
const TABLE_MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;
/// Routes up to this length are default routes: 0.0.0.0/0, and its two halves, which VPNs set.
const DEFAULT_PREFIX_MAX: u8 = 1;

/// A route or an address that is in the way of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its network; of an address, the address with the length of its subnet.
    pub net: Ipv4Net,
    /// Its device; none for routes that lead nowhere or to several.
    pub device: Option<String>,
    /// What it is.
    pub kind: ConflictKind,
}

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// A route of the table `main`.
    Route,
    /// A route of the table `local`.
    LocalRoute,
    /// An address of an interface.
    Address,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ConflictKind::Route => "the route",
            ConflictKind::LocalRoute => "the route in table local",
            ConflictKind::Address => "the address",
        };
        write!(f, "{kind} {}", self.net)?;
        match &self.device {
            Some(device) => write!(f, " of device {device}"),
            None => write!(f, " of no single device"),
        }
    }
}

/// A route, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownRoute {
    /// Where it leads to.
    pub net: Ipv4Net,
    /// The number of its table.
    pub table: u32,
    /// Its device, if it has a single one.
    pub device: Option<u32>,
    /// Whether it makes its addresses the host's own.
    pub kind: RouteType,
}

/// What is known of this host before a route is added.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// IPv4 routes of all tables.
    pub routes: Vec<KnownRoute>,
    /// IPv4 addresses with their subnets, by interface.
    pub addresses: Vec<(u32, Ipv4Net)>,
    /// Names of interfaces.
    pub devices: Vec<(u32, String)>,
    /// The loopback interface.
    pub loopback: Option<u32>,
}

impl Known {
    /// Whether the very route of `pool` is there.
    pub(super) fn has_route(&self, pool: Ipv4Net) -> bool {
        self.routes.iter().any(|route| {
            route.net == pool
                && route.table == TABLE_LOCAL
                && route.kind == RouteType::Local
                && route.device.is_some()
                && route.device == self.loopback
        })
    }

    /// What is in the way of `pool`: a route, other than a default route, or an interface's subnet that
    /// has an address in common with it. Of several the most telling one: an ordinary route first.
    pub(super) fn conflict(&self, pool: Ipv4Net) -> Option<Conflict> {
        self.route_conflict(pool, TABLE_MAIN, ConflictKind::Route)
            .or_else(|| self.address_conflict(pool))
            .or_else(|| self.route_conflict(pool, TABLE_LOCAL, ConflictKind::LocalRoute))
    }

    fn route_conflict(&self, pool: Ipv4Net, table: u32, kind: ConflictKind) -> Option<Conflict> {
        let mut routes = self.routes.iter().filter(|route| route.table == table && !is_default(route.net));
        let route = routes.find(|route| overlap(route.net, pool))?;
        let device = route.device.and_then(|index| self.device(index));
        Some(Conflict { net: route.net, device, kind })
    }

    fn address_conflict(&self, pool: Ipv4Net) -> Option<Conflict> {
        let (index, net) = self.addresses.iter().find(|(_, net)| overlap(*net, pool))?;
        Some(Conflict { net: *net, device: self.device(*index), kind: ConflictKind::Address })
    }

    fn device(&self, index: u32) -> Option<String> {
        self.devices.iter().find(|(known, _)| *known == index).map(|(_, name)| name.clone())
    }
}

fn is_default(net: Ipv4Net) -> bool {
    net.prefix_len() <= DEFAULT_PREFIX_MAX
}

/// Two networks have an address in common only if one contains the other.
fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LO: u32 = 1;
    const ETH: u32 = 2;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn route(text: &str, table: u32, device: u32) -> KnownRoute {
        let kind = if table == TABLE_LOCAL { RouteType::Local } else { RouteType::Unicast };
        KnownRoute { net: net(text), table, device: Some(device), kind }
    }

    /// A host with one interface, and one further route.
    fn host(further: KnownRoute) -> Known {
        Known {
            routes: vec![
                route("0.0.0.0/0", TABLE_MAIN, ETH),
                route("192.0.2.0/24", TABLE_MAIN, ETH),
                route("192.0.2.7/32", TABLE_LOCAL, ETH),
                route("127.0.0.0/8", TABLE_LOCAL, LO),
                further,
            ],
            addresses: vec![(LO, net("127.0.0.1/8")), (ETH, net("192.0.2.7/24"))],
            devices: vec![(LO, "lo".to_owned()), (ETH, "eth0".to_owned())],
            loopback: Some(LO),
        }
    }

    fn message(known: &Known, pool: &str) -> Option<String> {
        known.conflict(net(pool)).map(|conflict| conflict.to_string())
    }

    #[test]
    fn default_routes_and_neighbours_are_not_in_the_way() {
        for further in ["0.0.0.0/1", "128.0.0.0/1", "198.17.0.0/16", "198.19.0.0/16"] {
            assert_eq!(message(&host(route(further, TABLE_MAIN, ETH)), "198.18.0.0/16"), None, "{further}");
        }
        let policy = host(route("198.18.0.0/16", 52, ETH));
        assert_eq!(message(&policy, "198.18.0.0/16"), None, "tables of policy routing are the operator's");
    }

    #[test]
    fn a_route_that_contains_the_pool_or_lies_in_it_is_named_with_its_device() {
        for further in ["198.18.0.0/15", "198.18.0.0/16", "198.18.7.0/24", "198.18.0.9/32"] {
            let text = message(&host(route(further, TABLE_MAIN, ETH)), "198.18.0.0/16");
            assert_eq!(text, Some(format!("the route {further} of device eth0")));
        }
        let text = message(&host(route("198.18.7.1/32", TABLE_LOCAL, ETH)), "198.18.0.0/16");
        assert_eq!(text.as_deref(), Some("the route in table local 198.18.7.1/32 of device eth0"));
        let mut nowhere = route("198.18.0.0/15", TABLE_MAIN, ETH);
        nowhere.device = None;
        let text = message(&host(nowhere), "198.18.0.0/16");
        assert_eq!(text.as_deref(), Some("the route 198.18.0.0/15 of no single device"));
    }

    #[test]
    fn an_address_of_an_interface_that_is_down_is_in_the_way_too() {
        let mut known = host(route("0.0.0.0/0", TABLE_MAIN, ETH));
        known.addresses.push((ETH, net("198.18.5.5/32")));
        let text = message(&known, "198.18.0.0/16");
        assert_eq!(text.as_deref(), Some("the address 198.18.5.5/32 of device eth0"));
    }

    #[test]
    fn only_the_very_route_counts_as_there() {
        let pool = net("198.18.0.0/16");
        assert!(host(route("198.18.0.0/16", TABLE_LOCAL, LO)).has_route(pool));
        assert!(!host(route("198.18.0.0/16", TABLE_LOCAL, ETH)).has_route(pool));
        assert!(!host(route("198.18.0.0/16", TABLE_MAIN, LO)).has_route(pool));
        assert!(!host(route("198.18.0.0/15", TABLE_LOCAL, LO)).has_route(pool));
    }
}
