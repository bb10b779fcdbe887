//! Builds the status report.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::context::Context;
use super::drains;
use super::report::{
    ColorReport, ConfigurationReport, DnsReport, EndpointReport, LanesReport, PortReport, ProblemReport,
    ServiceReport, StatusReport, UpstreamReport,
};
use crate::dns::forward::UpstreamStatus;
use crate::model::{Affinity, Catalog, ColorName, ServiceName};
use crate::state::collect::{OpenOfColor, open_connections};
use crate::state::{Cause, ColorLive, ErrorReason, ServiceState, Snapshot};
use crate::telemetry::Counter;

/// What is, as of now.
pub fn status(context: &Context, now: Instant) -> StatusReport {
    let snapshot = context.snapshot.load_full();
    let facts = &context.facts;
    let settings = &snapshot.catalog.settings;
    let problem = |(subject, message)| ProblemReport { subject, message };
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: now.saturating_duration_since(facts.started).as_secs(),
        phase: context.phase.borrow().label().to_owned(),
        configuration: ConfigurationReport {
            path: facts.config.clone(),
            hash: snapshot.catalog.hash.clone(),
            baseline_hash: snapshot.baseline_hash(),
            degraded: facts.is_degraded(),
            generation: snapshot.generation,
            last_reload: facts.last_reload.load().as_deref().cloned(),
        },
        dns: DnsReport {
            listen: facts.dns.load().as_ref().clone(),
            zones: settings.dns.zones.iter().map(ToString::to_string).collect(),
            upstreams: context.dns.dns.upstreams().into_iter().map(upstream).collect(),
        },
        metrics: facts.metrics.load().as_deref().copied(),
        vip_pool: settings.vip.pool.0.to_string(),
        connections: (context.connections)(),
        problems: context.problems.all().into_iter().map(problem).collect(),
        services: services(&snapshot, context, now),
        drains: drains::reports(&snapshot, &context.live, now, |_| true),
    }
}

fn upstream(status: UpstreamStatus) -> UpstreamReport {
    let condition = status.condition;
    let state = match (condition.is_looping, condition.is_up) {
        (true, _) => "looping",
        (false, true) => "up",
        (false, false) => "down",
    };
    UpstreamReport {
        address: status.address,
        domain: status.domain,
        state: state.to_owned(),
        rtt_ms: condition.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        last_error: condition
            .last_failure
            .map(|(what, ago)| format!("{what}, {} ago", humantime::format_duration(whole_seconds(ago)))),
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

type OpenByColor = HashMap<(ServiceName, ColorName), OpenOfColor>;

fn services(snapshot: &Snapshot, context: &Context, now: Instant) -> Vec<ServiceReport> {
    let mut open = OpenByColor::new();
    for sum in open_connections(snapshot, &context.live) {
        match open.entry((sum.service.clone(), sum.color.clone())) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(sum);
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let all = entry.get_mut();
                all.open += sum.open;
                all.draining += sum.draining;
                all.oldest = all.oldest.into_iter().chain(sum.oldest).min();
            }
        }
    }
    snapshot.services.values().map(|state| service(state, &snapshot.catalog, &open, now)).collect()
}

fn service(state: &ServiceState, catalog: &Catalog, open: &OpenByColor, now: Instant) -> ServiceReport {
    let port = |port: &crate::state::PortState| PortReport {
        listen: port.port.listen,
        name: port.port.name.as_ref().map(ToString::to_string),
        expose: port.port.expose.clone(),
        decided: port.split.decided(),
    };
    let app = catalog.apps.iter().find(|(_, app)| app.services.contains(&state.service.name));
    ServiceReport {
        name: state.service.name.to_string(),
        vip: state.vip,
        app: app.map(|(name, _)| name.to_string()),
        affinity: match state.service.policy.affinity {
            Affinity::None => None,
            Affinity::SourceIp => Some("source_ip".to_owned()),
        },
        lanes: lanes(state),
        ports: state.ports.iter().map(port).collect(),
        colors: (0..state.service.colors.len()).map(|index| color(state, index, open, now)).collect(),
    }
}

fn lanes(state: &ServiceState) -> Option<LanesReport> {
    let mode = state.inbound.lanes.as_ref()?.mode.label().to_owned();
    let sum = |count: fn(&ColorLive) -> &Counter| -> u64 {
        let colors = state.ports.iter().flat_map(|port| &port.colors);
        colors.map(|color| count(&color.live).load(Ordering::Relaxed)).sum()
    };
    Some(LanesReport {
        mode,
        served: sum(ColorLive::lane_connections),
        fallbacks: sum(ColorLive::lane_fallbacks),
        refused: sum(|color| color.errors(ErrorReason::Lane)),
        ambiguous: state.ports.iter().map(|port| port.live.lane_ambiguous().load(Ordering::Relaxed)).sum(),
    })
}

fn color(state: &ServiceState, index: usize, open: &OpenByColor, now: Instant) -> ColorReport {
    let color = &state.service.colors[index];
    let on_ports = || state.ports.iter().map(|port| (port.port.listen, &port.colors[index]));
    let endpoints = on_ports().flat_map(|(port, color)| {
        color.endpoints.iter().map(move |endpoint| EndpointReport {
            port,
            address: endpoint.address,
            weight: endpoint.weight,
            open: endpoint.live.open.len(),
            health: endpoint.health().label().to_owned(),
            disabled: state
                .overrides
                .disabled(&color.name, endpoint.address)
                .map(|cause| said(DISABLED, cause)),
            ejected: endpoint.live.outlier.is_ejected(),
            slow_start_percent: endpoint.live.slow_start.growing_percent(),
        })
    });
    let overrides = &state.overrides;
    let origin = overrides.weights.as_ref().map(|set| said(OVERRIDE, &set.cause));
    let origin = origin.or_else(|| overrides.baseline.as_ref().map(|set| said(BASELINE, &set.cause)));
    let sum = open.get(&(state.service.name.clone(), color.name.clone()));
    ColorReport {
        name: color.name.to_string(),
        weight: state.weight(index).get(),
        baseline: overrides.baseline(color).get(),
        configured: color.weight.get(),
        origin: origin.unwrap_or_else(|| "file".to_owned()),
        preview: state.previews[index],
        fallback: color.fallback.as_ref().map(ToString::to_string),
        decisions: on_ports().map(|(_, color)| color.live.decisions.load(Ordering::Relaxed)).sum(),
        served: on_ports().map(|(_, color)| color.live.connections.load(Ordering::Relaxed)).sum(),
        open: sum.map_or(0, |sum| sum.open),
        draining: sum.map_or(0, |sum| sum.draining),
        oldest_draining_seconds: sum
            .and_then(|sum| sum.oldest)
            .map(|oldest| now.saturating_duration_since(oldest).as_secs()),
        endpoints: endpoints.collect(),
    }
}

const OVERRIDE: &str = "override";
const BASELINE: &str = "baseline";
const DISABLED: &str = "disabled";

/// Who did something, when and why, in one line.
fn said(what: &str, cause: &Cause) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(cause.at);
    format!("{what} by {} at {} because {}", cause.actor, humantime::format_rfc3339_seconds(at), cause.why)
}
