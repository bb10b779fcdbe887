//! The health of one endpoint: a live fact that belongs to the endpoint, never to its weight or to its
//! place in a list.
//!
//! Written by one task only, the one that runs the checks; read by every decision.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is known of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Nothing yet: its first check is still to come.
    Pending,
    /// Checks say that it works.
    Healthy,
    /// Checks say that it does not.
    Unhealthy,
    /// Its service has no checks.
    Unchecked,
}

impl HealthState {
    /// The value of the label `state`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unchecked => "unchecked",
        }
    }
}

/// A state, and how many checks in a row have spoken against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What counts now.
    pub state: HealthState,
    /// Checks in a row that say the opposite.
    pub against: u32,
}

impl Verdict {
    /// Of an endpoint that was never checked.
    pub const PENDING: Self = Self { state: HealthState::Pending, against: 0 };
}

/// An endpoint's verdict, where every thread can read it.
#[derive(Debug)]
pub struct HealthCell(AtomicU64);

const STATE_BITS: u32 = 2;

impl Default for HealthCell {
    fn default() -> Self {
        Self(AtomicU64::new(encode(Verdict::PENDING)))
    }
}

fn encode(verdict: Verdict) -> u64 {
    let state = match verdict.state {
        HealthState::Pending => 0,
        HealthState::Healthy => 1,
        HealthState::Unhealthy => 2,
        HealthState::Unchecked => 3,
    };
    u64::from(verdict.against) << STATE_BITS | state
}

impl HealthCell {
    /// What is known now.
    pub fn verdict(&self) -> Verdict {
        let bits = self.0.load(Ordering::Relaxed);
        let state = match bits & 3 {
            0 => HealthState::Pending,
            1 => HealthState::Healthy,
            2 => HealthState::Unhealthy,
            _ => HealthState::Unchecked,
        };
        Verdict { state, against: u32::try_from(bits >> STATE_BITS).unwrap_or(u32::MAX) }
    }

    /// The state alone.
    pub fn state(&self) -> HealthState {
        self.verdict().state
    }

    /// Notes a verdict. For the task that runs the checks.
    pub fn set(&self, verdict: Verdict) {
        self.0.store(encode(verdict), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_gives_back_what_was_set() {
        use HealthState::{Healthy, Pending, Unchecked, Unhealthy};
        let cell = HealthCell::default();
        assert_eq!(cell.verdict(), Verdict::PENDING);
        for state in [Pending, Healthy, Unhealthy, Unchecked] {
            for against in [0, 1, u32::MAX] {
                cell.set(Verdict { state, against });
                assert_eq!(cell.verdict(), Verdict { state, against });
            }
        }
    }
}
