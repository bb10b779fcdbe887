//! The live facts of one color on one port, and of one port: counters whose series leave with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::health::HealthState;
use super::places::Places;
use super::reasons::{ClosedReason, ErrorReason};
use super::signals::{BackendFault, Signals};
use crate::balance::RetryBudget;
use crate::model::{ColorName, ServiceName};
use crate::telemetry::names::{
    ALL_DOWN_TRIES, BACKEND_FAULTS, BYTES, CONNECT_DURATION, CONNECT_FAILURES, CONNECT_RETRIES,
    CONNECTION_DURATION, CONNECTION_ERRORS, CONNECTIONS, CONNECTIONS_CLOSED, CONNECTIONS_SPILLED, EJECTIONS,
    FIRST_BYTE, Family, HEALTH_TRANSITIONS, LANE_AMBIGUOUS, LANE_CONNECTIONS, LANE_FALLBACKS,
    RETRY_BUDGET_EXHAUSTED, SOURCE_PORTS_EXHAUSTED, SPLIT_DECISIONS, WEIGHT_ZERO_VIOLATIONS,
};
use crate::telemetry::{Counter, CounterCell, FixedHistogram, HistogramCell, Line, Series};

/// Labels of a color's series, and where to make them.
#[derive(Clone)]
pub(super) struct Labels {
    series: Arc<Series>,
    service: ServiceName,
    port: Box<str>,
    color: Box<str>,
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}/{}", self.service, self.port, self.color)
    }
}

impl Labels {
    pub(super) fn new(series: &Arc<Series>, (service, port): (&ServiceName, u16), color: &str) -> Self {
        let (series, service) = (Arc::clone(series), service.clone());
        Self { series, service, port: port.to_string().into(), color: color.into() }
    }

    fn counter(&self, family: Family, more: Option<(&'static str, &str)>) -> CounterCell {
        let mut labels =
            vec![("service", self.service.as_str()), ("port", &*self.port), ("color", &*self.color)];
        labels.extend(more);
        self.series.counter(family, &labels)
    }

    fn histogram(&self, family: Family) -> HistogramCell {
        let labels = [("service", self.service.as_str()), ("port", &*self.port), ("color", &*self.color)];
        self.series.histogram(family, &labels)
    }
}

/// The live facts of one color on one port. Series with a `reason`, and histograms, appear with
/// their first value: thousands of quiet services stay cheap.
#[derive(Debug)]
pub struct ColorLive {
    labels: Labels,
    /// The place in the sequence of the color's endpoints.
    pub picks: Line<AtomicU64>,
    /// Connections of the color on all ports, those still connecting included.
    pub places: Arc<Places>,
    /// `split_decisions_total`
    pub decisions: CounterCell,
    /// `connections_total`
    pub connections: CounterCell,
    /// `connect_retries_total`
    pub retries: CounterCell,
    /// `bytes_total{direction="in"}`: client to backend
    pub bytes_in: CounterCell,
    /// `bytes_total{direction="out"}`: backend to client
    pub bytes_out: CounterCell,
    /// `weight_zero_violations_total`, one cell for the whole process
    pub weight_zero_violations: CounterCell,
    connect_duration: OnceLock<HistogramCell>,
    first_byte: OnceLock<HistogramCell>,
    connection_duration: OnceLock<HistogramCell>,
    retry_budget_exhausted: OnceLock<CounterCell>,
    lane_connections: OnceLock<CounterCell>,
    lane_fallbacks: OnceLock<CounterCell>,
    closed: [OnceLock<CounterCell>; ClosedReason::COUNT],
    errors: [OnceLock<CounterCell>; ErrorReason::COUNT],
    connect_failures: [OnceLock<CounterCell>; ErrorReason::COUNT],
    faults: [OnceLock<CounterCell>; BackendFault::COUNT],
    pub(super) signals: Signals,
}

impl ColorLive {
    pub(super) fn new(labels: Labels, places: Arc<Places>) -> Self {
        Self {
            places,
            picks: Line::default(),
            decisions: labels.counter(SPLIT_DECISIONS, None),
            connections: labels.counter(CONNECTIONS, None),
            retries: labels.counter(CONNECT_RETRIES, None),
            bytes_in: labels.counter(BYTES, Some(("direction", "in"))),
            bytes_out: labels.counter(BYTES, Some(("direction", "out"))),
            weight_zero_violations: labels.series.counter(WEIGHT_ZERO_VIOLATIONS, &[]),
            connect_duration: OnceLock::new(),
            first_byte: OnceLock::new(),
            connection_duration: OnceLock::new(),
            retry_budget_exhausted: OnceLock::new(),
            lane_connections: OnceLock::new(),
            lane_fallbacks: OnceLock::new(),
            closed: Default::default(),
            errors: Default::default(),
            connect_failures: Default::default(),
            faults: Default::default(),
            signals: Signals::default(),
            labels,
        }
    }

    /// `connect_duration_seconds`
    pub fn connect_duration(&self) -> &FixedHistogram {
        self.connect_duration.get_or_init(|| self.labels.histogram(CONNECT_DURATION))
    }

    /// `first_byte_seconds`
    pub fn first_byte(&self) -> &FixedHistogram {
        self.first_byte.get_or_init(|| self.labels.histogram(FIRST_BYTE))
    }

    /// `connection_duration_seconds`
    pub fn connection_duration(&self) -> &FixedHistogram {
        self.connection_duration.get_or_init(|| self.labels.histogram(CONNECTION_DURATION))
    }

    /// `retry_budget_exhausted_total`
    pub fn retry_budget_exhausted(&self) -> &Counter {
        self.retry_budget_exhausted.get_or_init(|| self.labels.counter(RETRY_BUDGET_EXHAUSTED, None))
    }

    /// `lane_connections_total`
    pub fn lane_connections(&self) -> &Counter {
        self.lane_connections.get_or_init(|| self.labels.counter(LANE_CONNECTIONS, None))
    }

    /// `lane_fallbacks_total`
    pub fn lane_fallbacks(&self) -> &Counter {
        self.lane_fallbacks.get_or_init(|| self.labels.counter(LANE_FALLBACKS, None))
    }

    /// `connections_closed_total{reason}`
    pub fn closed(&self, reason: ClosedReason) -> &Counter {
        self.closed[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECTIONS_CLOSED, Some(("reason", reason.label()))))
    }

    /// `connection_errors_total{reason}` for a connection that the split or a preview name gave here.
    pub fn errors(&self, reason: ErrorReason) -> &Counter {
        self.errors[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECTION_ERRORS, Some(("reason", reason.label()))))
    }

    /// `connect_failures_total{reason}`
    pub fn connect_failures(&self, reason: ErrorReason) -> &Counter {
        self.connect_failures[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECT_FAILURES, Some(("reason", reason.label()))))
    }

    /// `backend_faults_total{kind}`
    pub fn faults(&self, fault: BackendFault) -> &Counter {
        self.faults[fault as usize]
            .get_or_init(|| self.labels.counter(BACKEND_FAULTS, Some(("kind", fault.label()))))
    }

    /// How many of a fault there were, without making its series.
    pub(super) fn faults_in_all(&self, fault: BackendFault) -> u64 {
        self.faults[fault as usize].get().map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// How many connections have ended, for whatever reason.
    pub(super) fn closed_in_all(&self) -> u64 {
        self.closed.iter().filter_map(OnceLock::get).map(|cell| cell.load(Ordering::Relaxed)).sum()
    }

    /// `source_ports_exhausted_total`; rare, so it is looked up each time.
    pub fn source_ports_exhausted(&self) -> CounterCell {
        self.labels.counter(SOURCE_PORTS_EXHAUSTED, None)
    }

    /// `all_down_tries_total`; rare, so it is looked up each time.
    pub fn all_down_tries(&self) -> CounterCell {
        self.labels.counter(ALL_DOWN_TRIES, None)
    }

    /// `health_transitions_total{to}`; rare, so it is looked up each time.
    pub fn health_transitions(&self, to: HealthState) -> CounterCell {
        self.labels.counter(HEALTH_TRANSITIONS, Some(("to", to.label())))
    }

    /// `ejections_total`; rare, so it is looked up each time.
    pub fn ejections(&self) -> CounterCell {
        self.labels.counter(EJECTIONS, None)
    }

    /// `connections_spilled_total{from,to}`; rare, so it is looked up each time.
    pub fn spilled(&self, to: &ColorName) -> CounterCell {
        let labels = [
            ("service", self.labels.service.as_str()),
            ("port", &*self.labels.port),
            ("from", &*self.labels.color),
            ("to", to.as_str()),
        ];
        self.labels.series.counter(CONNECTIONS_SPILLED, &labels)
    }
}

/// The live facts of one port of a service: what happened before a color was chosen.
#[derive(Debug)]
pub struct PortLive {
    labels: Labels,
    errors: [OnceLock<CounterCell>; ErrorReason::COUNT],
    lane_ambiguous: OnceLock<CounterCell>,
    /// What its connections may still cost in retries.
    pub retry_budget: RetryBudget,
}

impl PortLive {
    pub(super) fn new(labels: Labels) -> Self {
        Self {
            labels,
            errors: Default::default(),
            lane_ambiguous: OnceLock::new(),
            retry_budget: RetryBudget::default(),
        }
    }

    /// `lane_ambiguous_total{color="none"}`
    pub fn lane_ambiguous(&self) -> &Counter {
        self.lane_ambiguous.get_or_init(|| self.labels.counter(LANE_AMBIGUOUS, None))
    }

    /// `connection_errors_total{color="none",reason}`
    pub fn errors(&self, reason: ErrorReason) -> &Counter {
        self.errors[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECTION_ERRORS, Some(("reason", reason.label()))))
    }
}
