//! DNS: answers for the zones over UDP and TCP.
//!
//! `daemon` binds with [`bind()`] and runs [`udp::run`] and [`tcp::run`] with one [`Dns`]. Moving
//! packets (`udp`, `tcp`), deciding ([`answer`](mod@answer)) and keeping data (`state::answers`) are
//! three places. What has to be asked elsewhere is handed over ([`later`]).

pub mod answer;
pub mod ask;
mod batch;
pub mod bind;
mod chase;
mod explain;
pub mod later;
pub mod log;
pub mod metrics;
mod odd;
pub mod reply;
mod session;
pub mod tcp;
pub mod udp;
pub mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use answer::{Asked, DropReason, Scope, Source, Verdict, answer};
pub use bind::{BindError, Bound, bind};
pub use explain::explain;
pub use later::{Forward, Outside, WayBack};
pub use log::{Logged, QueryLog};
pub use metrics::DnsMetrics;
pub use reply::{Rcode, Transport};

use crate::model::HostNetworks;
use crate::state::{Snapshot, SnapshotCell};

/// What every DNS socket shares.
#[derive(Debug)]
pub struct Dns {
    /// Where the name table and `allow_from` are found.
    pub snapshot: SnapshotCell,
    /// This host's networks, for `allow_from`.
    pub host: Arc<ArcSwap<HostNetworks>>,
    /// What is counted.
    pub metrics: DnsMetrics,
    /// Bounds of TCP connections, over all listeners.
    pub tcp: tcp::Connections,
    /// Where lines about queries go.
    pub log: QueryLog,
    /// Takes what has to be asked elsewhere.
    pub forwarder: Option<Box<dyn Forward>>,
}

impl Dns {
    /// Everything that DNS needs, with the bounds that [`tcp::Limits`] has by default.
    pub fn new(snapshot: SnapshotCell, host: Arc<ArcSwap<HostNetworks>>, metrics: DnsMetrics) -> Self {
        Self {
            snapshot,
            host,
            metrics,
            tcp: tcp::Connections::default(),
            log: QueryLog::default(),
            forwarder: None,
        }
    }

    /// Writes a line about a query, where queries are logged.
    pub fn log(&self, snapshot: &Snapshot, query: &Logged<'_>) {
        if let Some(one_in) = snapshot.catalog.settings.dns.log_one_in {
            self.log.note(one_in, query);
        }
    }

    /// Hands a query over. Where nobody takes it the way back is dropped.
    fn forward(&self, query: &Outside<'_>, way_back: WayBack) {
        if let Some(forwarder) = &self.forwarder {
            forwarder.forward(query, way_back);
        }
    }
}

/// Whether `source` may ask.
fn source_of(source: IpAddr, snapshot: &Snapshot, host: &HostNetworks) -> Source {
    let settings = &snapshot.catalog.settings;
    let permitted = settings.dns.allow_from.permits(source, settings.vip.pool.0, host);
    if permitted { Source::Allowed } else { Source::Denied }
}
