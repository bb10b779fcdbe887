//! DNS: answers for the zones over UDP and TCP.
//!
//! `daemon` binds with [`bind()`] and runs [`udp::run`] and [`tcp::run`] with one [`Dns`]. Moving
//! packets (`udp`, `tcp`), deciding ([`answer`](mod@answer)) and keeping data (`state::answers`) are
//! three places. What has to be asked elsewhere is handed over ([`later`]), to [`forward`](mod@forward).

pub mod alias;
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

use alias::{AliasedWay, Aliases};

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

    /// Hands over a query that has to be asked elsewhere, as [`Forward::forward`] does. `out` has the aliases that
    /// lead there, if any.
    fn forward(&self, query: &Outside<'_>, way_back: WayBack, out: &mut Vec<u8>) -> Option<(Scope, Rcode)> {
        if out.is_empty() {
            return self.forwarder.forward(query, way_back, out);
        }
        let (aliases, packet) = Aliases::read((query.packet, query.transport), out)?;
        let to_target = Outside { packet: &packet, ..*query };
        let way = AliasedWay { aliases: Arc::clone(&aliases), to: way_back };
        let mut reply = Vec::new();
        let (scope, _) = self.forwarder.forward(&to_target, WayBack::Aliased(Box::new(way)), &mut reply)?;
        Some((scope, aliases.finish(&reply, out)))
    }

    /// What is known of the answer that such a query would get without asking anybody.
    fn kept(&self, query: &Outside<'_>, begin: &[u8]) -> Option<cache::Kept> {
        if begin.is_empty() {
            return self.forwarder.kept(query);
        }
        let (_, packet) = Aliases::read((query.packet, query.transport), begin)?;
        self.forwarder.kept(&Outside { packet: &packet, ..*query })
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
