//! What somebody wants changed at run time, and what that means for what is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::overrides::{Actor, Admission, Cause, Edit, Overrides, addresses_of, covers};
use super::release::Release;
use crate::model::{Catalog, Color, ColorName, Service, ServiceName, Weight};

/// Names that a message lists at most.
const LISTED_MAX: usize = 20;

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// These colors have these weights; the others keep theirs.
    Weights {
        /// Of this service.
        service: ServiceName,
        /// By color, at least one.
        colors: BTreeMap<ColorName, Weight>,
    },
    /// The baseline is in effect again.
    Reset {
        /// Of this service.
        service: ServiceName,
    },
    /// These weights are in effect again, by themselves where they are the baseline.
    Restore {
        /// Of this service.
        service: ServiceName,
        /// Of all of its colors; of those that are not named, 0.
        weights: BTreeMap<ColorName, Weight>,
    },
    /// These weights are the baseline, and in effect.
    Baseline {
        /// Of this service.
        service: ServiceName,
        /// Of all of its colors; of those that are not named, 0.
        weights: BTreeMap<ColorName, Weight>,
    },
    /// An endpoint, or a whole color, gets new connections, or none.
    Endpoint {
        /// Of this service.
        service: ServiceName,
        /// In this color.
        color: ColorName,
        /// Which one; every one of the color where absent.
        address: Option<Address>,
        /// What it is to be.
        to: Admission,
    },
}

impl Wish {
    /// The service whose weights it is about, if it is about weights.
    pub fn of_weights(&self) -> Option<&ServiceName> {
        match self {
            Self::Weights { service, .. }
            | Self::Reset { service }
            | Self::Restore { service, .. }
            | Self::Baseline { service, .. } => Some(service),
            Self::Endpoint { .. } => None,
        }
    }
}

/// An endpoint as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// On every port.
    Host(IpAddr),
    /// On one port.
    Port(SocketAddr),
}

impl Address {
    /// Whether an endpoint's address is meant.
    pub fn matches(self, address: SocketAddr) -> bool {
        match self {
            Self::Host(ip) => address.ip() == ip,
            Self::Port(wanted) => address == wanted,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(ip) => ip.fmt(f),
            Self::Port(address) => address.fmt(f),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Port).or_else(|_| text.parse().map(Self::Host))
    }
}

/// Whether a change may go on without the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journaling {
    /// No record, no change.
    Required,
    /// It is carried out all the same, and recorded when that is possible again.
    Emergency,
}

/// Wishes that take effect at one instant, all or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// At least one, unless a release goes on without changing weights.
    pub wishes: Vec<Wish>,
    /// The release that wants it, as it is once they have taken effect.
    pub release: Option<Box<Release>>,
    /// Who, when and why.
    pub cause: Cause,
    /// Whether it needs the journal.
    pub journaling: Journaling,
}

/// A name that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// A service.
    #[error("no service is called {given:?} on this host; it knows {known}")]
    Service {
        /// As given.
        given: String,
        /// What there is.
        known: String,
    },
    /// A color.
    #[error("{service} has no color {given:?} on this host; it has {known}")]
    Color {
        /// Its service.
        service: ServiceName,
        /// As given.
        given: String,
        /// What there is.
        known: String,
    },
    /// An endpoint.
    #[error("color {color} of {service} has no endpoint {given} on this host; it has {known}")]
    Endpoint {
        /// Its service.
        service: ServiceName,
        /// Its color.
        color: ColorName,
        /// As given.
        given: String,
        /// What there is.
        known: String,
    },
}

fn list<T: ToString>(names: impl ExactSizeIterator<Item = T>) -> String {
    let (count, listed): (usize, Vec<String>) =
        (names.len(), names.take(LISTED_MAX).map(|n| n.to_string()).collect());
    match count {
        0 => "none".to_owned(),
        _ if count > LISTED_MAX => format!("{} and {} more", listed.join(", "), count - LISTED_MAX),
        _ => listed.join(", "),
    }
}

/// The service of that name.
///
/// # Errors
/// There is none; says which there are.
pub fn find<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Service, Unknown> {
    let service = catalog.services.get(name).map(|service| &**service);
    service.ok_or_else(|| Unknown::Service { given: name.to_owned(), known: list(catalog.services.keys()) })
}

fn check_color(service: &Service, color: &ColorName) -> Result<(), Unknown> {
    if service.color(color).is_some() {
        return Ok(());
    }
    let known = list(service.colors.iter().map(|color| &color.name));
    Err(Unknown::Color { service: service.name.clone(), given: color.to_string(), known })
}

/// What wishes change; a wish that changes nothing gives no edit.
///
/// # Errors
/// One of them names what is not there.
pub fn plan(wishes: &[Wish], catalog: &Catalog, overrides: &Overrides) -> Result<Vec<Edit>, Unknown> {
    let mut all = Vec::new();
    // Each wish finds what those before it changed.
    let (mut overrides, nobody) =
        (overrides.clone(), Cause { actor: Actor::default(), at: 0, why: String::new() });
    for wish in wishes {
        let edits = plan_one(wish, catalog, &overrides)?;
        overrides.apply(&edits, &nobody);
        all.extend(edits);
    }
    Ok(all)
}

fn plan_one(wish: &Wish, catalog: &Catalog, overrides: &Overrides) -> Result<Vec<Edit>, Unknown> {
    match wish {
        Wish::Weights { service, colors } => {
            let service = find(catalog, service.as_str())?;
            Ok(vec![plan_weights(service, colors, overrides)?])
        }
        Wish::Reset { service } => {
            let service = find(catalog, service.as_str())?;
            Ok(plan_reset(service, overrides).into_iter().collect())
        }
        Wish::Restore { service, weights } => {
            let service = find(catalog, service.as_str())?;
            let wanted = complete(service, weights);
            if wanted == overrides.baseline(service) {
                return Ok(plan_reset(service, overrides).into_iter().collect());
            }
            let is_so = wanted == overrides.effective(service);
            if is_so { Ok(Vec::new()) } else { Ok(vec![plan_weights(service, &wanted, overrides)?]) }
        }
        Wish::Baseline { service, weights } => {
            let service = find(catalog, service.as_str())?;
            Ok(plan_baseline(service, complete(service, weights), overrides))
        }
        Wish::Endpoint { service, color, address, to } => {
            let service = find(catalog, service.as_str())?;
            plan_endpoint(service, (color, *address), *to, overrides)
        }
    }
}

/// Weights of all colors of a service.
fn complete(service: &Service, weights: &BTreeMap<ColorName, Weight>) -> BTreeMap<ColorName, Weight> {
    let of = |color: &Color| weights.get(&color.name).copied().unwrap_or(Weight::ZERO);
    service.colors.iter().map(|color| (color.name.clone(), of(color))).collect()
}

/// The end of an override of weights.
fn plan_reset(service: &Service, overrides: &Overrides) -> Option<Edit> {
    overrides.of(&service.name).weights.as_ref()?;
    let (before, after) = (overrides.effective(service), overrides.baseline(service));
    Some(Edit::Weights { service: service.name.clone(), before, after, covers: None })
}

/// The baseline is `wanted`, and nothing overrides it.
fn plan_baseline(service: &Service, wanted: BTreeMap<ColorName, Weight>, overrides: &Overrides) -> Vec<Edit> {
    let (name, before) = (&service.name, overrides.baseline(service));
    let in_file = service.colors.iter().all(|color| wanted.get(&color.name) == Some(&color.weight));
    let covers = if in_file { None } else { covers(service, wanted.keys()) };
    let mut edits = Vec::new();
    if overrides.of(name).weights.is_some() {
        let (before, after) = (overrides.effective(service), wanted.clone());
        edits.push(Edit::Weights { service: name.clone(), before, after, covers: None });
    }
    if before != wanted {
        edits.push(Edit::Baseline { service: name.clone(), before, after: wanted, covers });
    }
    edits
}

fn plan_weights(
    service: &Service,
    colors: &BTreeMap<ColorName, Weight>,
    overrides: &Overrides,
) -> Result<Edit, Unknown> {
    for color in colors.keys() {
        check_color(service, color)?;
    }
    let before = overrides.effective(service);
    let mut after = before.clone();
    after.extend(colors.iter().map(|(color, weight)| (color.clone(), *weight)));
    let covers = covers(service, after.keys());
    Ok(Edit::Weights { service: service.name.clone(), before, after, covers })
}

fn plan_endpoint(
    service: &Service,
    (color, wanted): (&ColorName, Option<Address>),
    to: Admission,
    overrides: &Overrides,
) -> Result<Vec<Edit>, Unknown> {
    check_color(service, color)?;
    let all = addresses_of(service, color);
    let is_named = |address: &SocketAddr| wanted.is_none_or(|wanted| wanted.matches(*address));
    let named: Vec<_> = all.iter().copied().filter(is_named).collect();
    if let (Some(wanted), true) = (wanted, named.is_empty()) {
        let (given, known) = (wanted.to_string(), list(all.iter()));
        return Err(Unknown::Endpoint { service: service.name.clone(), color: color.clone(), given, known });
    }
    let of = overrides.of(&service.name);
    let edit = |address: SocketAddr| {
        let is_disabled = of.disabled(color, address).is_some();
        let before = if is_disabled { Admission::Disabled } else { Admission::Enabled };
        (before != to).then(|| Edit::Endpoint {
            service: service.name.clone(),
            color: color.clone(),
            address,
            before,
            after: to,
        })
    };
    Ok(named.into_iter().filter_map(edit).collect())
}
