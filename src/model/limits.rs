//! How many connections a service takes, and how fast.

use std::num::NonZeroU32;
use std::time::Duration;

/// The bounds of one service; an absent one does not bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionLimits {
    /// Connections of the service, over all its ports and colors.
    pub service: Option<NonZeroU32>,
    /// Connections of each endpoint.
    pub endpoint: Option<NonZeroU32>,
    /// Connections of the service from each client address.
    pub source: Option<NonZeroU32>,
    /// New connections of the service over time.
    pub rate: Option<AcceptRate>,
}

/// So many new connections, or queries, in such a time; what was not used is saved up for one such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptRate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long: a second or a minute.
    pub per: Duration,
}
