//! Slow start: endpoints that come into use get their share little by little. Pure: `now` is an argument.
//!
//! All ways into use look the same here: a check passed, an ejection ended, the operator enabled it, or it
//! appeared. Only what is there when the daemon starts does not begin slowly: the daemon is new then, not the
//! endpoint.

use std::time::{Duration, Instant};

use crate::balance::Share;
use crate::state::{EndpointState, HealthState, SlowStartPhase};

/// Which snapshot an endpoint is looked at in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The daemon's first one.
    First,
    /// A later one.
    Later,
}

/// Goes over the endpoints of one color whose slow starts take `whole`, if it has them.
pub fn sweep(endpoints: &[EndpointState], whole: Option<Duration>, now: Instant, look: Look) {
    for endpoint in endpoints {
        let cell = &endpoint.live.slow_start;
        let before = cell.phase();
        let next = after(before, use_of(endpoint), (whole, now), look);
        if next != before {
            cell.note(next);
        }
        let share = share(next, whole, now);
        if cell.share.get() != share {
            cell.share.set(share);
        }
    }
}

/// Whether an endpoint is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    In,
    Out,
    /// Its first check is still to come.
    Unknown,
}

fn use_of(endpoint: &EndpointState) -> Use {
    match endpoint.health() {
        _ if !endpoint.is_enabled() || endpoint.live.outlier.is_ejected() => Use::Out,
        HealthState::Healthy | HealthState::Unchecked => Use::In,
        HealthState::Unhealthy => Use::Out,
        HealthState::Pending => Use::Unknown,
    }
}

fn after(
    before: SlowStartPhase,
    used: Use,
    (whole, now): (Option<Duration>, Instant),
    look: Look,
) -> SlowStartPhase {
    use SlowStartPhase::{Full, Growing, Known, New, Out};
    let was = match (before, look) {
        (New, Look::First) => Known,
        (New, Look::Later) => Out,
        (other, _) => other,
    };
    match (was, used, whole) {
        (Known, Use::Unknown, _) => Known,
        (_, Use::Out | Use::Unknown, _) => Out,
        (Out, Use::In, Some(_)) => Growing(now),
        (Growing(since), Use::In, Some(whole)) if now.saturating_duration_since(since) < whole => was,
        (_, Use::In, _) => Full,
    }
}

fn share(phase: SlowStartPhase, whole: Option<Duration>, now: Instant) -> Share {
    match (phase, whole) {
        (SlowStartPhase::Growing(since), Some(whole)) => {
            Share::after(now.saturating_duration_since(since), whole)
        }
        (SlowStartPhase::Out, Some(_)) => Share::LEAST,
        _ => Share::FULL,
    }
}

#[cfg(test)]
#[path = "slow_start_tests.rs"]
mod tests;
