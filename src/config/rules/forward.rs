//! Upstreams against teal's own addresses, and forwarded domains against what teal answers itself.

use std::net::{IpAddr, SocketAddr};

use super::super::diagnostic::{Diagnostic, Findings, quote};
use super::super::draft::{Draft, Owner};
use super::super::walk::Placed;
use super::addresses::OwnAddresses;
use crate::model::Domain;

pub(super) fn check(draft: &Draft, own: &OwnAddresses, findings: &mut Findings) {
    for upstream in &draft.settings.upstreams {
        findings.push_some(refuse_upstream(*upstream, own));
    }
    for domain in &draft.settings.forwarded {
        findings.push_some(refuse_domain(domain, draft));
    }
}

/// A question to teal itself would come back to it for ever.
fn refuse_upstream(upstream: Placed<SocketAddr>, own: &OwnAddresses) -> Option<Diagnostic> {
    let listener = own.listener_at(upstream.value).filter(|listener| listener.owner == Owner::Dns);
    let (label, other) = match (listener, upstream.value.ip()) {
        (Some(listener), _) => ("queries would come back to teal", (listener.place, "teal listens here")),
        (None, IpAddr::V4(ip)) if own.pool.is_some_and(|pool| pool.contains(ip)) => {
            ("an address of the VIP pool", (own.pool_place, "the pool"))
        }
        _ => return None,
    };
    let title = format!("upstream {} is teal itself", quote(&upstream.value.to_string()));
    Some(
        Diagnostic::error(title, upstream.place, label)
            .also_if_known(other.0, other.1)
            .help("Write the address of another DNS server."),
    )
}

/// The name of a service is answered here and nowhere else.
fn refuse_domain(domain: &Placed<Domain>, draft: &Draft) -> Option<Diagnostic> {
    let zones = &draft.settings.settings.dns.zones;
    let (zone, below) = zones.iter().find_map(|zone| Some((zone, domain.value.below(zone)?)))?;
    let name = quote(domain.value.as_str());
    let first = below.rsplit('.').next().unwrap_or_default();
    let service = draft.services.iter().find(|service| service.name.value.as_str() == first);
    if below.is_empty() {
        let title = format!("{name} is a zone of teal's own and cannot be forwarded");
        let help = "Name a domain below the zone, or take the zone out of `zones`.";
        return Some(Diagnostic::error(title, domain.place, "answered by teal").help(help));
    }
    if first == "ns" {
        let title = format!("forwarded domain {name} takes the name of teal's name server");
        let help = format!("`ns.{zone}` is answered by teal: forward another domain.");
        return Some(Diagnostic::error(title, domain.place, "answered by teal").help(help));
    }
    let service = service?;
    let title = format!("forwarded domain {name} takes the name of service {}", quote(first));
    Some(
        Diagnostic::error(title, domain.place, "answered by teal")
            .also(service.name.place, "the service")
            .help("Forward another domain, or rename the service."),
    )
}
