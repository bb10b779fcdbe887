//! Proof of life for systemd, and what must be done every few seconds.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::systemd;
use crate::net::Workers;
use crate::telemetry::names::DESCRIPTORS;
use crate::telemetry::ordinary::Ordinary;

/// Tells systemd that the daemon lives, each time after every worker and every DNS thread have shown that
/// they still take work. Returns at once when the unit has no watchdog.
pub async fn run(workers: Arc<Workers>, dns: Arc<[Handle]>, stop: CancellationToken) {
    let Some(interval) = systemd::watchdog_interval() else { return };
    let mut tick = tokio::time::interval(interval);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let mut answers: Vec<_> =
            (0..workers.count()).map(|index| workers.spawn_on(index, async {})).collect();
        answers.extend(dns.iter().map(|thread| thread.spawn(async {})));
        if tokio::time::timeout(interval, futures_util::future::join_all(answers)).await.is_ok() {
            systemd::alive();
        } else {
            tracing::error!("a worker or a DNS thread does not take work any more");
        }
    }
}

/// How often it is looked after metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Keeps the exporter's memory bounded and counts descriptors.
pub async fn upkeep(ordinary: Ordinary, stop: CancellationToken) {
    let used = metrics::gauge!(DESCRIPTORS.name, "state" => "used");
    let limit = metrics::gauge!(DESCRIPTORS.name, "state" => "limit");
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        ordinary.run_upkeep();
        if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
            // The folder's own descriptor is not one of those in use.
            used.set(descriptors.count().saturating_sub(1) as f64);
        }
        limit.set(getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64));
    }
}
