//! The connection log: one line for each connection of a service with `log_connections`, served or not.
//!
//! A [`Record`] goes with its connection and writes its line when dropped, so that there is exactly one,
//! however the connection ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::route::Route;
use crate::model::ColorName;
use crate::state::{ClosedReason, ErrorReason, Why};
use crate::telemetry::{self, lines::Lines};

/// The target of the lines, for `TEAL_LOG`.
pub const TARGET: &str = "teal::connection";

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The one that connected.
    Client,
    /// The one that was connected to.
    Backend,
    /// This daemon.
    Teal,
}

impl Party {
    /// The value of the field `ended_by`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Teal => "teal",
        }
    }
}

/// How a connection ended: who did it, and what that one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The field `ended_by`.
    pub who: Party,
    /// The field `ended_how`.
    pub what: &'static str,
}

impl End {
    /// Of a served connection; `first_fin` said FIN first, which counts when both sides did.
    pub fn of_served(reason: ClosedReason, first_fin: Party) -> Self {
        let (who, what) = match reason {
            ClosedReason::Finished => (first_fin, "fin"),
            ClosedReason::ClientReset => (Party::Client, "rst"),
            ClosedReason::BackendReset => (Party::Backend, "rst"),
            ClosedReason::DrainDeadline => (Party::Teal, "drain"),
            ClosedReason::Idle
            | ClosedReason::HalfClose
            | ClosedReason::Age
            | ClosedReason::DrainIdle
            | ClosedReason::Shutdown => (Party::Teal, reason.label()),
        };
        Self { who, what }
    }

    /// Of a connection that no backend served.
    pub fn of_unserved(reason: ErrorReason) -> Self {
        let who = match reason {
            ErrorReason::ClientGone | ErrorReason::ProxyProtocol => Party::Client,
            ErrorReason::Refused
            | ErrorReason::Timeout
            | ErrorReason::Unreachable
            | ErrorReason::Down
            | ErrorReason::Lane
            | ErrorReason::Other => Party::Backend,
            ErrorReason::Resources
            | ErrorReason::NotAllowed
            | ErrorReason::NotCaller
            | ErrorReason::Limit
            | ErrorReason::LimitService
            | ErrorReason::LimitColor
            | ErrorReason::LimitEndpoint
            | ErrorReason::LimitSource
            | ErrorReason::LimitRate
            | ErrorReason::NoWeight
            | ErrorReason::Removed => Party::Teal,
        };
        Self { who, what: reason.label() }
    }
}

/// What the line says.
#[derive(Debug)]
pub struct Line {
    route: Arc<Route>,
    source: SocketAddr,
    accepted: Instant,
    /// The color that served, or was tried last, and why.
    pub color: Option<(ColorName, Why)>,
    /// The endpoint that served, or was tried last.
    pub endpoint: Option<SocketAddr>,
    /// Tries to connect.
    pub tries: u32,
    /// From the accept of the client until the backend's.
    pub connect: Option<Duration>,
    /// From the backend's accept until its first byte.
    pub first_byte: Option<Duration>,
    /// Client to backend.
    pub bytes_in: u64,
    /// Backend to client.
    pub bytes_out: u64,
    duration: Duration,
    /// How it ended.
    pub end: End,
}

impl telemetry::lines::Line for Line {
    fn write(&self) {
        let (color, why) = self.color.as_ref().map(|(color, why)| (color.as_str(), why.label())).unzip();
        tracing::info!(
            target: TARGET,
            service = self.route.service.as_str(),
            port = self.route.port,
            color,
            endpoint = self.endpoint.map(display),
            source = display(self.source),
            why,
            tries = self.tries,
            connect_ms = self.connect.map(milliseconds),
            first_byte_ms = self.first_byte.map(milliseconds),
            duration_ms = milliseconds(self.duration),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            ended_by = self.end.who.label(),
            ended_how = self.end.what,
            "connection"
        );
    }
}

/// With three decimals.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// What is written of one connection, when dropped. Until told otherwise it was cut by a shutdown.
#[derive(Debug)]
pub struct Record {
    log: ConnectionLog,
    line: Option<Box<Line>>,
}

impl Record {
    /// Of a connection from `source` that was accepted at `accepted`.
    pub fn begin(log: &ConnectionLog, route: Arc<Route>, (source, accepted): (SocketAddr, Instant)) -> Self {
        let line = Line {
            route,
            source,
            accepted,
            color: None,
            endpoint: None,
            tries: 0,
            connect: None,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            end: End { who: Party::Teal, what: "shutdown" },
        };
        Self { log: log.clone(), line: Some(Box::new(line)) }
    }

    /// Notes something.
    pub fn note(&mut self, note: impl FnOnce(&mut Line)) {
        if let Some(line) = &mut self.line {
            note(line);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        line.duration = line.accepted.elapsed();
        self.log.write(line);
    }
}

/// Where lines go.
pub type ConnectionLog = Lines<Box<Line>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceName;
    use crate::proxy::route::Via;
    use crate::telemetry::names::CONNECTION_LOG_DROPPED;

    fn record(log: &ConnectionLog) -> Record {
        let route = Route { service: ServiceName::parse("a").unwrap(), port: 80, via: Via::Vip };
        Record::begin(log, Arc::new(route), ("127.0.0.1:9".parse().unwrap(), Instant::now()))
    }

    #[test]
    fn a_record_writes_one_line_whatever_becomes_of_it() {
        let (log, writer) = ConnectionLog::queued(CONNECTION_LOG_DROPPED);
        drop(record(&log));
        let mut served = record(&log);
        served.note(|line| line.end = End::of_served(ClosedReason::Finished, Party::Backend));
        drop(served);
        let lines = writer.waiting();
        let [cut, served] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(cut.end, End { who: Party::Teal, what: "shutdown" });
        assert_eq!(served.end, End { who: Party::Backend, what: "fin" });
    }
}
