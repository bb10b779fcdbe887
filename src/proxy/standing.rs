//! Which endpoints come first: the order in which a pick prefers them.

use crate::state::HealthState;

/// How good an endpoint is for a new connection; the smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Checks say that it works, or it has none.
    Works,
    /// It was not checked yet.
    Unknown,
    /// Checks say that it is down.
    Down,
}

impl Standing {
    /// What a state of health means for a pick.
    pub fn of(health: HealthState) -> Self {
        match health {
            HealthState::Healthy | HealthState::Unchecked => Self::Works,
            HealthState::Pending => Self::Unknown,
            HealthState::Unhealthy => Self::Down,
        }
    }
}
