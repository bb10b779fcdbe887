//! What is counted about queries. Handles are resolved at first use and kept.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Counter;

use super::answer::{DropReason, Scope, Verdict};
use super::reply::{Rcode, Transport};
use crate::net::AcceptError;
use crate::telemetry::HistogramCell;
use crate::telemetry::names::{ACCEPT_ERRORS, DNS_DROPPED, DNS_QUERIES};

/// Why a packet or connection was dropped, besides what [`DropReason`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It asked for no answer, or for none that could be given.
    Packet(DropReason),
    /// A datagram larger than teal takes.
    Oversized,
    /// The kernel would not send the reply.
    Send,
    /// A TCP connection of a client that is not in `allow_from`.
    NotAllowed,
    /// A TCP connection above the bound for all of them.
    ConnectionLimit,
    /// A TCP connection above the bound for its source.
    SourceLimit,
}

impl Dropped {
    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Packet(reason) => reason.label(),
            Self::Oversized => "oversized",
            Self::Send => "send",
            Self::NotAllowed => "not_allowed",
            Self::ConnectionLimit => "connection_limit",
            Self::SourceLimit => "source_limit",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Packet(DropReason::Short) => 0,
            Self::Packet(DropReason::Response) => 1,
            Self::Oversized => 2,
            Self::Send => 3,
            Self::NotAllowed => 4,
            Self::ConnectionLimit => 5,
            Self::SourceLimit => 6,
        }
    }
}

const SCOPES: usize = Scope::ALL.len();
const RCODES: usize = Rcode::ALL.len();
const TRANSPORTS: usize = 2;
const DROP_REASONS: usize = 7;

/// The counters of DNS. A series appears with its first value. Make it after the recorder is
/// installed: a counter that was resolved before counts into nothing. Clones count together.
#[derive(Debug, Clone)]
pub struct DnsMetrics {
    cells: Arc<Cells>,
}

#[derive(Debug)]
struct Cells {
    queries: [[[OnceLock<Counter>; TRANSPORTS]; RCODES]; SCOPES],
    dropped: [OnceLock<Counter>; DROP_REASONS],
    duration: HistogramCell,
}

impl DnsMetrics {
    /// `duration`: the cell of [`crate::telemetry::names::DNS_QUERY_DURATION`].
    pub fn new(duration: HistogramCell) -> Self {
        let cells = Cells { queries: Default::default(), dropped: Default::default(), duration };
        Self { cells: Arc::new(cells) }
    }

    /// Counts what became of a packet.
    pub fn count(&self, verdict: Verdict, transport: Transport) {
        match verdict {
            Verdict::Reply(scope, rcode) => {
                let cell = &self.cells.queries[scope as usize][rcode as usize][transport as usize];
                let counter = cell.get_or_init(|| {
                    metrics::counter!(
                        DNS_QUERIES.name, "scope" => scope.label(), "rcode" => rcode.label(),
                        "transport" => transport.label()
                    )
                });
                counter.increment(1);
            }
            // Counted by who answers it.
            Verdict::Forward(_) => {}
            Verdict::Drop(reason) => self.drop(Dropped::Packet(reason)),
        }
    }

    /// Counts a packet or connection that gets nothing.
    pub fn drop(&self, reason: Dropped) {
        let counter = self.cells.dropped[reason.index()]
            .get_or_init(|| metrics::counter!(DNS_DROPPED.name, "reason" => reason.label()));
        counter.increment(1);
    }

    /// Counts how long `queries` took that were answered together.
    pub fn observe(&self, took: Duration, queries: usize) {
        if queries > 0 {
            self.cells.duration.observe_times(took, queries as u64);
        }
    }

    /// Counts a failed accept. Rare, so the handle is looked up each time.
    pub fn accept_failed(&self, error: AcceptError) {
        metrics::counter!(ACCEPT_ERRORS.name, "listener" => "dns", "reason" => error.label()).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::telemetry::Series;
    use crate::telemetry::names::DNS_QUERY_DURATION;

    #[test]
    fn queries_are_counted_by_scope_rcode_and_transport() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let cell = Series::default().histogram(DNS_QUERY_DURATION, &[]);
        metrics::with_local_recorder(&recorder, || {
            let metrics = DnsMetrics::new(cell.clone());
            for _ in 0..2 {
                metrics.count(Verdict::Reply(Scope::Zone, Rcode::NxDomain), Transport::Udp);
            }
            metrics.count(Verdict::Reply(Scope::Invalid, Rcode::FormErr), Transport::Tcp);
            metrics.count(Verdict::Drop(DropReason::Response), Transport::Udp);
            metrics.drop(Dropped::SourceLimit);
            metrics.accept_failed(AcceptError::Resources);
            metrics.observe(Duration::from_micros(7), 3);
            metrics.observe(Duration::from_micros(7), 0);
        });
        let text = recorder.handle().render();
        for line in [
            r#"teal_dns_queries_total{scope="zone",rcode="NXDOMAIN",transport="udp"} 2"#,
            r#"teal_dns_queries_total{scope="invalid",rcode="FORMERR",transport="tcp"} 1"#,
            r#"teal_dns_dropped_total{reason="response"} 1"#,
            r#"teal_dns_dropped_total{reason="source_limit"} 1"#,
            r#"teal_accept_errors_total{listener="dns",reason="resources"} 1"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert_eq!(cell.cumulative().1, 3);
    }

    #[test]
    fn every_enum_has_as_many_places_as_values() {
        assert!(Scope::ALL.iter().enumerate().all(|(index, scope)| *scope as usize == index));
        assert!(Rcode::ALL.iter().enumerate().all(|(index, rcode)| *rcode as usize == index));
        assert!([Transport::Udp, Transport::Tcp].iter().all(|t| (*t as usize) < TRANSPORTS));
    }
}
