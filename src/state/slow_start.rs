//! How far an endpoint is that came back into use: a live fact of the endpoint.
//!
//! The health thread alone writes it; a pick reads one number.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::balance::ShareCell;

/// Where an endpoint is between out of use and its full share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowStartPhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// It was there when the daemon started and was not known to work yet: that is no recovery.
    Known,
    /// It gets no connections: disabled, ejected, unhealthy, or not yet checked.
    Out,
    /// It is in use since then, with a share that grows.
    Growing(Instant),
    /// It is in use.
    Full,
}

/// The slow start of one endpoint.
#[derive(Debug, Default)]
pub struct SlowStartCell {
    /// The share that it gets, for the pick. The least one from the beginning, so that nobody gets all of it
    /// until the health thread looks.
    pub share: ShareCell,
    phase: Mutex<SlowStartPhase>,
}

impl SlowStartCell {
    /// Where it is.
    pub fn phase(&self) -> SlowStartPhase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where it is. For the health thread.
    pub fn note(&self, phase: SlowStartPhase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Its share in percent, while that grows.
    pub fn growing_percent(&self) -> Option<u32> {
        matches!(self.phase(), SlowStartPhase::Growing(_)).then(|| self.share.get().percent())
    }
}
