//! What drains right now, why, and how far it is: for status, metrics and who waits for it.

use std::net::SocketAddr;
use std::time::Instant;

use super::connections::Connection;
use super::live::{Live, LivingEndpoint};
use super::releases::ReleaseEnd;
use super::snapshot::Snapshot;
use crate::model::{ColorName, ServiceName};

/// Why no connection follows those that an endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainCause {
    /// Its color has weight 0: nobody ends them, and those that came by another way are not meant.
    Weight,
    /// The operator took it out of use.
    Disabled,
    /// The configuration no longer names it.
    Removed,
    /// A release was rolled back from its color.
    RolledBack,
    /// A release was confirmed that moved its color's connections away.
    Confirmed,
}

impl DrainCause {
    /// In a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Weight => "weight 0",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
            Self::RolledBack => "rolled back",
            Self::Confirmed => "confirmed",
        }
    }

    /// Whether connections are ended after a while.
    pub(super) fn has_deadline(self) -> bool {
        self != Self::Weight
    }

    /// Whether it is about a connection.
    fn concerns(self, connection: &Connection) -> bool {
        self.has_deadline() || connection.why.is_by_weight()
    }
}

/// An endpoint that drains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// Its service.
    pub service: ServiceName,
    /// The listening port that it serves.
    pub port: u16,
    /// Its color.
    pub color: ColorName,
    /// Its address.
    pub address: SocketAddr,
    /// Why.
    pub cause: DrainCause,
    /// Connections that are left, those that were still connecting when it began included.
    pub left: usize,
    /// When the oldest one was accepted; absent when all are still connecting.
    pub oldest: Option<Instant>,
    /// When the rest is closed; absent when nobody does that.
    pub deadline: Option<Instant>,
}

/// Why an endpoint drains; `None` when it does not.
pub fn cause(snapshot: &Snapshot, endpoint: &LivingEndpoint) -> Option<DrainCause> {
    let address = endpoint.live.address;
    let port = snapshot.port(&endpoint.service, endpoint.port);
    let color = port.and_then(|(_, port)| port.color(&endpoint.color));
    let state = color.and_then(|color| color.endpoints.iter().find(|endpoint| endpoint.address == address));
    match (color, state) {
        (_, Some(state)) if !state.is_enabled() => Some(DrainCause::Disabled),
        (Some(color), Some(_)) if !color.weight.is_zero() => None,
        (Some(_), Some(_)) => Some(match snapshot.releases.ends(&endpoint.service, &endpoint.color) {
            Some(ReleaseEnd::RolledBack(_)) => DrainCause::RolledBack,
            Some(ReleaseEnd::Confirmed) => DrainCause::Confirmed,
            None => DrainCause::Weight,
        }),
        _ => Some(DrainCause::Removed),
    }
}

/// How many open connections of an endpoint drain for this cause, and when the oldest was accepted.
pub(super) fn open(endpoint: &LivingEndpoint, cause: DrainCause) -> (usize, Option<Instant>) {
    endpoint.live.open.summary(|connection| cause.concerns(connection))
}

/// Everything that drains and has connections left, in order of service, color, address and port.
pub fn draining(snapshot: &Snapshot, live: &Live) -> Vec<Draining> {
    let of_endpoint = |endpoint: LivingEndpoint| {
        // Before the open ones: who connects meanwhile is counted twice rather than not at all.
        let taken = endpoint.live.places.taken() as usize;
        let cause = cause(snapshot, &endpoint)?;
        let (open, oldest) = open(&endpoint, cause);
        let left = open + taken.saturating_sub(endpoint.live.open.len());
        let deadline = endpoint.live.drain.get().map(|drain| drain.deadline);
        let LivingEndpoint { service, port, color, live } = endpoint;
        (left > 0).then(|| Draining {
            service,
            port,
            color,
            address: live.address,
            cause,
            left,
            oldest,
            deadline,
        })
    };
    let mut all: Vec<_> = live.endpoints().into_iter().filter_map(of_endpoint).collect();
    all.sort_by(|a, b| {
        (&a.service, &a.color, a.address, a.port).cmp(&(&b.service, &b.color, b.address, b.port))
    });
    all
}
