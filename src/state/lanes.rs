//! Who calls a service: lanes, which keep the calls of a release's members on the caller's side, and the callers
//! that a service with `restrict_callers` admits.
//!
//! Built with the snapshot, of the catalog and the open releases alone, so that an address that leaves its
//! endpoint leaves its lane in the same instant. A caller is known by its source address, and by nothing else.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::release::{Member, Release};
use super::releases::Releases;
use crate::model::{Catalog, Color, ColorName, LaneMode, Service, ServiceName};

/// Where a connection belongs by who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane<'a> {
    /// Nowhere: nobody who has a lane calls.
    None,
    /// Nobody can say: the caller's address is that of several services or colors.
    Ambiguous,
    /// To this color.
    Color(&'a ColorName),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Old,
    New,
    Ambiguous,
}

/// The lanes that lead to one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLanes {
    /// What becomes of a connection when nothing works at the end of its lane; never `Off`.
    pub mode: LaneMode,
    old: ColorName,
    new: ColorName,
    callers: HashMap<IpAddr, Caller>,
}

impl ServiceLanes {
    /// Where a connection from `source` belongs.
    pub fn lane(&self, source: IpAddr) -> Lane<'_> {
        match self.callers.get(&source.to_canonical()) {
            None => Lane::None,
            Some(Caller::Ambiguous) => Lane::Ambiguous,
            Some(Caller::Old) => Lane::Color(&self.old),
            Some(Caller::New) => Lane::Color(&self.new),
        }
    }
}

/// Addresses of every endpoint of every service that may call a service.
pub type Callers = HashSet<IpAddr>;

/// What a service knows of those who call it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inbound {
    /// Absent unless there is a release whose members call this one in lanes.
    pub lanes: Option<Arc<ServiceLanes>>,
    /// Who may connect to the VIP; everybody when absent.
    pub callers: Option<Arc<Callers>>,
}

impl Inbound {
    /// Whether `restrict_callers` lets a source connect to the VIP.
    pub fn may_call(&self, source: IpAddr) -> bool {
        self.callers.as_ref().is_none_or(|callers| callers.contains(&source.to_canonical()))
    }
}

/// The lanes to each service to which any lead, see [`Release::has_lanes`].
pub(super) fn lanes(catalog: &Catalog, releases: &Releases) -> BTreeMap<ServiceName, Arc<ServiceLanes>> {
    let mode = |release: &Release| catalog.apps.get(release.app()).map_or(LaneMode::Off, |app| app.lanes);
    let has_lanes = |release: &&Arc<Release>| release.has_lanes() && mode(release) != LaneMode::Off;
    let with_lanes: Vec<_> = releases.all().filter(has_lanes).collect();
    if with_lanes.is_empty() {
        return BTreeMap::new();
    }
    let owners = owners(catalog);
    let mut all = BTreeMap::<ServiceName, ServiceLanes>::new();
    for release in with_lanes {
        for member in &release.members {
            let Some(caller) = catalog.services.get(&member.service) else { continue };
            for called in caller.depends_on.iter().filter_map(|called| release.member(called)) {
                let Some(service) = catalog.services.get(&called.service) else { continue };
                let lanes = all.entry(called.service.clone()).or_insert_with(|| ServiceLanes {
                    mode: mode(release),
                    old: called.from.clone(),
                    new: called.to.clone(),
                    callers: HashMap::new(),
                });
                lanes.add(service, (caller, member), &owners);
            }
        }
    }
    all.into_iter().map(|(name, lanes)| (name, Arc::new(lanes))).collect()
}

impl ServiceLanes {
    fn add(&mut self, called: &Service, (caller, member): (&Service, &Member), owners: &Owners<'_>) {
        let old = (&member.from, &self.old, Caller::Old);
        let new = (&member.to, &self.new, Caller::New);
        for (color, to, side) in [old, new] {
            if called.color(to).is_none() {
                continue;
            }
            for address in caller.color(color).into_iter().flat_map(addresses) {
                let is_one = matches!(owners.get(&address), Some(Owner::One(..)));
                self.callers.insert(address, if is_one { side } else { Caller::Ambiguous });
            }
        }
    }
}

/// Whose endpoint an address is.
enum Owner<'c> {
    One(&'c ServiceName, &'c ColorName),
    Several,
}

type Owners<'c> = HashMap<IpAddr, Owner<'c>>;

fn owners(catalog: &Catalog) -> Owners<'_> {
    let mut owners = Owners::new();
    for service in catalog.services.values() {
        for color in &service.colors {
            for address in addresses(color) {
                match owners.entry(address) {
                    Entry::Vacant(entry) => drop(entry.insert(Owner::One(&service.name, &color.name))),
                    Entry::Occupied(mut entry) => {
                        let is_same = matches!(entry.get(), Owner::One(owner, side)
                            if **owner == service.name && **side == color.name);
                        if !is_same {
                            entry.insert(Owner::Several);
                        }
                    }
                }
            }
        }
    }
    owners
}

fn addresses(color: &Color) -> impl Iterator<Item = IpAddr> {
    color.endpoints.iter().map(|endpoint| endpoint.ip.to_canonical())
}

/// Who may call each service with `restrict_callers`.
pub(super) fn callers(catalog: &Catalog) -> BTreeMap<ServiceName, Arc<Callers>> {
    let restricted = catalog.services.values().filter(|service| service.restrict_callers);
    let mut all: BTreeMap<ServiceName, Callers> =
        restricted.map(|service| (service.name.clone(), Callers::new())).collect();
    if all.is_empty() {
        return BTreeMap::new();
    }
    for caller in catalog.services.values() {
        for called in &caller.depends_on {
            if let Some(callers) = all.get_mut(called) {
                callers.extend(caller.colors.iter().flat_map(addresses));
            }
        }
    }
    all.into_iter().map(|(name, callers)| (name, Arc::new(callers))).collect()
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
