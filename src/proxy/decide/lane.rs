//! The part of a course inside its lane: one color, while the caller has the lane, and the way out of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Attempt, Course, Found, Leg, Trust, by_weight};
use crate::model::{ColorName, LaneMode};
use crate::state::{Lane, PortState, ServiceState, Why};

impl Course {
    /// Whether this color is all that there is for the connection: previewed, or at the end of its lane.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.chosen_why, Why::Preview | Why::Lane)
    }

    /// Whether the caller's lane leads to this color now.
    pub(super) fn has_lane(&self, service: &ServiceState, color: &ColorName) -> bool {
        let lanes = service.inbound.lanes.as_ref();
        lanes.is_some_and(|lanes| lanes.lane(self.client) == Lane::Color(color))
    }

    /// The next try in the lane under `prefer`. Leaves the lane when there is none, or when the caller has it no
    /// more: the connection is split then, like any other.
    pub(super) fn next_in_lane(&mut self, service: &ServiceState, port: &PortState) -> Option<Attempt> {
        if self.has_lane(service, &self.chosen) {
            let lanes = service.inbound.lanes.as_ref()?;
            if lanes.mode == LaneMode::Require {
                return None;
            }
            if let Some(attempt) = self.next_in_leg(service, port) {
                return Some(attempt);
            }
            self.chosen_live.lane_fallbacks().fetch_add(1, Ordering::Relaxed);
        }
        self.leave_lane(port);
        None
    }

    /// Decides by weight what the lane did not serve. Its tries count as retries and are not made again.
    fn leave_lane(&mut self, port: &PortState) {
        self.unanswered.clear();
        self.trust = Trust::Checks;
        let Some((color, why)) = by_weight(port, self.client) else {
            (self.chosen_why, self.found) = (Why::Weight, Found::NoWeight);
            return;
        };
        (self.chosen, self.chosen_why) = (color.name.clone(), why);
        self.chosen_live = Arc::clone(&color.live);
        if self.leg.color == color.name {
            self.leg.why = why;
            return;
        }
        self.found = Found::Nothing;
        let left = std::mem::replace(&mut self.leg, Leg::new(&color.name, why));
        if !left.tried.is_empty() {
            self.finished.push(left.color);
        }
    }
}
