//! Addresses where teal listens: none of them twice, none in the way of VIPs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::diagnostic::{Diagnostic, Findings, quote};
use super::super::draft::{Draft, Listener, Owner};
use super::super::source::Place;
use crate::model::VipPool;

/// Every listener of a draft other than VIPs, in the order in which they are bound.
pub(super) fn all(draft: &Draft) -> Vec<Listener> {
    let exposed = draft
        .services
        .iter()
        .flat_map(|service| &service.ports)
        .flat_map(|port| &port.expose)
        .map(|address| Listener::new(*address, Owner::Expose));
    draft.settings.listeners.iter().copied().chain(exposed).collect()
}

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let listeners = all(draft);
    check_overlaps(&listeners, findings);
    check_wildcards_against_vips(draft, &listeners, findings);
    if let Some(pool) = draft.settings.pool {
        for listener in &listeners {
            check_outside_pool(listener, pool, draft.settings.pool_place, findings);
        }
    }
}

/// The address that stands for all addresses of the same family.
fn wildcard(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, address.port())
}

/// The same address twice, or an address and a wildcard on the same port. Port 0 is chosen by the
/// kernel and never the same twice.
fn check_overlaps(listeners: &[Listener], findings: &mut Findings) {
    let mut exact: HashMap<SocketAddr, &Listener> = HashMap::new();
    let mut by_family_and_port: HashMap<SocketAddr, &Listener> = HashMap::new();
    for listener in listeners.iter().filter(|listener| listener.address.port() != 0) {
        let all_addresses = wildcard(listener.address);
        let earlier = exact
            .get(&listener.address)
            .or_else(|| exact.get(&all_addresses))
            .or_else(|| by_family_and_port.get(&all_addresses).filter(|_| listener.address == all_addresses));
        if let Some(earlier) = earlier {
            findings.push_some(overlap(listener, earlier));
        }
        exact.entry(listener.address).or_insert(listener);
        by_family_and_port.entry(all_addresses).or_insert(listener);
    }
}

fn overlap(listener: &Listener, earlier: &Listener) -> Option<Diagnostic> {
    // Of two places, the one written later is to be changed; a default has none.
    let (at, other) = match (listener.place, earlier.place) {
        (Some(_), _) => (listener, earlier),
        (None, Some(_)) => (earlier, listener),
        (None, None) => return None,
    };
    let (title, label) = if at.address == other.address {
        (format!("{} is listened at twice", at.address), "used again here")
    } else {
        (
            format!("{} and {} overlap", at.address, other.address),
            "one of the two is every address of the host",
        )
    };
    let default = other
        .place
        .is_none()
        .then(|| format!(" ({} is the default of {})", other.address, other.owner.name()));
    let help = format!("Give one of them another port{}.", default.unwrap_or_default());
    Some(
        Diagnostic::error(title, at.place?, label)
            .also_if_known(other.place, format!("used here by {}", other.owner.name()))
            .help(help),
    )
}

/// The kernel refuses to listen at one address of a port when somebody listens at all of them.
fn check_wildcards_against_vips(draft: &Draft, listeners: &[Listener], findings: &mut Findings) {
    let wildcards: HashMap<u16, &Listener> = listeners
        .iter()
        .filter(|listener| listener.address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        .map(|listener| (listener.address.port(), listener))
        .collect();
    for port in draft.services.iter().flat_map(|service| &service.ports) {
        let Some(blocker) = wildcards.get(&port.port.listen) else { continue };
        let title = format!("{} takes port {} from every VIP", blocker.address, port.port.listen);
        let Some(place) = blocker.place else { continue };
        findings.push(
            Diagnostic::error(title, place, "every address of the host, VIPs too")
                .also(port.listen_place, "this port cannot be listened at any more")
                .help("Use another port, or name the address of one interface instead of 0.0.0.0."),
        );
    }
}

fn check_outside_pool(
    listener: &Listener,
    pool: VipPool,
    pool_place: Option<Place>,
    findings: &mut Findings,
) {
    // DNS may be inside: VIPs leave its addresses out.
    let (Some(place), IpAddr::V4(ip)) = (listener.place, listener.address.ip()) else { return };
    if listener.owner == Owner::Dns || !pool.contains(ip) {
        return;
    }
    let title = format!("{} lies in the VIP pool {}", quote(&listener.address.to_string()), pool.0);
    let help = match listener.owner {
        Owner::Expose => {
            "`expose` is for further addresses, outside the pool; the VIP is listened at anyway."
        }
        Owner::Dns | Owner::Metrics => "Addresses of the pool are given to services: use one outside it.",
    };
    findings.push(
        Diagnostic::error(title, place, "inside the pool").also_if_known(pool_place, "the pool").help(help),
    );
}
