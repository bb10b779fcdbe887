//! Endpoints that did not answer in time: a lost SYN is no refusal.

use super::{Attempt, Course, Order, Standing, Trust};
use crate::state::{ColorPlace, EndpointPlace, PortState, ServiceState};

impl Course {
    /// Notes that a try got no answer in time.
    pub fn note_unanswered(&mut self, attempt: &Attempt) {
        self.unanswered.push((attempt.color.clone(), attempt.why, attempt.endpoint.address));
    }

    /// Nobody is left who was not tried: whoever did not answer is tried again, while there are retries
    /// and the snapshot and the limits still allow it.
    pub(super) fn next_unanswered(&mut self, service: &ServiceState, port: &PortState) -> Option<Attempt> {
        if self.retries_left == 0 {
            return None;
        }
        for index in 0..self.unanswered.len() {
            let (name, why, address) = &self.unanswered[index];
            let Some(color) = port.color(name) else { continue };
            let endpoint = color.endpoints.iter().find(|endpoint| endpoint.address == *address);
            let Some(endpoint) = endpoint.filter(|_| self.may_have((service, port), color, *why)) else {
                continue;
            };
            let is_down = Standing::of(endpoint) == Standing::Down;
            if !endpoint.is_enabled() || (is_down && self.trust == Trust::Checks) {
                continue;
            }
            let max = service.service.policy.limits.endpoint;
            let Some(live) = ColorPlace::take(&color.live, color.max_connections) else { continue };
            let Some(endpoint) = EndpointPlace::take(&endpoint.live, max) else { continue };
            let (_, why, _) = self.unanswered.remove(index);
            self.retries_left -= 1;
            self.tries += 1;
            return Some(Attempt::at(color, (endpoint, live), (why, Order::Again)));
        }
        None
    }
}
