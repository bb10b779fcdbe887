//! Every metric that teal exports: name, kind, labels and help text.
//!
//! Base units, `_total` on counters, `color` wherever something happens per color, never a client's
//! address in a label.

mod dns;

pub use dns::*;

use super::buckets::{FAST_SECONDS, LIFE_SECONDS};
pub use super::buckets::{FIRST_BYTE_PARTS, FIRST_BYTE_SECONDS};

/// What a family measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// A distribution over fixed buckets: upper bounds in the family's unit.
    Histogram(&'static [f64]),
    /// The same, kept in so many times as many buckets as are exported.
    FineHistogram(&'static [f64], usize),
}

/// A metric family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// Full name, as scraped.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// One sentence for the reader of `/metrics`.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help }
}

/// By service, port, color: decisions of the split, by weight only.
pub const SPLIT_DECISIONS: Family = counter(
    "teal_split_decisions_total",
    "Connections that the split, or affinity, gave to a color by its weight, whatever became of them.",
);
/// By service, port, color.
pub const CONNECTIONS: Family =
    counter("teal_connections_total", "Connections that a color served (the backend accepted).");
/// By service, port, color.
pub const CONNECTIONS_ACTIVE: Family =
    gauge("teal_connections_active", "Connections open right now, by the color that serves them.");
/// By service, port, color, reason.
pub const CONNECTIONS_CLOSED: Family =
    counter("teal_connections_closed_total", "Served connections that ended, by reason.");
/// By service, port, color, reason.
pub const CONNECTION_ERRORS: Family = counter(
    "teal_connection_errors_total",
    "Connections that no backend served, by reason; color is \"none\" when none had been chosen.",
);
/// By service, port, color.
pub const CONNECT_RETRIES: Family = counter(
    "teal_connect_retries_total",
    "Tries to connect after the first one of a connection, by the color tried.",
);
/// By service, port, color.
pub const RETRY_BUDGET_EXHAUSTED: Family = counter(
    "teal_retry_budget_exhausted_total",
    "Connections not tried at another endpoint of the color, as the service's retry budget was used up.",
);
/// By service, port, color.
pub const SOURCE_PORTS_EXHAUSTED: Family = counter(
    "teal_source_ports_exhausted_total",
    "Connects to an endpoint for which a source address had no free port left.",
);
/// By endpoint.
pub const SOURCE_PORTS_USED: Family = gauge(
    "teal_source_ports_used",
    "Source ports towards an endpoint that are in use, also by connections that ended within a minute.",
);
/// By endpoint.
pub const SOURCE_PORTS_LIMIT: Family = gauge(
    "teal_source_ports_limit",
    "Source ports that there are towards an endpoint, over all source addresses.",
);
/// By service, port, from, to.
pub const CONNECTIONS_SPILLED: Family = counter(
    "teal_connections_spilled_total",
    "Connections that one color could not serve and another did, by spill or fallback.",
);
/// By service, port, color.
pub const LANE_CONNECTIONS: Family = counter(
    "teal_lane_connections_total",
    "Connections that a color served as it is the side of their caller, outside the split.",
);
/// By service, port, color.
pub const LANE_FALLBACKS: Family = counter(
    "teal_lane_fallbacks_total",
    "Connections that their lane's color could not serve and that were split by weight, by that color.",
);
/// By service, port.
pub const LANE_AMBIGUOUS: Family = counter(
    "teal_lane_ambiguous_total",
    "Connections split by weight as their source is several services or colors, or this host; color is \"none\".",
);
/// By service, port, color, direction (in: towards the backend, out: towards the client).
pub const BYTES: Family = counter(
    "teal_bytes_total",
    "Bytes relayed, by direction: in is client to backend, out is backend to client.",
);
/// By service, port, color.
pub const CONNECT_DURATION: Family = Family {
    name: "teal_connect_duration_seconds",
    kind: Kind::Histogram(FAST_SECONDS),
    help: "From accepting a connection until a backend accepted it.",
};
/// By service, port, color.
pub const FIRST_BYTE: Family = Family {
    name: "teal_first_byte_seconds",
    kind: Kind::FineHistogram(FIRST_BYTE_SECONDS, FIRST_BYTE_PARTS),
    help: "From the client's first byte, or the backend's accept where that spoke first, until the backend's first byte.",
};
/// By service, port, color, reason (refused, timeout, unreachable, other).
pub const CONNECT_FAILURES: Family = counter(
    "teal_connect_failures_total",
    "Tries to connect that failed by the color's own fault, also where another try served the connection.",
);
/// By service, port, color, kind:
/// - `empty`: the client said something, the backend said FIN and no byte;
/// - `reset_before`, `reset_after`: the backend reset the connection before its first byte, or after it;
/// - `early`: the backend ended it within 100 ms although the client had said nothing;
/// - `unanswered`: the client said something, and no byte of the backend came until somebody else ended it;
/// - `silent`: neither said anything for 3 s, until the client ended it;
/// - `stalled`: the backend took nothing for 5 s although the client had said more.
pub const BACKEND_FAULTS: Family = counter(
    "teal_backend_faults_total",
    "Served connections that the backend did not treat well, by kind. Some are normal for some protocols.",
);
/// By service, port, color.
pub const CONNECTION_DURATION: Family = Family {
    name: "teal_connection_duration_seconds",
    kind: Kind::Histogram(LIFE_SECONDS),
    help: "From accepting a connection until its end.",
};
/// By service, color.
pub const COLOR_WEIGHT: Family = gauge("teal_color_weight", "Weight in effect.");
/// By service, color.
pub const COLOR_WEIGHT_BASELINE: Family =
    gauge("teal_color_weight_baseline", "Weight that the configuration says.");
/// By service, port, color, state (healthy, unhealthy, pending; unchecked where there are no checks; besides,
/// ejected, whatever checks say, and `slow_start`, of which the share grows).
pub const COLOR_ENDPOINTS: Family = gauge("teal_color_endpoints", "Endpoints of a color, by state.");
/// By service, port, color, endpoint.
pub const ENDPOINT_UP: Family = gauge(
    "teal_endpoint_up",
    "1 when checks say that an endpoint works, 0 when not; absent before its first check.",
);
/// By service, port, color, to (healthy, unhealthy).
pub const HEALTH_TRANSITIONS: Family =
    counter("teal_health_transitions_total", "Changes of an endpoint's health, by what it became.");
/// By service, port, color.
pub const EJECTIONS: Family = counter(
    "teal_ejections_total",
    "Times that an endpoint was left out for a while, as connections to it failed.",
);
/// By kind (tcp, http), result (passed, failed).
pub const HEALTH_CHECK_DURATION: Family = Family {
    name: "teal_health_check_duration_seconds",
    kind: Kind::Histogram(FAST_SECONDS),
    help: "From the start of a health check until its result.",
};
/// By service, port, color.
pub const ALL_DOWN_TRIES: Family = counter(
    "teal_all_down_tries_total",
    "Tries of endpoints that checks say are down, as all of those with weight are.",
);
/// By service, port, color.
pub const DRAINING_CONNECTIONS: Family = gauge(
    "teal_draining_connections",
    "Open connections whose color has weight 0, or whose endpoint is gone or disabled.",
);
/// By service, port, color.
pub const DRAIN_OLDEST: Family =
    gauge("teal_drain_oldest_seconds", "Age of the oldest draining connection; 0 when there is none.");
/// No labels.
pub const WEIGHT_ZERO_VIOLATIONS: Family = counter(
    "teal_weight_zero_violations_total",
    "Connections given to a color of weight 0 without anybody having said so. Stays 0.",
);
/// By result (applied, unchanged, rejected, refused).
pub const CONFIG_RELOADS: Family = counter("teal_config_reloads_total", "Reloads, by result.");
/// No labels.
pub const CONFIG_LAST_RELOAD_SUCCESSFUL: Family =
    gauge("teal_config_last_reload_successful", "1 when the last reload took effect, else 0.");
/// No labels.
pub const CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP: Family = gauge(
    "teal_config_last_reload_success_timestamp_seconds",
    "When a configuration last took effect, in seconds since 1970.",
);
/// No labels.
pub const CONFIG_DEGRADED: Family = gauge(
    "teal_config_degraded",
    "1 while the last good configuration runs because the one on disk was broken at start.",
);
/// By app, release and phase.
pub const RELEASE_INFO: Family =
    gauge("teal_release_info", "1 for each release that can still change, with its phase.");
/// By app.
pub const RELEASE_STEP: Family = gauge(
    "teal_release_step",
    "The step of an app's last release that was applied last, from 1; 0 before the first.",
);
/// By app.
pub const RELEASE_SHIFTS: Family = counter("teal_release_shifts_total", "Shifts that took effect.");
/// By app and reason.
pub const RELEASE_HOLDS: Family = counter("teal_release_holds_total", "Times that a release began to hold.");
/// By app.
pub const RELEASE_ROLLBACKS: Family =
    counter("teal_release_rollbacks_total", "Releases that were rolled back or undone.");
/// By app and result (pass, fail, inconclusive).
pub const RELEASE_VERDICTS: Family =
    counter("teal_release_verdicts_total", "Verdicts, each counted when it differs from the one before.");
/// No labels.
pub const CONFIG_DRIFT: Family = gauge(
    "teal_config_drift",
    "Services whose baseline, as a confirmed release left it, is not what the configuration says.",
);
/// By hash.
pub const CONFIG_INFO: Family = gauge("teal_config_info", "1, with the hash of the configuration in effect.");
/// By state (used, limit).
pub const DESCRIPTORS: Family = gauge("teal_descriptors", "File descriptors, by state.");
/// By listener (proxy, dns, admin), reason.
pub const ACCEPT_ERRORS: Family =
    counter("teal_accept_errors_total", "Failed accepts, by listener and reason.");
/// By worker.
pub const WORKER_LOOP_LAG: Family =
    gauge("teal_worker_loop_lag_seconds", "How late a worker's last timer was, at the last measurement.");
/// No labels.
pub const CONNECTION_LOG_DROPPED: Family = counter(
    "teal_connection_log_dropped_total",
    "Lines of the connection log that were not written, because the log could not keep up.",
);
/// By version.
pub const BUILD_INFO: Family = gauge("teal_build_info", "1, with the version.");
/// No labels.
pub const LISTENERS_FAILED: Family =
    gauge("teal_listeners_failed", "Addresses that teal should listen at and cannot.");

/// No labels.
pub const JOURNAL_DAMAGED: Family =
    gauge("teal_journal_damaged", "1 while the journal is damaged and changes are refused, else 0.");
/// No labels.
pub const JOURNAL_UNRECORDED: Family =
    gauge("teal_journal_unrecorded", "Records that wait for the journal's disk to be writable.");

/// By gate, result (passed, failed, inconclusive).
pub const RELEASE_GATE_RUNS: Family =
    counter("teal_release_gate_runs_total", "Gates of releases that were asked, by what came of it.");
/// By result (delivered, failed, dropped).
pub const RELEASE_NOTIFICATIONS: Family = counter(
    "teal_release_notifications_total",
    "Messages about releases to webhooks; dropped ones had no room in the queue.",
);

/// Families by service, port or color, which are removable.
pub const REMOVABLE: &[Family] = &[
    SPLIT_DECISIONS,
    CONNECTIONS,
    CONNECTIONS_ACTIVE,
    CONNECTIONS_CLOSED,
    CONNECTION_ERRORS,
    CONNECT_RETRIES,
    RETRY_BUDGET_EXHAUSTED,
    SOURCE_PORTS_EXHAUSTED,
    SOURCE_PORTS_USED,
    SOURCE_PORTS_LIMIT,
    CONNECTIONS_SPILLED,
    LANE_CONNECTIONS,
    LANE_FALLBACKS,
    LANE_AMBIGUOUS,
    BYTES,
    CONNECT_DURATION,
    FIRST_BYTE,
    CONNECT_FAILURES,
    BACKEND_FAULTS,
    CONNECTION_DURATION,
    COLOR_WEIGHT,
    COLOR_WEIGHT_BASELINE,
    COLOR_ENDPOINTS,
    ENDPOINT_UP,
    HEALTH_TRANSITIONS,
    EJECTIONS,
    HEALTH_CHECK_DURATION,
    ALL_DOWN_TRIES,
    DRAINING_CONNECTIONS,
    DRAIN_OLDEST,
    WEIGHT_ZERO_VIOLATIONS,
    DNS_QUERY_DURATION,
    DNS_UPSTREAM_QUERIES,
    DNS_UPSTREAM_RTT,
    DNS_UPSTREAM_FAILURES,
    DNS_UPSTREAM_UP,
    DNS_UPSTREAM_IGNORED,
    CONFIG_INFO,
    RELEASE_INFO,
    RELEASE_STEP,
];

/// Families kept by the exporter.
pub const ORDINARY: &[Family] = &[
    DNS_QUERIES,
    DNS_FORWARDS_IN_FLIGHT,
    DNS_CACHE_ENTRIES,
    DNS_CACHE_BYTES,
    DNS_CACHE_HITS,
    DNS_CACHE_STALE,
    DNS_CACHE_MISSES,
    DNS_FORWARDS_LIMITED,
    DNS_DROPPED,
    DNS_LOG_DROPPED,
    CONFIG_RELOADS,
    CONFIG_LAST_RELOAD_SUCCESSFUL,
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP,
    CONFIG_DEGRADED,
    CONFIG_DRIFT,
    RELEASE_SHIFTS,
    RELEASE_HOLDS,
    RELEASE_ROLLBACKS,
    RELEASE_VERDICTS,
    DESCRIPTORS,
    ACCEPT_ERRORS,
    WORKER_LOOP_LAG,
    CONNECTION_LOG_DROPPED,
    BUILD_INFO,
    LISTENERS_FAILED,
    JOURNAL_DAMAGED,
    JOURNAL_UNRECORDED,
    RELEASE_GATE_RUNS,
    RELEASE_NOTIFICATIONS,
];
