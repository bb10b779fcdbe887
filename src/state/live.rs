//! Live facts: counters and open connections that outlive snapshots.
//!
//! They hang on the identity of an endpoint, a color or a port. While somebody still points to one, a
//! snapshot that names the same identity again gets the same one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use super::connections::OpenConnections;
use super::health::{HealthCell, HealthState};
use super::outlier::OutlierCell;
use super::places::{Places, ServiceLive};
use super::reasons::{ClosedReason, ErrorReason};
use crate::balance::RetryBudget;
use crate::model::{ColorName, ServiceName};
use crate::telemetry::names::{
    ALL_DOWN_TRIES, BYTES, CONNECT_DURATION, CONNECT_RETRIES, CONNECTION_DURATION, CONNECTION_ERRORS,
    CONNECTIONS, CONNECTIONS_CLOSED, CONNECTIONS_SPILLED, EJECTIONS, FIRST_BYTE, Family, HEALTH_TRANSITIONS,
    RETRY_BUDGET_EXHAUSTED, SOURCE_PORTS_EXHAUSTED, SPLIT_DECISIONS, WEIGHT_ZERO_VIOLATIONS,
};
use crate::telemetry::{CounterCell, FixedHistogram, HistogramCell, Series};

/// Labels of a color's series, and where to make them.
#[derive(Clone)]
struct Labels {
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

/// The live facts of one endpoint, by (service, port, color, address).
#[derive(Debug)]
pub struct EndpointLive {
    /// Its address.
    pub address: SocketAddr,
    /// Connections that it serves.
    pub open: OpenConnections,
    /// The same with those still connecting, counted for its limit.
    pub places: Places,
    /// Counts whose turn it is of the service's `source_addresses`.
    pub source_turns: AtomicU32,
    /// What checks say of it.
    pub health: HealthCell,
    /// What failed connections say of it.
    pub outlier: OutlierCell,
}

/// The live facts of one color on one port. Series with a `reason`, and histograms, appear with
/// their first value: thousands of quiet services stay cheap.
#[derive(Debug)]
pub struct ColorLive {
    labels: Labels,
    /// The place in the sequence of the color's endpoints.
    pub picks: AtomicU64,
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
    closed: [OnceLock<CounterCell>; ClosedReason::COUNT],
    errors: [OnceLock<CounterCell>; ErrorReason::COUNT],
}

impl ColorLive {
    fn new(labels: Labels, places: Arc<Places>) -> Self {
        Self {
            places,
            picks: AtomicU64::new(0),
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
            closed: Default::default(),
            errors: Default::default(),
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
    pub fn retry_budget_exhausted(&self) -> &AtomicU64 {
        self.retry_budget_exhausted.get_or_init(|| self.labels.counter(RETRY_BUDGET_EXHAUSTED, None))
    }

    /// `connections_closed_total{reason}`
    pub fn closed(&self, reason: ClosedReason) -> &AtomicU64 {
        self.closed[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECTIONS_CLOSED, Some(("reason", reason.label()))))
    }

    /// `connection_errors_total{reason}` for a connection that the split or a preview name gave here.
    pub fn errors(&self, reason: ErrorReason) -> &AtomicU64 {
        self.errors[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECTION_ERRORS, Some(("reason", reason.label()))))
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
    /// What its connections may still cost in retries.
    pub retry_budget: RetryBudget,
}

impl PortLive {
    /// `connection_errors_total{color="none",reason}`
    pub fn errors(&self, reason: ErrorReason) -> &AtomicU64 {
        self.errors[reason as usize]
            .get_or_init(|| self.labels.counter(CONNECTION_ERRORS, Some(("reason", reason.label()))))
    }
}

/// (service, listening port)
type PortKey = (ServiceName, u16);
/// (service, listening port, color)
type ColorKey = (ServiceName, u16, ColorName);
/// (service, listening port, color, address)
type EndpointKey = (ServiceName, u16, ColorName, SocketAddr);

/// Finds live facts by identity.
#[derive(Default)]
pub struct Live {
    series: Arc<Series>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    services: HashMap<ServiceName, Weak<ServiceLive>>,
    places: HashMap<(ServiceName, ColorName), Weak<Places>>,
    ports: HashMap<PortKey, Weak<PortLive>>,
    colors: HashMap<ColorKey, Weak<ColorLive>>,
    endpoints: HashMap<EndpointKey, Weak<EndpointLive>>,
}

/// An endpoint that somebody still points to.
pub struct LivingEndpoint {
    /// Its service.
    pub service: ServiceName,
    /// The port it serves, by listening port.
    pub port: u16,
    /// Its color.
    pub color: ColorName,
    /// Its facts.
    pub live: Arc<EndpointLive>,
}

impl Live {
    /// Live facts whose series are kept in `series`.
    pub fn new(series: Arc<Series>) -> Self {
        Self { series, tables: Mutex::default() }
    }

    /// Where the series are kept.
    pub fn series(&self) -> &Arc<Series> {
        &self.series
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self, service: &ServiceName, port: u16, color: &str) -> Labels {
        let port = port.to_string().into();
        Labels { series: Arc::clone(&self.series), service: service.clone(), port, color: color.into() }
    }

    /// The facts of a port.
    pub fn port(&self, service: &ServiceName, port: u16) -> Arc<PortLive> {
        reuse(&mut self.tables().ports, (service.clone(), port), || PortLive {
            labels: self.labels(service, port, "none"),
            retry_budget: RetryBudget::default(),
            errors: Default::default(),
        })
    }

    /// The facts of a service.
    pub fn service(&self, service: &ServiceName) -> Arc<ServiceLive> {
        reuse(&mut self.tables().services, service.clone(), || ServiceLive::new(Instant::now()))
    }

    /// The facts of a color on a port.
    pub fn color(&self, service: &ServiceName, port: u16, color: &ColorName) -> Arc<ColorLive> {
        let mut tables = self.tables();
        let places = reuse(&mut tables.places, (service.clone(), color.clone()), Places::default);
        reuse(&mut tables.colors, (service.clone(), port, color.clone()), || {
            ColorLive::new(self.labels(service, port, color.as_str()), places)
        })
    }

    /// The facts of an endpoint.
    pub fn endpoint(&self, color: (&ServiceName, u16, &ColorName), address: SocketAddr) -> Arc<EndpointLive> {
        let key = (color.0.clone(), color.1, color.2.clone(), address);
        reuse(&mut self.tables().endpoints, key, || EndpointLive {
            address,
            open: OpenConnections::default(),
            places: Places::default(),
            source_turns: AtomicU32::new(0),
            health: HealthCell::default(),
            outlier: OutlierCell::default(),
        })
    }

    /// Every endpoint that a snapshot or an open connection still points to.
    pub fn endpoints(&self) -> Vec<LivingEndpoint> {
        let tables = self.tables();
        let living = tables.endpoints.iter().filter_map(|((service, port, color, _), live)| {
            let live = live.upgrade()?;
            Some(LivingEndpoint { service: service.clone(), port: *port, color: color.clone(), live })
        });
        living.collect()
    }

    /// Removes the series of ports and colors that nobody points to any more, and forgets them.
    pub fn sweep(&self) {
        let mut tables = self.tables();
        tables.endpoints.retain(|_, live| live.strong_count() > 0);
        tables.services.retain(|_, live| live.strong_count() > 0);
        tables.places.retain(|_, places| places.strong_count() > 0);
        let mut gone = Vec::new();
        tables.colors.retain(|(service, port, color), live| {
            let lives = live.strong_count() > 0;
            if !lives {
                gone.push((service.clone(), *port, color.clone()));
            }
            lives
        });
        for (service, port, color) in gone {
            let port = port.to_string();
            for label in ["color", "from", "to"] {
                let labels =
                    [("service", service.as_str()), ("port", port.as_str()), (label, color.as_str())];
                self.series.remove(&labels);
            }
            if !tables.colors.keys().any(|(other, _, name)| *other == service && *name == color) {
                self.series.remove(&[("service", service.as_str()), ("color", color.as_str())]);
            }
        }
        tables.ports.retain(|(service, port), live| {
            let port = port.to_string();
            live.strong_count() > 0 || {
                self.series.remove(&[("service", service.as_str()), ("port", &port), ("color", "none")]);
                false
            }
        });
    }
}

fn reuse<K: Eq + std::hash::Hash, V>(
    table: &mut HashMap<K, Weak<V>>,
    key: K,
    make: impl FnOnce() -> V,
) -> Arc<V> {
    let slot = table.entry(key).or_default();
    slot.upgrade().unwrap_or_else(|| {
        let fresh = Arc::new(make());
        *slot = Arc::downgrade(&fresh);
        fresh
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(live: &Live) -> String {
        let mut text = String::new();
        live.series().render(&mut text);
        text
    }

    #[test]
    fn series_leave_with_the_last_one_who_points_to_them() {
        let live = Live::default();
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let first = live.color(&service, 80, &color);
        let second = live.color(&service, 81, &color);
        let port = live.port(&service, 80);
        port.errors(ErrorReason::NoWeight);
        live.series().set_gauge(
            crate::telemetry::names::COLOR_WEIGHT,
            &[("service", "a"), ("color", "blue")],
            1.0,
        );
        let kept = Arc::clone(&first);
        drop((first, port));
        live.sweep();
        assert!(rendered(&live).contains(r#"port="80",color="blue""#), "somebody still points to it");
        assert!(!rendered(&live).contains(r#"color="none""#));
        drop(kept);
        live.sweep();
        assert!(!rendered(&live).contains(r#"port="80""#));
        assert!(rendered(&live).contains("teal_color_weight{"), "the color lives on another port");
        drop(second);
        live.sweep();
        assert!(!rendered(&live).contains(r#"service="a""#));
    }

    #[test]
    fn an_identity_that_comes_back_while_somebody_points_to_it_is_the_same() {
        let live = Live::default();
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let address = "127.0.0.1:80".parse().unwrap();
        let first = live.endpoint((&service, 80, &color), address);
        assert!(Arc::ptr_eq(&first, &live.endpoint((&service, 80, &color), address)));
        assert_eq!(live.endpoints().len(), 1);
        drop(first);
        assert!(live.endpoints().is_empty());
    }
}
