//! What the promises say about one service, by means of its own: plain maps, no decision of `state`,
//! `balance`, `proxy` or `health`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use teal::model::{Color, ColorName, OnAllDown, Service};

use crate::split::SplitOracle;

/// An endpoint of the service: listening port, color, address.
pub type Key = (u16, ColorName, SocketAddr);

/// What checks said of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    #[default]
    Pending,
    Healthy,
    Unhealthy,
}

/// How good an endpoint is for a new connection; the smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Works,
    Pending,
    Ejected,
    Down,
}

/// Whether endpoints that are down or ejected are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Checks,
    Nobody,
}

/// What is known of an endpoint.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub health: Health,
    /// Checks in a row that say the opposite of `health`.
    pub row: u32,
    /// Tries that failed since one succeeded.
    pub failures: u32,
    pub ejected_until: Option<Instant>,
}

/// Connections, those still connecting included.
#[derive(Debug, Default)]
pub struct Busy {
    pub colors: BTreeMap<ColorName, u32>,
    pub endpoints: BTreeMap<Key, u32>,
}

/// What a service must be like.
#[derive(Debug)]
pub struct ServiceOracle {
    pub config: Service,
    /// Weights set by hand, and the file's weights at that time.
    set: Option<(BTreeMap<ColorName, u16>, BTreeMap<ColorName, u16>)>,
    pub disabled: BTreeSet<(ColorName, SocketAddr)>,
    pub splits: BTreeMap<u16, SplitOracle>,
    pub facts: BTreeMap<Key, Facts>,
    /// Of endpoints that left the configuration.
    gone: BTreeMap<Key, Facts>,
}

fn keys(config: &Service) -> impl Iterator<Item = Key> {
    config.ports.iter().flat_map(|port| {
        let of_color = |color: &Color| {
            let key = |e: &teal::model::Endpoint| (port.listen, color.name.clone(), e.address(port));
            color.endpoints.iter().map(key).collect::<Vec<_>>()
        };
        config.colors.iter().flat_map(of_color).collect::<Vec<_>>()
    })
}

impl ServiceOracle {
    pub fn new(config: Service) -> Self {
        let facts = keys(&config).map(|key| (key, Facts::default())).collect();
        let mut oracle = Self {
            config,
            set: None,
            disabled: BTreeSet::new(),
            splits: BTreeMap::new(),
            facts,
            gone: BTreeMap::new(),
        };
        oracle.follow_weights();
        oracle
    }

    pub fn color(&self, name: &ColorName) -> Option<&Color> {
        self.config.colors.iter().find(|color| color.name == *name)
    }

    /// The weight in effect; 0 for a color that is not there.
    pub fn weight(&self, name: &ColorName) -> u16 {
        match (&self.set, self.color(name)) {
            (_, None) => 0,
            (Some((set, _)), _) => set.get(name).copied().unwrap_or(0),
            (None, Some(color)) => color.weight.get(),
        }
    }

    fn weights(&self) -> Vec<(ColorName, u16)> {
        self.config.colors.iter().map(|color| (color.name.clone(), self.weight(&color.name))).collect()
    }

    fn file_weights(&self) -> BTreeMap<ColorName, u16> {
        self.config.colors.iter().map(|color| (color.name.clone(), color.weight.get())).collect()
    }

    fn follow_weights(&mut self) {
        let weights = self.weights();
        for port in &self.config.ports {
            match self.splits.get_mut(&port.listen) {
                Some(split) => split.change(&weights),
                None => drop(self.splits.insert(port.listen, SplitOracle::new(&weights))),
            }
        }
    }

    /// Somebody sets weights by hand; colors that are not named keep theirs.
    pub fn set_weights(&mut self, named: &BTreeMap<ColorName, u16>) {
        let mut all: BTreeMap<_, _> = self.weights().into_iter().collect();
        all.extend(named.iter().map(|(name, weight)| (name.clone(), *weight)));
        self.set = Some((all, self.file_weights()));
        self.follow_weights();
    }

    /// Somebody ends what was set by hand.
    pub fn reset_weights(&mut self) {
        self.set = None;
        self.follow_weights();
    }

    /// The file is another one now. `is_kept` says whether somebody still held on to what was known of an
    /// endpoint that had left and is back.
    pub fn reload(&mut self, config: Service, is_kept: impl Fn(&Key) -> bool) {
        self.config = config;
        let file = self.file_weights();
        self.set.take_if(|(_, covered)| covered.iter().any(|(name, weight)| file.get(name) != Some(weight)));
        let now: BTreeSet<Key> = keys(&self.config).collect();
        self.disabled.retain(|(color, address)| now.iter().any(|key| key.1 == *color && key.2 == *address));
        for (key, facts) in std::mem::take(&mut self.facts) {
            let to = if now.contains(&key) { &mut self.facts } else { &mut self.gone };
            to.insert(key, facts);
        }
        for key in now {
            let back = self.gone.remove(&key).filter(|_| is_kept(&key));
            self.facts.entry(key).or_insert_with(|| back.unwrap_or_default());
        }
        let is_asked = self.config.policy.health.active().is_some();
        let unasked = self.facts.values_mut().filter(|_| !is_asked).chain(self.gone.values_mut());
        for facts in unasked.filter(|facts| facts.health == Health::Healthy) {
            (facts.health, facts.row) = (Health::Pending, 0);
        }
        self.follow_weights();
    }

    /// A check was done: the first decides alone, later ones when enough of them say the opposite.
    pub fn checked(&mut self, key: &Key, passed: bool) {
        let Some(check) = self.config.policy.health.active() else { return };
        let Some(facts) = self.facts.get_mut(key) else { return };
        let (said, needed) =
            if passed { (Health::Healthy, check.rise) } else { (Health::Unhealthy, check.fall) };
        facts.row = if facts.health == said { 0 } else { facts.row + 1 };
        if facts.health != said && (facts.health == Health::Pending || facts.row >= needed) {
            (facts.health, facts.row) = (said, 0);
        }
        if passed && facts.ejected_until.take().is_some() {
            facts.failures = 0;
        }
    }

    /// What is known of an endpoint, also of one that has left.
    pub fn facts_mut(&mut self, key: &Key) -> Option<&mut Facts> {
        self.facts.get_mut(key).or_else(|| self.gone.get_mut(key))
    }

    pub fn standing(&self, key: &Key) -> Standing {
        let facts = &self.facts[key];
        let health = self.config.policy.health.active().map(|_| facts.health);
        match health {
            Some(Health::Unhealthy) => Standing::Down,
            _ if facts.ejected_until.is_some() => Standing::Ejected,
            Some(Health::Pending) => Standing::Pending,
            None | Some(Health::Healthy) => Standing::Works,
        }
    }

    /// How many endpoints of a color are ejected, and how many may be.
    pub fn ejected(&self, (port, color): (u16, &ColorName)) -> (usize, usize) {
        let of_color = self.facts.iter().filter(|(key, _)| key.0 == port && key.1 == *color);
        let ejected = of_color.clone().filter(|(_, facts)| facts.ejected_until.is_some()).count();
        let share = self.config.policy.outlier.map_or(0, |outlier| outlier.max_ejected_percent);
        (ejected, (of_color.count() * share as usize / 100).max(1))
    }

    fn enabled(&self, port: u16, color: &ColorName) -> impl Iterator<Item = &Key> {
        let of_color = self.facts.keys().filter(move |key| key.0 == port && key.1 == *color);
        of_color.filter(|key| !self.disabled.contains(&(key.1.clone(), key.2)))
    }

    /// Whether no endpoint of a color is one to use.
    pub fn is_down(&self, port: u16, color: &ColorName) -> bool {
        self.enabled(port, color).all(|key| self.standing(key) >= Standing::Ejected)
    }

    /// Whether that is so for every color with weight, and means that they are used all the same.
    pub fn tries_all(&self, port: u16) -> bool {
        let mut weighted = self.weighted().into_iter().peekable();
        self.config.policy.on_all_down == OnAllDown::Try
            && weighted.peek().is_some()
            && weighted.all(|color| self.is_down(port, &color))
    }

    /// Colors with weight, the heaviest first.
    pub fn weighted(&self) -> Vec<ColorName> {
        let mut weighted = self.weights();
        weighted.retain(|(_, weight)| *weight > 0);
        weighted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        weighted.into_iter().map(|(name, _)| name).collect()
    }

    pub fn has_room(&self, color: &ColorName, busy: &Busy) -> bool {
        let max = self.color(color).and_then(|color| color.max_connections);
        max.is_none_or(|max| busy.colors.get(color).is_none_or(|taken| *taken < max.get()))
    }

    pub fn endpoint_has_room(&self, key: &Key, busy: &Busy) -> bool {
        let max = self.config.policy.limits.endpoint;
        max.is_none_or(|max| busy.endpoints.get(key).is_none_or(|taken| *taken < max.get()))
    }

    /// The best endpoints of a color that a connection has not tried, as far as they may be used.
    pub fn candidates(
        &self,
        (port, color): (u16, &ColorName),
        (busy, trust): (&Busy, Trust),
        is_tried: impl Fn(SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        if self.color(color).is_none() || !self.has_room(color, busy) {
            return Vec::new();
        }
        let open = self.enabled(port, color);
        let open: Vec<_> = open.filter(|key| !is_tried(key.2) && self.endpoint_has_room(key, busy)).collect();
        let Some(best) = open.iter().map(|key| self.standing(key)).min() else { return Vec::new() };
        if best >= Standing::Ejected && trust == Trust::Checks {
            return Vec::new();
        }
        open.into_iter().filter(|key| self.standing(key) == best).map(|key| key.2).collect()
    }
}
