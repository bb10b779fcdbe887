//! Which color and which endpoint to try next: the course of one connection.
//!
//! Pure: no socket and no clock. `serve` begins a course with one decision of the split, `establish`
//! asks it for each try, with the service as the current snapshot has it. Neither a retry nor a spill
//! draws from the split again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::route::{Route, Via};
use crate::model::{ColorName, OnColorDown, Weight};
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

/// The course of one connection over colors and endpoints.
#[derive(Debug)]
pub struct Course {
    port: u16,
    chosen: ColorName,
    chosen_live: Arc<ColorLive>,
    leg: Leg,
    /// Colors whose tries are used up.
    finished: Vec<ColorName>,
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
            let leg = self.next_leg(service, port)?;
            let before = std::mem::replace(&mut self.leg, leg);
            self.finished.push(before.color);
        }
    }

    /// The first try of a leg is free; each further one takes a retry and an endpoint not yet tried.
    fn next_in_leg(&mut self, port: &PortState) -> Option<Attempt> {
        let color = find(port, &self.leg.color)?;
        if self.leg.by_weight() && color.weight.is_zero() {
            return None;
        }
        let retry = u32::from(!self.leg.tried.is_empty());
        let retries_left = self.retries_left.checked_sub(retry)?;
        let place = *self.leg.place.get_or_insert_with(|| color.pick.take(&color.live.picks));
        let is_tried = |index: usize| {
            color
                .endpoints
                .get(index)
                .is_none_or(|endpoint| !endpoint.is_enabled() || self.leg.tried.contains(&endpoint.address))
        };
        let endpoint = &color.endpoints[color.pick.endpoint(place, is_tried)?];
        self.leg.tried.push(endpoint.address);
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
