//! DNS: answers for the zones over UDP and TCP.
//!
//! `daemon` binds with [`bind()`] and runs [`udp::run`] and [`tcp::run`] with one [`Dns`]. Moving
//! packets (`udp`, `tcp`), deciding ([`answer`](mod@answer)) and keeping data (`state::answers`) are
//! three places. What has to be asked elsewhere is handed over ([`later`]), to [`forward`](mod@forward).

pub mod answer;
pub mod ask;
mod batch;
pub mod bind;
pub mod cache;
mod chase;
mod explain;
pub mod forward;
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
pub use forward::Forwarder;
pub use later::{Forward, Outside, WayBack};
pub use log::{Logged, QueryLog};
pub use metrics::DnsMetrics;
pub use reply::{Rcode, Transport};

use crate::model::HostNetworks;
use crate::state::{Problems, Snapshot, SnapshotCell};

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
    /// Asks upstreams.
    pub upstreams: Arc<Forwarder>,
    /// Takes what has to be asked elsewhere: [`Self::upstreams`].
    pub forwarder: Box<dyn Forward>,
}

impl Dns {
    /// Everything that DNS needs, with the bounds that [`tcp::Limits`] has by default. What is counted about
    /// upstreams is shown nowhere, unless the forwarder is replaced.
    pub fn new(snapshot: SnapshotCell, host: Arc<ArcSwap<HostNetworks>>, metrics: DnsMetrics) -> Self {
        let upstreams = Forwarder::new(metrics.clone(), Arc::default(), Problems::default());
        let upstreams = Arc::new(upstreams);
        Self {
            snapshot,
            host,
            metrics,
            tcp: tcp::Connections::default(),
            log: QueryLog::default(),
            forwarder: Box::new(Arc::clone(&upstreams)),
            upstreams,
        }
    }

    /// The same with another forwarder.
    #[must_use]
    pub fn with_forwarder(mut self, forwarder: Forwarder) -> Self {
        self.upstreams = Arc::new(forwarder);
        self.forwarder = Box::new(Arc::clone(&self.upstreams));
        self
    }

    /// Every upstream as it is now.
    pub fn upstreams(&self) -> Vec<forward::UpstreamStatus> {
        self.upstreams.status(&self.snapshot.load(), &self.host.load())
    }

    /// Writes a line about a query, where queries are logged.
    pub fn log(&self, snapshot: &Snapshot, query: &Logged<'_>) {
        if let Some(one_in) = snapshot.catalog.settings.dns.log_one_in {
            self.log.note(one_in, query);
        }
    }
}

/// Whether `source` may ask.
fn source_of(source: IpAddr, snapshot: &Snapshot, host: &HostNetworks) -> Source {
    let settings = &snapshot.catalog.settings;
    let permitted = settings.dns.allow_from.permits(source, settings.vip.pool.0, host);
    if permitted { Source::Allowed } else { Source::Denied }
}
