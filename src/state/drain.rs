//! Drains: connections of endpoints that the configuration no longer names, or that the operator disabled,
//! live until a deadline.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::connections::CutReason;
use super::live::{EndpointLive, LivingEndpoint};
use super::snapshot::Snapshot;
use crate::model::{ColorName, ServiceName};

/// Connections cut in one go; the next ones follow with the next tick.
const CUT_AT_ONCE: usize = 200;

/// (service, listening port, color, address)
type Identity = (ServiceName, u16, ColorName, SocketAddr);

/// Endpoints that are gone, with the time when what is left of them is cut.
#[derive(Debug, Default)]
pub struct Drains {
    deadlines: HashMap<Identity, (Weak<EndpointLive>, Instant)>,
}

impl Drains {
    /// Starts drains of endpoints that `next` no longer names or has disabled, and ends those of endpoints that came
    /// back. `timeout` says how long connections of a living endpoint may stay.
    pub fn follow(
        &mut self,
        living: &[LivingEndpoint],
        next: &Snapshot,
        now: Instant,
        timeout: impl Fn(&LivingEndpoint) -> Duration,
    ) {
        self.deadlines.retain(|_, (live, _)| live.strong_count() > 0);
        for endpoint in living {
            let address = endpoint.live.address;
            let key = (endpoint.service.clone(), endpoint.port, endpoint.color.clone(), address);
            if names(next, endpoint) {
                self.deadlines.remove(&key);
            } else {
                self.deadlines
                    .entry(key)
                    .or_insert_with(|| (Arc::downgrade(&endpoint.live), now + timeout(endpoint)));
            }
        }
    }

    /// Cuts some of what is over its deadline. Returns how many.
    pub fn cut_due(&mut self, now: Instant) -> usize {
        let mut left = CUT_AT_ONCE;
        self.deadlines.retain(|_, (live, deadline)| {
            let Some(live) = live.upgrade() else { return false };
            if *deadline <= now && left > 0 {
                left -= live.open.cut(CutReason::DrainDeadline, left);
            }
            true
        });
        CUT_AT_ONCE - left
    }
}

fn names(snapshot: &Snapshot, endpoint: &LivingEndpoint) -> bool {
    let Some((_, port)) = snapshot.port(&endpoint.service, endpoint.port) else { return false };
    let color = port.colors.iter().find(|color| color.name == endpoint.color);
    color.is_some_and(|color| {
        color.endpoints.iter().any(|known| known.address == endpoint.live.address && known.is_enabled())
    })
}
