//! Which endpoints come first: the order in which a pick prefers them.

use std::num::NonZeroU32;

use crate::state::{ColorState, EndpointState, HealthState};

/// How good an endpoint is for a new connection; the smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Checks say that it works, or it has none.
    Works,
    /// It was not checked yet.
    Unknown,
    /// It is ejected for failed connections, and checks do not say that it is down.
    Ejected,
    /// Checks say that it is down.
    Down,
}

impl Standing {
    /// What is known of an endpoint, for a pick.
    pub fn of(endpoint: &EndpointState) -> Self {
        match endpoint.health() {
            HealthState::Unhealthy => Self::Down,
            _ if endpoint.live.outlier.is_ejected() => Self::Ejected,
            HealthState::Healthy | HealthState::Unchecked => Self::Works,
            HealthState::Pending => Self::Unknown,
        }
    }
}

/// Whether a color has an endpoint that is not down and has fewer than `max` connections.
pub fn may_serve(color: &ColorState, max: Option<NonZeroU32>) -> bool {
    let may_serve = |endpoint: &EndpointState| {
        endpoint.is_enabled()
            && !endpoint.live.places.are_full(max)
            && Standing::of(endpoint) < Standing::Ejected
    };
    !color.live.places.are_full(color.max_connections) && color.endpoints.iter().any(may_serve)
}
