//! Builds a snapshot from a catalog, reusing whatever did not change.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::answers::Answers;
use super::lanes::{Inbound, callers, lanes};
use super::live::Live;
use super::outlier::SuccessAt;
use super::overrides::{Admission, Overrides, ServiceOverrides};
use super::releases::Releases;
use super::snapshot::{ColorState, EndpointState, PortState, ServiceState, Snapshot};
use crate::balance::{Owed, Pick, SourceAffinity, Split};
use crate::model::{Affinity, Balance, Catalog, Color, ColorName, Port, Service, ServiceName, Weight};

/// The addresses of one service's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Of the service's own name.
    pub vip: Ipv4Addr,
    /// Of the preview names, in the order of `Service::colors`.
    pub previews: Vec<Ipv4Addr>,
}

/// What a snapshot is built from, besides the one before.
pub struct Parts<'a> {
    /// The configuration.
    pub catalog: Arc<Catalog>,
    /// Addresses of every service of the catalog.
    pub addresses: &'a BTreeMap<ServiceName, Addresses>,
    /// Names and addresses as DNS tells them. The caller builds them anew only when names,
    /// addresses or `[dns]` changed.
    pub answers: Arc<Answers>,
    /// Releases and freezes.
    pub releases: Arc<Releases>,
    /// Where live facts are found.
    pub live: &'a Live,
    /// Decides ties of the split; differs from host to host.
    pub rotation: usize,
}

/// Builds the successor of `before` where nothing is set at run time.
pub fn build(parts: &Parts<'_>, before: Option<&Snapshot>) -> Snapshot {
    build_with(parts, &Overrides::default(), before)
}

/// The successor of `before` in which nothing but what is set at run time differs. Services whose overrides and lanes
/// are the same are shared with it.
pub fn override_again(
    before: &Snapshot,
    (overrides, releases): (&Overrides, &Arc<Releases>),
    live: &Live,
    rotation: usize,
) -> Snapshot {
    let addresses = BTreeMap::new();
    let parts = Parts {
        catalog: Arc::clone(&before.catalog),
        addresses: &addresses,
        answers: Arc::clone(&before.answers),
        releases: Arc::clone(releases),
        live,
        rotation,
    };
    let lanes = (before.releases != *releases).then(|| lanes(&parts.catalog, releases));
    let services = before.services.iter().map(|(name, old)| {
        let set = overrides.of(name);
        let mut inbound = old.inbound.clone();
        if let Some(lanes) = &lanes {
            inbound.lanes = lanes.get(name).cloned();
        }
        let state = if *set == old.overrides && inbound == old.inbound {
            Arc::clone(old)
        } else {
            let addresses = Addresses { vip: old.vip, previews: old.previews.clone() };
            Arc::new(build_service(&parts, (&old.service, set), &addresses, (inbound, Some(old))))
        };
        (name.clone(), state)
    });
    Snapshot {
        services: services.collect(),
        generation: before.generation + 1,
        catalog: parts.catalog,
        answers: parts.answers,
        releases: parts.releases,
    }
}

/// Builds the successor of `before`. Services that did not change are shared with it, down to the
/// counters; the sequence of a split lives on where the weights are the same.
pub fn build_with(parts: &Parts<'_>, overrides: &Overrides, before: Option<&Snapshot>) -> Snapshot {
    let mut services = BTreeMap::new();
    let (lanes, callers) = (lanes(&parts.catalog, &parts.releases), callers(&parts.catalog));
    for (name, service) in &parts.catalog.services {
        let inbound = Inbound { lanes: lanes.get(name).cloned(), callers: callers.get(name).cloned() };
        let Some(addresses) = parts.addresses.get(name) else { continue };
        let old = before.and_then(|before| before.services.get(name));
        let state = match old {
            Some(old)
                if old.service == *service
                    && old.overrides == *overrides.of(name)
                    && old.inbound == inbound
                    && old.vip == addresses.vip
                    && old.previews == addresses.previews =>
            {
                Arc::clone(old)
            }
            old => {
                let old = (inbound, old.map(Arc::as_ref));
                Arc::new(build_service(parts, (service, overrides.of(name)), addresses, old))
            }
        };
        services.insert(name.clone(), state);
    }
    Snapshot {
        generation: before.map_or(1, |before| before.generation + 1),
        catalog: Arc::clone(&parts.catalog),
        services,
        answers: Arc::clone(&parts.answers),
        releases: Arc::clone(&parts.releases),
    }
}

fn build_service(
    parts: &Parts<'_>,
    (service, overrides): (&Arc<Service>, &ServiceOverrides),
    addresses: &Addresses,
    (inbound, old): (Inbound, Option<&ServiceState>),
) -> ServiceState {
    let ports = service.ports.iter().map(|port| {
        let old = old.and_then(|old| old.port(port.listen));
        build_port(parts, (service, overrides), port, old)
    });
    ServiceState {
        ports: ports.collect(),
        live: parts.live.service(&service.name),
        service: Arc::clone(service),
        vip: addresses.vip,
        previews: addresses.previews.clone(),
        overrides: overrides.clone(),
        inbound,
    }
}

fn build_port(
    parts: &Parts<'_>,
    (service, overrides): (&Service, &ServiceOverrides),
    port: &Port,
    old: Option<&PortState>,
) -> PortState {
    let weights: Vec<Weight> = service.colors.iter().map(|color| overrides.weight(color)).collect();
    let colors = service.colors.iter().map(|color| {
        let old = old.and_then(|old| old.colors.iter().find(|old| old.name == color.name));
        build_color(parts, (service, overrides), (port, color), old)
    });
    let split = build_split((&service.colors, &weights), parts.rotation, old);
    let names = service.colors.iter().map(|color| color.name.as_str());
    let affinity = match service.policy.affinity {
        Affinity::None => None,
        Affinity::SourceIp => Some(SourceAffinity::new(names.zip(split.weights().iter().copied()))),
    };
    PortState {
        split,
        affinity,
        colors: colors.collect(),
        live: parts.live.port(&service.name, port.listen),
        port: port.clone(),
    }
}

/// The old sequence where names and weights are the same, else its successor.
fn build_split(
    (colors, weights): (&[Color], &[Weight]),
    rotation: usize,
    old: Option<&PortState>,
) -> Arc<Split> {
    let weights: Vec<u16> = weights.iter().map(|weight| weight.get()).collect();
    let Some(old) = old else { return Arc::new(Split::new(weights, rotation)) };
    let same_names = old.colors.iter().map(|color| &color.name).eq(colors.iter().map(|color| &color.name));
    if same_names && old.split.weights() == weights {
        return Arc::clone(&old.split);
    }
    let owed = old.split.owed();
    let owed_to = |name: &ColorName| {
        let index = old.colors.iter().position(|color| color.name == *name)?;
        owed.get(index).copied()
    };
    let owed = colors.iter().map(|color| owed_to(&color.name).unwrap_or_default()).collect::<Vec<Owed>>();
    Arc::new(Split::carrying(weights, owed, rotation))
}

fn build_color(
    parts: &Parts<'_>,
    (service, overrides): (&Service, &ServiceOverrides),
    (port, color): (&Port, &Color),
    old: Option<&ColorState>,
) -> ColorState {
    let checked = service.policy.health.active().is_some();
    let endpoints: Vec<EndpointState> = color
        .endpoints
        .iter()
        .map(|endpoint| {
            let address = endpoint.address(port);
            let weight = endpoint.weight.get();
            let live = parts.live.endpoint((&service.name, port.listen, &color.name), address);
            let is_disabled = overrides.disabled(&color.name, address).is_some();
            let admission = if is_disabled { Admission::Disabled } else { Admission::Enabled };
            EndpointState { address, weight, admission, live, checked }
        })
        .collect();
    ColorState {
        pick: build_pick(service.policy.balance, &endpoints, parts.rotation, old),
        name: color.name.clone(),
        weight: overrides.weight(color),
        fallback: color
            .fallback
            .as_ref()
            .and_then(|name| service.colors.iter().position(|c| c.name == *name)),
        max_connections: color.max_connections,
        success: SuccessAt::of(service.policy.outlier.as_ref()),
        slow_start: service.policy.slow_start.is_some(),
        proxy_protocol: color.proxy_protocol,
        endpoints,
        live: parts.live.color(&service.name, port.listen, &color.name),
    }
}

/// The old pick where it would be the same, as laying one out takes time.
fn build_pick(
    balance: Balance,
    endpoints: &[EndpointState],
    rotation: usize,
    old: Option<&ColorState>,
) -> Arc<Pick> {
    let members = |endpoints: &[EndpointState]| {
        endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight)).collect::<Vec<_>>()
    };
    let members_now = members(endpoints);
    match old {
        Some(old) if old.pick.balance() == balance && members(&old.endpoints) == members_now => {
            Arc::clone(&old.pick)
        }
        _ => {
            let pick = Pick::new(balance, &members_now, rotation as u64);
            Arc::new(pick.expect("config bounds the sum of a color's endpoint weights, and wants one"))
        }
    }
}
