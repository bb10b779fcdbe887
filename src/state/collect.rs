//! Gauges that are derived when somebody looks: weights, open and draining connections.

use std::collections::BTreeMap;
use std::time::Instant;

use super::draining;
use super::health::HealthState;
use super::live::Live;
use super::snapshot::{EndpointState, PortState, Snapshot, SnapshotCell};
use crate::model::{ColorName, ServiceName};
use crate::telemetry::SetGauge;
use crate::telemetry::names::{
    COLOR_ENDPOINTS, COLOR_WEIGHT, COLOR_WEIGHT_BASELINE, CONFIG_INFO, CONNECTIONS_ACTIVE, DRAIN_OLDEST,
    DRAINING_CONNECTIONS, ENDPOINT_UP, Family, RELEASE_INFO, RELEASE_STEP,
};

/// Open connections of one color on one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOfColor {
    /// The service.
    pub service: ServiceName,
    /// The listening port.
    pub port: u16,
    /// The color.
    pub color: ColorName,
    /// All of them.
    pub open: usize,
    /// Those that will not be followed by others: the color's weight is 0, or their endpoint is gone or
    /// disabled.
    pub draining: usize,
    /// When the oldest draining one was accepted.
    pub oldest: Option<Instant>,
}

/// Adds up the open connections by service, port and color, gone ones included.
pub fn open_connections(snapshot: &Snapshot, live: &Live) -> Vec<OpenOfColor> {
    let mut sums = BTreeMap::<_, OpenOfColor>::new();
    for endpoint in live.endpoints() {
        let (open, _) = endpoint.live.open.summary(|_| true);
        let cause = draining::cause(snapshot, &endpoint);
        let (draining, oldest) = cause.map_or((0, None), |cause| draining::open(&endpoint, cause));
        let key = (endpoint.service.clone(), endpoint.port, endpoint.color.clone());
        let sum = sums.entry(key).or_insert_with(|| OpenOfColor {
            service: endpoint.service,
            port: endpoint.port,
            color: endpoint.color,
            open: 0,
            draining: 0,
            oldest: None,
        });
        sum.open += open;
        sum.draining += draining;
        sum.oldest = sum.oldest.into_iter().chain(oldest).min();
    }
    sums.into_values().collect()
}

/// Families that are set anew each time: what is gone from the configuration leaves at once, although its
/// counters stay until its last connection has closed.
const DERIVED: &[Family] = &[
    COLOR_WEIGHT,
    COLOR_WEIGHT_BASELINE,
    COLOR_ENDPOINTS,
    ENDPOINT_UP,
    CONNECTIONS_ACTIVE,
    DRAINING_CONNECTIONS,
    DRAIN_OLDEST,
    CONFIG_INFO,
    RELEASE_INFO,
    RELEASE_STEP,
];

/// States of endpoints whose services have checks.
const CHECKED: [HealthState; 3] = [HealthState::Healthy, HealthState::Unhealthy, HealthState::Pending];

fn set_health(service: &str, port: &PortState, set: &mut SetGauge<'_>) {
    let listen = port.port.listen.to_string();
    for color in &port.colors {
        let labels = [("service", service), ("port", &listen), ("color", color.name.as_str())];
        let is_checked = color.endpoints.iter().any(|endpoint| endpoint.checked);
        let states = if is_checked { &CHECKED[..] } else { &[HealthState::Unchecked] };
        for state in states {
            let enabled = color.endpoints.iter().filter(|endpoint| endpoint.is_enabled());
            let count = enabled.filter(|endpoint| endpoint.health() == *state).count();
            let labels = [labels[0], labels[1], labels[2], ("state", state.label())];
            set(COLOR_ENDPOINTS, &labels, count as f64);
        }
        let disabled = color.endpoints.iter().filter(|endpoint| !endpoint.is_enabled()).count();
        set(COLOR_ENDPOINTS, &[labels[0], labels[1], labels[2], ("state", "disabled")], disabled as f64);
        let ejected = color.endpoints.iter().filter(|endpoint| endpoint.live.outlier.is_ejected()).count();
        set(COLOR_ENDPOINTS, &[labels[0], labels[1], labels[2], ("state", "ejected")], ejected as f64);
        let is_growing = |endpoint: &&EndpointState| endpoint.live.slow_start.growing_percent().is_some();
        let growing = color.endpoints.iter().filter(is_growing).count();
        set(COLOR_ENDPOINTS, &[labels[0], labels[1], labels[2], ("state", "slow_start")], growing as f64);
        for endpoint in &color.endpoints {
            let up = match endpoint.health() {
                HealthState::Healthy => 1.0,
                HealthState::Unhealthy => 0.0,
                HealthState::Pending | HealthState::Unchecked => continue,
            };
            let address = endpoint.address.to_string();
            set(ENDPOINT_UP, &[labels[0], labels[1], labels[2], ("endpoint", &address)], up);
        }
    }
}

/// Sets the gauges of everything that the snapshot and open connections name.
pub fn collect(cell: &SnapshotCell, live: &Live, now: Instant) {
    live.series().replace_gauges(DERIVED, |set| {
        let snapshot = cell.load_full();
        for state in snapshot.services.values() {
            for (index, color) in state.service.colors.iter().enumerate() {
                let labels = [("service", state.service.name.as_str()), ("color", color.name.as_str())];
                set(COLOR_WEIGHT, &labels, f64::from(state.weight(index).get()));
                set(COLOR_WEIGHT_BASELINE, &labels, f64::from(state.overrides.baseline(color).get()));
            }
            for port in &state.ports {
                set_health(state.service.name.as_str(), port, set);
            }
        }
        for sum in open_connections(&snapshot, live) {
            let port = sum.port.to_string();
            let labels = [("service", sum.service.as_str()), ("port", &port), ("color", sum.color.as_str())];
            set(CONNECTIONS_ACTIVE, &labels, sum.open as f64);
            set(DRAINING_CONNECTIONS, &labels, sum.draining as f64);
            let age = sum.oldest.map_or(0.0, |oldest| now.saturating_duration_since(oldest).as_secs_f64());
            set(DRAIN_OLDEST, &labels, age);
        }
        set(CONFIG_INFO, &[("hash", &snapshot.catalog.hash)], 1.0);
        for release in snapshot.releases.all().filter(|release| release.is_live()) {
            let (app, id) = (release.app().as_str(), release.id.0.as_str());
            set(RELEASE_INFO, &[("app", app), ("release", id), ("phase", release.phase.word())], 1.0);
            let step = release.step().map_or(0, |(index, _)| index + 1);
            set(RELEASE_STEP, &[("app", app)], step as f64);
        }
    });
}
