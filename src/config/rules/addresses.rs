//! VIPs and endpoints against the pool, against each other and against teal's own listeners.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::diagnostic::{Diagnostic, Findings, quote};
use super::super::draft::{Draft, Listener, ServiceDraft};
use super::super::source::Place;
use super::super::walk::Placed;
use super::{forward, listeners};
use crate::model::{Endpoint, VipPool};

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    check_vips(draft, findings);
    let own = OwnAddresses::of(draft);
    forward::check(draft, &own, findings);
    for service in &draft.services {
        for endpoint in service.colors.iter().flat_map(|color| &color.endpoints) {
            findings.push_some(own.refuse(service, endpoint));
        }
    }
    if let Some(pool) = draft.settings.pool {
        findings.push_some(check_room(draft, pool));
    }
}

fn check_vips(draft: &Draft, findings: &mut Findings) {
    let mut seen: HashMap<Ipv4Addr, Place> = HashMap::new();
    let dns: HashMap<Ipv4Addr, Option<Place>> = draft.settings.dns_addresses().collect();
    for vip in draft.services.iter().filter_map(|service| service.vip) {
        if let Some(pool) = draft.settings.pool {
            findings.push_some(check_in_pool(vip, pool, draft.settings.pool_place));
        }
        if let Some(first) = seen.get(&vip.value) {
            findings.push(
                Diagnostic::error(format!("VIP {} is used twice", vip.value), vip.place, "used again here")
                    .also(*first, "first used here")
                    .help("Give each service its own VIP, or leave `vip` out: teal then chooses one."),
            );
        } else {
            seen.insert(vip.value, vip.place);
        }
        if let Some(place) = dns.get(&vip.value) {
            findings.push(
                Diagnostic::error(
                    format!("VIP {} is an address where DNS listens", vip.value),
                    vip.place,
                    "taken by DNS",
                )
                .also_if_known(*place, "DNS listens here")
                .help("Choose another VIP, or leave `vip` out: teal then chooses one."),
            );
        }
    }
}

fn check_in_pool(vip: Placed<Ipv4Addr>, pool: VipPool, pool_place: Option<Place>) -> Option<Diagnostic> {
    let (first, last) = (pool.0.network(), pool.0.broadcast());
    let (title, label) = if !pool.contains(vip.value) {
        (format!("VIP {} is outside the pool {}", vip.value, pool.0), "outside the pool")
    } else if vip.value == first {
        (format!("VIP {} is the first address of the pool", vip.value), "the address of the network itself")
    } else if vip.value == last {
        (format!("VIP {} is the last address of the pool", vip.value), "the broadcast address of the network")
    } else {
        return None;
    };
    let lowest = Ipv4Addr::from(u32::from(first).saturating_add(1));
    let highest = Ipv4Addr::from(u32::from(last).saturating_sub(1));
    Some(Diagnostic::error(title, vip.place, label).also_if_known(pool_place, "the pool").help(format!(
        "Write an address of {lowest} to {highest}, or leave `vip` out: teal then chooses one."
    )))
}

/// What must not be an endpoint, since connections would come back to teal for ever.
pub(super) struct OwnAddresses {
    pub(super) pool: Option<VipPool>,
    pub(super) pool_place: Option<Place>,
    listeners: HashMap<SocketAddr, Listener>,
}

impl OwnAddresses {
    fn of(draft: &Draft) -> Self {
        Self {
            pool: draft.settings.pool,
            pool_place: draft.settings.pool_place,
            listeners: listeners::all(draft)
                .into_iter()
                .map(|listener| (listener.address, listener))
                .collect(),
        }
    }

    fn refuse(&self, service: &ServiceDraft, endpoint: &Placed<Endpoint>) -> Option<Diagnostic> {
        self.refuse_in_pool(endpoint).or_else(|| {
            service.ports.iter().find_map(|port| {
                let address = endpoint.value.address(&port.port);
                self.listener_at(address).map(|listener| loops(endpoint.place, address, listener))
            })
        })
    }

    fn refuse_in_pool(&self, endpoint: &Placed<Endpoint>) -> Option<Diagnostic> {
        let pool = self.pool?;
        let IpAddr::V4(ip) = endpoint.value.ip else { return None };
        pool.contains(ip).then(|| {
            let title = format!("endpoint {} lies in the VIP pool {}", quote(&ip.to_string()), pool.0);
            Diagnostic::error(title, endpoint.place, "an address of teal itself")
                .also_if_known(self.pool_place, "the pool")
                .help(
                    "Write the address where the backend listens: \
                     connections to a VIP would come back to teal.",
                )
        })
    }

    /// Who listens at an address: at it alone, or at every address where it is one of this host.
    pub(super) fn listener_at(&self, address: SocketAddr) -> Option<&Listener> {
        let everywhere = |ip: IpAddr| self.listeners.get(&SocketAddr::new(ip, address.port()));
        self.listeners.get(&address).or_else(|| {
            if !address.ip().is_loopback() {
                return None;
            }
            match address.ip() {
                IpAddr::V4(_) => everywhere(Ipv4Addr::UNSPECIFIED.into()),
                IpAddr::V6(_) => everywhere(std::net::Ipv6Addr::UNSPECIFIED.into()),
            }
        })
    }
}

fn loops(place: Place, address: SocketAddr, listener: &Listener) -> Diagnostic {
    let who = listener.owner.name();
    let default = if listener.place.is_none() { " by default" } else { "" };
    let title =
        format!("endpoint {} is teal itself: {who} listens there{default}", quote(&address.to_string()));
    Diagnostic::error(title, place, "connections would come back to teal")
        .also_if_known(listener.place, format!("{who} listens here"))
        .help("Write the address and port where the backend listens.")
}

/// Every service needs an address, and so does every color for its preview name.
fn check_room(draft: &Draft, pool: VipPool) -> Option<Diagnostic> {
    let dns = draft.settings.dns_addresses().filter(|(ip, _)| pool.contains(*ip)).count();
    let room = usize::try_from(pool.usable()).unwrap_or(usize::MAX).saturating_sub(dns);
    let mut needed = 0;
    let mut first_without = None;
    for service in &draft.services {
        needed += 1 + service.colors.len();
        if needed > room {
            first_without = first_without.or(Some(service.name.place));
        }
    }
    let first_without = first_without?;
    let title = format!("the VIP pool {} has room for {room} addresses, {needed} are needed", pool.0);
    let help = "Each service takes one address, and one more for each color's preview name: \
                make the pool larger, for example `pool = \"127.80.0.0/16\"`.";
    let finding = match draft.settings.pool_place {
        Some(place) => Diagnostic::error(title, place, "too small")
            .also(first_without, "the first service without an address"),
        None => Diagnostic::error(title, first_without, "the first service without an address"),
    };
    Some(finding.help(help))
}
