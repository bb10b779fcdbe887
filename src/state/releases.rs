//! Every release that the journal keeps, and what is frozen.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::overrides::Cause;
use super::release::{Phase, Release, ReleaseId};
use crate::model::{AppName, Catalog, ColorName, ServiceName};

/// Releases of one app that are over and still known.
const ENDED_MAX: usize = 5;

/// Releases and freezes. The fold of the journal's records about them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Releases {
    /// In the order of their start.
    #[serde(default)]
    all: Vec<Arc<Release>>,
    #[serde(default)]
    freezes: Vec<Freeze>,
}

/// Nothing shifts while it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Of this app; of every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Who, when and why.
    pub cause: Cause,
}

/// Why a release ends the connections of a color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseEnd {
    /// It was rolled back: after so long a grace.
    RolledBack(Duration),
    /// It was confirmed: they have the service's `drain_timeout`.
    Confirmed,
}

impl Releases {
    /// All that are known, in the order of their start.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<Release>> {
        self.all.iter()
    }

    /// Those that were neither confirmed nor rolled back.
    pub fn open(&self) -> impl Iterator<Item = &Arc<Release>> {
        self.all.iter().filter(|release| release.is_open())
    }

    /// The one with that name.
    pub fn get(&self, id: &ReleaseId) -> Option<&Arc<Release>> {
        self.all.iter().find(|release| release.id == *id)
    }

    /// The last one of an app.
    pub fn last_of(&self, app: &AppName) -> Option<&Arc<Release>> {
        self.all.iter().rev().find(|release| release.app() == app)
    }

    /// The open one that a service is a member of.
    pub fn open_with(&self, service: &ServiceName) -> Option<&Arc<Release>> {
        self.open().find(|release| release.member(service).is_some())
    }

    /// Takes a release as it is now.
    pub fn note(&mut self, release: Release) {
        let release = Arc::new(release);
        match self.all.iter_mut().find(|known| known.id == release.id) {
            Some(known) => *known = release,
            None => self.all.push(release),
        }
        let mut ended = std::collections::BTreeMap::<AppName, usize>::new();
        let is_kept = |release: &Arc<Release>| {
            let count = ended.entry(release.app().clone()).or_default();
            *count += usize::from(!release.is_live());
            release.is_live() || *count <= ENDED_MAX
        };
        let kept: Vec<bool> = self.all.iter().rev().map(is_kept).collect();
        let mut kept = kept.into_iter().rev();
        self.all.retain(|_| kept.next().unwrap_or(true));
    }

    /// Why an app's releases may not shift, if so.
    pub fn freeze(&self, app: &AppName) -> Option<&Freeze> {
        self.freezes.iter().find(|freeze| freeze.app.as_ref().is_none_or(|frozen| frozen == app))
    }

    /// What is frozen.
    pub fn freezes(&self) -> &[Freeze] {
        &self.freezes
    }

    /// Freezes, or ends a freeze of exactly that app, or of everything.
    pub fn set_frozen(&mut self, app: Option<&AppName>, freeze: Option<Cause>) {
        self.freezes.retain(|freeze| freeze.app.as_ref() != app);
        if let Some(cause) = freeze {
            self.freezes.push(Freeze { app: app.cloned(), cause });
        }
    }

    /// Whether a release ends the connections of a color, and which kind of end that is.
    pub fn ends(&self, service: &ServiceName, color: &ColorName) -> Option<ReleaseEnd> {
        self.all.iter().rev().find_map(|release| {
            let member = release.member(service)?;
            match release.phase {
                Phase::RollingBack if member.to == *color => {
                    Some(ReleaseEnd::RolledBack(release.spec.rollback_close_after))
                }
                Phase::Confirming if member.from == *color => Some(ReleaseEnd::Confirmed),
                _ => None,
            }
        })
    }

    /// What a configuration would take from open releases, in words.
    pub fn torn_by(&self, catalog: &Catalog) -> Vec<String> {
        let torn = |release: &Arc<Release>| {
            let id = release.id.clone();
            let lacks = release.members.iter().filter_map(|member| {
                let service = catalog.services.get(&member.service);
                let has = |color| service.is_some_and(|service| service.color(color).is_some());
                let name = &member.service;
                let lost = [&member.from, &member.to].into_iter().find(|color| !has(color))?;
                Some(match service {
                    None => format!("{name}, a member of the open release {id}, would be removed"),
                    Some(_) => {
                        format!("color {lost} of {name}, which the open release {id} needs, would be removed")
                    }
                })
            });
            lacks.collect::<Vec<_>>()
        };
        self.open().flat_map(torn).collect()
    }
}

#[cfg(test)]
#[path = "releases_tests.rs"]
mod tests;
