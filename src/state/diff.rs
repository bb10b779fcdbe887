//! What differs between two catalogs: for people, and to refuse what looks like half a file.

use std::collections::BTreeSet;
use std::fmt;

use super::snapshot::Snapshot;
use crate::model::{Catalog, LaneMode, Service, ServiceName};

/// One difference, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(pub String);

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that differs in services, in order of name.
pub fn changes(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let mut changes = Vec::new();
    let names: BTreeSet<&ServiceName> = before.services.keys().chain(after.services.keys()).collect();
    for name in names {
        match (before.services.get(name), after.services.get(name)) {
            (None, Some(_)) => changes.push(Change(format!("{name}: added"))),
            (Some(_), None) => changes.push(Change(format!("{name}: removed"))),
            (Some(old), Some(new)) => service_changes(old, new, &mut changes),
            (None, None) => {}
        }
    }
    for (name, new) in &after.apps {
        let old = before.apps.get(name).map_or(LaneMode::Off, |old| old.lanes);
        if old != new.lanes {
            changes.push(Change(format!("app {name}: lanes {} -> {}", old.label(), new.lanes.label())));
        }
    }
    if before.settings != after.settings {
        changes.push(Change("settings changed".to_owned()));
    }
    changes
}

fn service_changes(old: &Service, new: &Service, changes: &mut Vec<Change>) {
    let name = &new.name;
    let mut say = |text: String| changes.push(Change(format!("{name}: {text}")));
    for color in &old.colors {
        if new.color(&color.name).is_none() {
            say(format!("color {} removed", color.name));
        }
    }
    for color in &new.colors {
        let Some(before) = old.color(&color.name) else {
            say(format!("color {} added with weight {}", color.name, color.weight));
            continue;
        };
        if before.weight != color.weight {
            say(format!("{} {} -> {}", color.name, before.weight, color.weight));
        }
        let added = color.endpoints.iter().filter(|endpoint| !before.endpoints.contains(endpoint)).count();
        let removed = before.endpoints.iter().filter(|endpoint| !color.endpoints.contains(endpoint)).count();
        if added + removed > 0 {
            say(format!("{}: {added} endpoints added, {removed} removed", color.name));
        }
        if before.fallback != color.fallback {
            say(format!("{}: fallback changed", color.name));
        }
    }
    if old.ports != new.ports {
        say("ports changed".to_owned());
    }
    if old.vip != new.vip {
        say("vip changed".to_owned());
    }
    if old.policy != new.policy {
        say("policy changed".to_owned());
    }
    if old.depends_on != new.depends_on {
        say("depends_on changed".to_owned());
    }
    if old.restrict_callers != new.restrict_callers {
        let who = if new.restrict_callers { "only its callers may" } else { "not only its callers may" };
        say(format!("{who} connect"));
    }
}

/// Removals that a reload only does when told so by hand: every endpoint of a color with weight in effect, or
/// two services or more that are more than a fifth of all, or the last one.
pub fn risky_removals(before: &Snapshot, after: &Catalog) -> Vec<String> {
    let mut risky = Vec::new();
    for (name, old) in &before.services {
        let Some(new) = after.services.get(name) else { continue };
        for color in &old.service.colors {
            let weight = old.overrides.weight(color);
            if !weight.is_zero() && new.color(&color.name).is_none() {
                let count = color.endpoints.len();
                risky.push(format!(
                    "{name}: color {} has weight {} and would lose all of its endpoints ({count})",
                    color.name, weight
                ));
            }
        }
    }
    let gone: Vec<&str> = before
        .services
        .keys()
        .filter(|name| !after.services.contains_key(*name))
        .map(ServiceName::as_str)
        .collect();
    let many = gone.len() >= 2 && gone.len() * 5 > before.services.len();
    if many || (!gone.is_empty() && after.services.is_empty()) {
        let (count, all) = (gone.len(), before.services.len());
        risky.push(format!("{count} of {all} services would be removed: {}", gone.join(", ")));
    }
    risky
}

/// Settings that a running daemon cannot change.
pub fn needs_restart(before: &Catalog, after: &Catalog) -> Vec<&'static str> {
    let (old, new) = (&before.settings, &after.settings);
    let mut needed = Vec::new();
    let mut note = |key, differs: bool| {
        if differs {
            needed.push(key);
        }
    };
    note("[dns] zones", old.dns.zones != new.dns.zones);
    note("[vip] pool", old.vip.pool != new.vip.pool);
    note("[vip] route", old.vip.route != new.vip.route);
    note("[metrics] listen", old.metrics != new.metrics);
    note("[admin] socket", old.admin != new.admin);
    note("[reload]", old.reload != new.reload);
    needed
}
