//! What people set at run time: weights of services, endpoints taken out of use, each with who, when and why.
//!
//! Pure: the journal keeps it, the writer carries it out. One fold ([`Overrides::apply`]) makes it from
//! edits, for the running daemon and for the replay of the journal alike.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{Catalog, Color, ColorName, Service, ServiceName, Weight};

/// Who did something, as the kernel tells; never what a client says of itself, but for `hint`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Actor {
    /// The user's name, or `uid N`; for what nobody did by hand, a word in brackets.
    pub name: String,
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The process' name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Who logged in, where the kernel keeps that: another than `name` after sudo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Whom the client says it acts for (`SUDO_USER`). Not checked by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Actor {
    /// The configuration's file, which ends overrides.
    pub fn configuration() -> Self {
        Self { name: "(configuration)".to_owned(), ..Self::default() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match (&self.login, &self.hint) {
            (Some(login), _) if *login != self.name => write!(f, " (logged in as {login})"),
            (None, Some(hint)) if *hint != self.name => write!(f, " (says for {hint})"),
            _ => Ok(()),
        }
    }
}

/// Who, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Who.
    pub actor: Actor,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why, in their words.
    pub why: String,
}

/// Weights of all colors of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightOverride {
    /// By color; one that is not named here appeared later and has weight 0.
    pub weights: BTreeMap<ColorName, Weight>,
    /// Hash of the file's weights of these colors, see [`covers`].
    pub covers: String,
    /// Who, when and why.
    pub cause: Cause,
}

impl WeightOverride {
    fn of((weights, covers): (&BTreeMap<ColorName, Weight>, Option<&String>), cause: &Cause) -> Option<Self> {
        let (weights, covers) = (weights.clone(), covers?.clone());
        Some(Self { weights, covers, cause: cause.clone() })
    }

    /// Whether the file's weights are others than those that it was set for.
    pub fn is_outdated(&self, service: Option<&Service>) -> bool {
        let covered = service.and_then(|service| covers(service, self.weights.keys()));
        covered.as_ref() != Some(&self.covers)
    }

    fn weight(&self, color: &ColorName) -> Weight {
        self.weights.get(color).copied().unwrap_or(Weight::ZERO)
    }
}

/// What is set by hand for one service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceOverrides {
    /// Its weights, where they are not the baseline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightOverride>,
    /// Its baseline, where a confirmed release left another than the file's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<WeightOverride>,
    /// Endpoints that get no new connection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disabled: BTreeMap<ColorName, BTreeMap<SocketAddr, Cause>>,
}

impl ServiceOverrides {
    /// The weight in effect of a color.
    pub fn weight(&self, color: &Color) -> Weight {
        self.weights.as_ref().map_or_else(|| self.baseline(color), |set| set.weight(&color.name))
    }

    /// The weight of a color that holds while nobody sets another.
    pub fn baseline(&self, color: &Color) -> Weight {
        self.baseline.as_ref().map_or(color.weight, |set| set.weight(&color.name))
    }

    /// Who disabled an endpoint, if somebody did.
    pub fn disabled(&self, color: &ColorName, address: SocketAddr) -> Option<&Cause> {
        self.disabled.get(color)?.get(&address)
    }

    fn is_empty(&self) -> bool {
        self.weights.is_none() && self.baseline.is_none() && self.disabled.is_empty()
    }
}

/// Whether an endpoint may get new connections, by the operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// It may.
    Enabled,
    /// It gets none; what is open drains.
    Disabled,
}

/// One change, with what was before: enough to redo and to understand it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Edit {
    /// Weights in effect of a service.
    Weights {
        /// Of this service.
        service: ServiceName,
        /// What they were.
        before: BTreeMap<ColorName, Weight>,
        /// What they are from then on.
        after: BTreeMap<ColorName, Weight>,
        /// The file's weights that this overrides; absent when the baseline is in effect again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        covers: Option<String>,
    },
    /// The baseline of a service.
    Baseline {
        /// Of this service.
        service: ServiceName,
        /// What it was.
        before: BTreeMap<ColorName, Weight>,
        /// What it is from then on.
        after: BTreeMap<ColorName, Weight>,
        /// The file's weights that this stands for; absent when the file's weights are the baseline again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        covers: Option<String>,
    },
    /// Whether an endpoint gets new connections.
    Endpoint {
        /// Of this service.
        service: ServiceName,
        /// In this color.
        color: ColorName,
        /// Where it is.
        address: SocketAddr,
        /// What it was.
        before: Admission,
        /// What it is from then on.
        after: Admission,
    },
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights { service, before, after, covers } => {
                write!(f, "{service}: {} -> {}", side(before), side(after))?;
                if covers.is_none() { f.write_str(" (override ended)") } else { Ok(()) }
            }
            Self::Baseline { service, before, after, covers } => {
                write!(f, "{service}: baseline {} -> {}", side(before), side(after))?;
                if covers.is_none() { f.write_str(" (as in the file)") } else { Ok(()) }
            }
            Self::Endpoint { service, color, address, after, .. } => {
                let word = if *after == Admission::Enabled { "enabled" } else { "disabled" };
                write!(f, "{service}: {color} {address} {word}")
            }
        }
    }
}

fn side(weights: &BTreeMap<ColorName, Weight>) -> String {
    weights.iter().map(|(color, weight)| format!("{color}={weight}")).collect::<Vec<_>>().join(" ")
}

impl Edit {
    /// The service that it is about.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Weights { service, .. }
            | Self::Baseline { service, .. }
            | Self::Endpoint { service, .. } => service,
        }
    }
}

/// Everything that is set by hand, by service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overrides {
    services: BTreeMap<ServiceName, ServiceOverrides>,
}

impl Overrides {
    /// What is set for a service; empty where nothing is.
    pub fn of(&self, service: &ServiceName) -> &ServiceOverrides {
        static NOTHING: ServiceOverrides =
            ServiceOverrides { weights: None, baseline: None, disabled: BTreeMap::new() };
        self.services.get(service).unwrap_or(&NOTHING)
    }

    /// Services for which something is set.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceOverrides)> {
        self.services.iter()
    }

    /// The weights in effect of a service.
    pub fn effective(&self, service: &Service) -> BTreeMap<ColorName, Weight> {
        let of = self.of(&service.name);
        service.colors.iter().map(|color| (color.name.clone(), of.weight(color))).collect()
    }

    /// The weights of a service that hold while nobody sets others.
    pub fn baseline(&self, service: &Service) -> BTreeMap<ColorName, Weight> {
        let of = self.of(&service.name);
        service.colors.iter().map(|color| (color.name.clone(), of.baseline(color))).collect()
    }

    /// Carries out edits.
    pub fn apply(&mut self, edits: &[Edit], cause: &Cause) {
        for edit in edits {
            match edit {
                Edit::Weights { service, after, covers, .. } => {
                    let set = WeightOverride::of((after, covers.as_ref()), cause);
                    self.services.entry(service.clone()).or_default().weights = set;
                }
                Edit::Baseline { service, after, covers, .. } => {
                    let set = WeightOverride::of((after, covers.as_ref()), cause);
                    self.services.entry(service.clone()).or_default().baseline = set;
                }
                Edit::Endpoint { service, color, address, after, .. } => {
                    let disabled = &mut self.services.entry(service.clone()).or_default().disabled;
                    let of_color = disabled.entry(color.clone()).or_default();
                    match after {
                        Admission::Enabled => of_color.remove(address),
                        Admission::Disabled => of_color.insert(*address, cause.clone()),
                    };
                    disabled.retain(|_, of_color| !of_color.is_empty());
                }
            }
        }
        self.services.retain(|_, of| !of.is_empty());
    }

    /// What ends because `catalog` is the configuration now: weights and baselines that it changed, and
    /// whatever is set for services, colors and endpoints that it does not have. Services that are `held` keep
    /// their weights: a release decides about them.
    pub fn ended_by(&self, catalog: &Catalog, held: impl Fn(&ServiceName) -> bool) -> Vec<Edit> {
        let ended = |(name, of): (&ServiceName, &ServiceOverrides)| {
            let service = catalog.services.get(name).map(|service| &**service);
            let weights = if held(name) { Vec::new() } else { ended_weights((name, of), service) };
            weights.into_iter().chain(ended_endpoints((name, of), service)).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(ended).collect()
    }
}

fn ended_weights((name, of): (&ServiceName, &ServiceOverrides), service: Option<&Service>) -> Vec<Edit> {
    let outdated = |set: &Option<WeightOverride>| set.clone().filter(|set| set.is_outdated(service));
    let colors = service.map_or(&[][..], |service| &service.colors);
    let after: BTreeMap<_, _> = colors.iter().map(|color| (color.name.clone(), color.weight)).collect();
    let weights = outdated(&of.weights).map(|set| {
        let (before, after) = (set.weights, after.clone());
        Edit::Weights { service: name.clone(), before, after, covers: None }
    });
    let baseline = outdated(&of.baseline).map(|set| {
        let (before, after) = (set.weights, after.clone());
        Edit::Baseline { service: name.clone(), before, after, covers: None }
    });
    weights.into_iter().chain(baseline).collect()
}

fn ended_endpoints((name, of): (&ServiceName, &ServiceOverrides), service: Option<&Service>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (color, addresses) in &of.disabled {
        let has = |address: &SocketAddr| {
            service.is_some_and(|service| addresses_of(service, color).contains(address))
        };
        let gone = addresses.keys().filter(|address| !has(address));
        edits.extend(gone.map(|address| Edit::Endpoint {
            service: name.clone(),
            color: color.clone(),
            address: *address,
            before: Admission::Disabled,
            after: Admission::Enabled,
        }));
    }
    edits
}

/// Every address of a color, over all ports of its service.
pub fn addresses_of(service: &Service, color: &ColorName) -> Vec<SocketAddr> {
    let endpoints = service.color(color).map_or(&[][..], |color| &color.endpoints);
    let on_ports = |endpoint: &crate::model::Endpoint| {
        service.ports.iter().map(|port| endpoint.address(port)).collect::<Vec<_>>()
    };
    let mut addresses: Vec<_> = endpoints.iter().flat_map(on_ports).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// First 16 hex digits of the SHA-256 over the file's weights of these colors, each as `name=weight\n` in
/// order of name; `None` when the file lacks one of them.
pub fn covers<'a>(service: &Service, colors: impl Iterator<Item = &'a ColorName>) -> Option<String> {
    let mut hasher = Sha256::new();
    for name in colors {
        let color = service.color(name)?;
        hasher.update(format!("{name}={}\n", color.weight));
    }
    Some(hex(&hasher.finalize()[..8]))
}

/// Bytes as lower case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod tests;
