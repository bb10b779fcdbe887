//! Metrics of DNS.

use super::super::buckets::{ANSWER_SECONDS, UPSTREAM_SECONDS};
use super::{Family, Kind, counter, gauge};

/// No labels.
pub const DNS_QUERY_DURATION: Family = Family {
    name: "teal_dns_query_duration_seconds",
    kind: Kind::Histogram(ANSWER_SECONDS),
    help: "From receiving a query until its answer was handed to the kernel.",
};
/// By scope (zone, special, cache, forwarded, refused, invalid), rcode, transport.
pub const DNS_QUERIES: Family =
    counter("teal_dns_queries_total", "Queries answered, by scope, response code and transport.");
/// No labels.
pub const DNS_FORWARDS_IN_FLIGHT: Family =
    gauge("teal_dns_forwards_in_flight", "Queries that wait for an upstream's answer.");
/// By reason (`in_flight`, `rate`, `no_upstream`, `loop`).
pub const DNS_FORWARDS_LIMITED: Family = counter(
    "teal_dns_forwards_limited_total",
    "Queries that got SERVFAIL at once instead of being asked upstream, by reason.",
);
/// No labels.
pub const DNS_CACHE_ENTRIES: Family = gauge("teal_dns_cache_entries", "Answers of upstreams that are kept.");
/// No labels.
pub const DNS_CACHE_BYTES: Family = gauge("teal_dns_cache_bytes", "Memory that they take.");
/// No labels.
pub const DNS_CACHE_HITS: Family =
    counter("teal_dns_cache_hits_total", "Queries answered out of the cache, with answers that are good.");
/// No labels.
pub const DNS_CACHE_STALE: Family = counter(
    "teal_dns_cache_stale_total",
    "Questions answered with answers that are over, because no upstream could.",
);
/// No labels.
pub const DNS_CACHE_MISSES: Family =
    counter("teal_dns_cache_misses_total", "Queries for names of others that were not in the cache.");
/// By upstream, transport.
pub const DNS_UPSTREAM_QUERIES: Family =
    counter("teal_dns_upstream_queries_total", "Questions sent to an upstream, repeated ones included.");
/// By upstream.
pub const DNS_UPSTREAM_RTT: Family = Family {
    name: "teal_dns_upstream_rtt_seconds",
    kind: Kind::Histogram(UPSTREAM_SECONDS),
    help: "From a question over UDP until the upstream's answer to it.",
};
/// By upstream, reason (timeout, unreachable, servfail, refused).
pub const DNS_UPSTREAM_FAILURES: Family =
    counter("teal_dns_upstream_failures_total", "Questions that an upstream did not answer usefully.");
/// By upstream.
pub const DNS_UPSTREAM_UP: Family =
    gauge("teal_dns_upstream_up", "1 while an upstream answers, 0 after failures in a row.");
/// By upstream, reason (malformed, unasked, question).
pub const DNS_UPSTREAM_IGNORED: Family = counter(
    "teal_dns_upstream_ignored_total",
    "Packets from an upstream's address that answer nothing that was asked.",
);
/// By reason.
pub const DNS_DROPPED: Family = counter("teal_dns_dropped_total", "Packets that got no answer, by reason.");
/// No labels.
pub const DNS_LOG_DROPPED: Family =
    counter("teal_dns_log_dropped_total", "Lines of the query log for which there was no room.");
