//! Which color and which endpoint to try next: the course of one connection.
//!
//! Pure: no socket and no clock. `serve` begins a course with one decision of the split, `establish`
//! asks it for each try, with the service as the current snapshot has it. Neither a retry nor a spill
//! draws from the split again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::route::{Route, Via};
use super::standing::Standing;
use crate::model::{ColorName, OnAllDown, OnColorDown, Weight};
use crate::state::{ColorLive, ColorState, EndpointLive, ErrorReason, PortState, ServiceState, Why};

/// One try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The endpoint to connect to.
    pub endpoint: Arc<EndpointLive>,
    /// The color it belongs to.
    pub color: ColorName,
    /// That color's facts.
    pub live: Arc<ColorLive>,
    /// That color's weight, in the snapshot that allowed the try.
    pub weight: Weight,
    /// Why this color.
    pub why: Why,
    /// Whether it is the connection's first try or a further one.
    pub order: Order,
}

/// Whether a try is the first of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It is.
    First,
    /// Another one failed before.
    Further,
}

/// The tries inside one color.
#[derive(Debug)]
struct Leg {
    color: ColorName,
    why: Why,
    /// The place in the color's sequence, once taken.
    place: Option<u64>,
    /// Endpoints tried in this color.
    tried: Vec<SocketAddr>,
}

impl Leg {
    fn new(color: &ColorName, why: Why) -> Self {
        Self { color: color.clone(), why, place: None, tried: Vec::new() }
    }

    /// Whether the leg needs a weight above 0: nobody but the split sent it there.
    fn by_weight(&self) -> bool {
        matches!(self.why, Why::Weight | Why::Spill)
    }
}

/// Whether endpoints are left out that checks say are down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// They are.
    Checks,
    /// They are tried all the same, as there are no others.
    Nobody,
}

/// What the course has met so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No color with an endpoint to try.
    Nothing,
    /// A color of which checks say that every endpoint is down.
    Down,
    /// An endpoint to try, in a color that is no fallback.
    Endpoint,
}

/// The course of one connection over colors and endpoints.
#[derive(Debug)]
pub struct Course {
    port: u16,
    chosen: ColorName,
    chosen_live: Arc<ColorLive>,
    leg: Leg,
    /// Colors whose tries are used up, or that checks say are down.
    finished: Vec<ColorName>,
    trust: Trust,
    found: Found,
    retries_left: u32,
    order: Order,
}

impl Course {
    /// Decides the color: by the split, once, or by the preview name.
    ///
    /// # Errors
    /// All weights are 0, or the previewed color is gone.
    pub fn begin(route: &Route, port: &PortState, retries: u32) -> Result<Self, ErrorReason> {
        let (color, why) = match &route.via {
            Via::Vip | Via::Expose => {
                let index = port.split.decide().ok_or(ErrorReason::NoWeight)?;
                let color = port.colors.get(index).ok_or(ErrorReason::NoWeight)?;
                color.live.decisions.fetch_add(1, Ordering::Relaxed);
                (color, Why::Weight)
            }
            Via::Preview(name) => (find(port, name).ok_or(ErrorReason::Removed)?, Why::Preview),
        };
        Ok(Self {
            port: route.port,
            chosen: color.name.clone(),
            chosen_live: Arc::clone(&color.live),
            leg: Leg::new(&color.name, why),
            finished: Vec::new(),
            trust: Trust::Checks,
            found: Found::Nothing,
            retries_left: retries,
            order: Order::First,
        })
    }

    /// The color that was decided first.
    pub fn chosen(&self) -> &ColorName {
        &self.chosen
    }

    /// Its facts, which count what becomes of the connection when no backend serves it.
    pub fn chosen_live(&self) -> &Arc<ColorLive> {
        &self.chosen_live
    }

    /// Whom to try next, `service` being as the current snapshot has it. Every call but the first
    /// means that the try before failed. `None` when there is nobody left.
    pub fn next(&mut self, service: &ServiceState) -> Option<Attempt> {
        let port = service.port(self.port)?;
        loop {
            if let Some(attempt) = self.next_in_leg(port) {
                return Some(attempt);
            }
            self.finished.push(self.leg.color.clone());
            self.leg = self.next_leg(service, port).or_else(|| self.last_resort(service, port))?;
        }
    }

    /// Why there was nobody to try, where that is so.
    pub fn refusal(&self) -> ErrorReason {
        if self.found == Found::Down { ErrorReason::Down } else { ErrorReason::Removed }
    }

    /// The first try of a leg is free; each further one takes a retry and an endpoint not yet tried.
    fn next_in_leg(&mut self, port: &PortState) -> Option<Attempt> {
        let color = find(port, &self.leg.color)?;
        if self.leg.by_weight() && color.weight.is_zero() {
            return None;
        }
        let retry = u32::from(!self.leg.tried.is_empty());
        let retries_left = self.retries_left.checked_sub(retry)?;
        let endpoint = &color.endpoints[self.pick(color)?];
        self.leg.tried.push(endpoint.address);
        if self.leg.why != Why::Fallback {
            self.found = Found::Endpoint;
        }
        self.retries_left = retries_left;
        Some(Attempt {
            endpoint: Arc::clone(&endpoint.live),
            color: color.name.clone(),
            live: Arc::clone(&color.live),
            weight: color.weight,
            why: self.leg.why,
            order: std::mem::replace(&mut self.order, Order::Further),
        })
    }

    /// The endpoint whose turn it is among the best that are left: those that work, else those that nobody
    /// has checked yet. Looks at one endpoint where that one works, at all of them where it does not.
    fn pick(&mut self, color: &ColorState) -> Option<usize> {
        let tried = &self.leg.tried;
        let standing = |index: usize| {
            let endpoint = color.endpoints.get(index)?;
            (!tried.contains(&endpoint.address)).then(|| Standing::of(endpoint))
        };
        let turn = self.leg.place.unwrap_or_else(|| color.pick.take(&color.live.picks));
        let index = color.pick.endpoint(turn, |_| false)?;
        if standing(index) == Some(Standing::Works) {
            self.leg.place = Some(turn);
            return Some(index);
        }
        let best = (0..color.endpoints.len()).filter_map(standing).min()?;
        if best >= Standing::Ejected {
            if self.trust == Trust::Checks {
                if self.leg.place.is_none() {
                    color.pick.give_back(&color.live.picks);
                }
                self.found = if self.found == Found::Nothing { Found::Down } else { self.found };
                return None;
            }
            color.live.all_down_tries().fetch_add(1, Ordering::Relaxed);
        }
        let is_best = |index: usize| standing(index) == Some(best);
        let turn = match self.leg.place {
            Some(turn) => turn,
            None if is_best(index) => turn,
            None => color.pick.take_wanted(&color.live.picks, is_best),
        };
        self.leg.place = Some(turn);
        color.pick.endpoint(turn, |index| !is_best(index))
    }

    /// When checks say that everything with weight is down, the colors with weight once more, without
    /// asking the checks: a broken checker must not be an outage. The same for a previewed color. Only
    /// where nothing of it was tried yet, so that no endpoint is tried twice.
    fn last_resort(&mut self, service: &ServiceState, port: &PortState) -> Option<Leg> {
        let may_try = service.service.policy.on_all_down == OnAllDown::Try;
        if !may_try || self.trust == Trust::Nobody || self.found != Found::Down {
            return None;
        }
        let is_preview = self.leg.why == Why::Preview;
        let is_down = if is_preview { find(port, &self.chosen)?.is_down() } else { port.is_down() };
        if !is_down {
            return None;
        }
        self.trust = Trust::Nobody;
        self.finished.retain(|name| find(port, name).is_none_or(|color| color.weight.is_zero()));
        let why = if is_preview { Why::Preview } else { Why::Weight };
        Some(Leg::new(&self.chosen, why))
    }

    /// The color after this one: another with weight, heaviest first, then the chosen one's fallback.
    fn next_leg(&self, service: &ServiceState, port: &PortState) -> Option<Leg> {
        if self.leg.why == Why::Preview {
            return None;
        }
        let is_finished =
            |color: &ColorState| color.name == self.leg.color || self.finished.contains(&color.name);
        let mut weighted: Vec<_> =
            port.colors.iter().filter(|color| !color.weight.is_zero() && !is_finished(color)).collect();
        weighted.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
        let chosen = find(port, &self.chosen);
        if let Some(heaviest) = weighted.first() {
            return may_spill(service, chosen).then(|| Leg::new(&heaviest.name, Why::Spill));
        }
        let fallback = port.colors.get(chosen?.fallback?)?;
        (!is_finished(fallback)).then(|| Leg::new(&fallback.name, Why::Fallback))
    }
}

/// `reject` is about colors that are down. One that lost its weight while the connection was on its
/// way is not: refusing then would let a change of weights refuse a connection.
fn may_spill(service: &ServiceState, chosen: Option<&ColorState>) -> bool {
    service.service.policy.on_color_down == OnColorDown::Spill
        || chosen.is_none_or(|chosen| chosen.weight.is_zero())
}

fn find<'a>(port: &'a PortState, name: &ColorName) -> Option<&'a ColorState> {
    port.colors.iter().find(|color| color.name == *name)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decide_health_tests.rs"]
mod health_tests;
