//! `[defaults]` and the same keys in services.

use std::net::IpAddr;
use std::time::Duration;

use super::address;
use super::diagnostic::{Diagnostic, Findings, quote};
use super::health;
use super::keys::Schema;
use super::limits::{self, LimitsDraft};
use super::outlier;
use super::scalar::{self, DurationBounds, OrOff, Words};
use super::walk::{Placed, Table, Value};
use crate::model::{Affinity, AllowFrom, Balance, HealthCheck, OnAllDown, OnColorDown, Policy};

/// Further tries at most: more would only hide a backend that is down.
const RETRIES_MAX: u32 = 10;
/// As many as `retries` can ask for: no bound at all.
const RETRY_BUDGET_MAX: u32 = 100 * RETRIES_MAX;
const CONNECT_TIMEOUT: DurationBounds = DurationBounds::milliseconds(1, 60_000);
const CONNECT_TOTAL_TIMEOUT: DurationBounds = DurationBounds::milliseconds(1, 600_000);
const IDLE_TIMEOUT: DurationBounds = DurationBounds::milliseconds(1_000, 7 * 86_400_000);
const HALF_CLOSE_TIMEOUT: DurationBounds = DurationBounds::milliseconds(1_000, 7 * 86_400_000);
const MAX_CONNECTION_AGE: DurationBounds = DurationBounds::milliseconds(1_000, 30 * 86_400_000);
/// What the kernel takes for `TCP_KEEPIDLE` (tcp(7)): 1 to 32767 seconds.
const KEEPALIVE: DurationBounds = DurationBounds::seconds(1, 32_767);
const DRAIN_TIMEOUT: DurationBounds = DurationBounds::milliseconds(0, 7 * 86_400_000);
const SLOW_START: DurationBounds = DurationBounds::milliseconds(1_000, 3_600_000);

/// The policy of a service about which a configuration says nothing.
pub fn default_policy() -> Policy {
    Policy::default()
}

/// What one table says about the policy.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyDraft {
    connect_timeout: Option<Placed<Duration>>,
    connect_total_timeout: Option<Placed<Duration>>,
    retries: Option<u32>,
    retry_budget_percent: Option<u32>,
    idle_timeout: Option<OrOff>,
    half_close_timeout: Option<OrOff>,
    max_connection_age: Option<OrOff>,
    log_connections: Option<bool>,
    limits: LimitsDraft,
    source_addresses: Option<Vec<IpAddr>>,
    proxy_protocol_from: Option<AllowFrom>,
    keepalive: Option<OrOff>,
    drain_timeout: Option<Duration>,
    balance: Option<Balance>,
    affinity: Option<Affinity>,
    on_color_down: Option<OnColorDown>,
    on_all_down: Option<OnAllDown>,
    health: Option<HealthCheck>,
    outlier: Option<outlier::Written>,
    slow_start: Option<OrOff>,
}

impl PolicyDraft {
    /// `base` with what this draft says on top.
    pub(super) fn over(&self, base: &Policy) -> Policy {
        let in_place = |draft: Option<Placed<Duration>>, base| draft.map_or(base, |placed| placed.value);
        Policy {
            connect_timeout: in_place(self.connect_timeout, base.connect_timeout),
            connect_total_timeout: in_place(self.connect_total_timeout, base.connect_total_timeout),
            retries: self.retries.unwrap_or(base.retries),
            retry_budget_percent: self.retry_budget_percent.unwrap_or(base.retry_budget_percent),
            idle_timeout: self.idle_timeout.map_or(base.idle_timeout, OrOff::duration),
            half_close_timeout: self.half_close_timeout.map_or(base.half_close_timeout, OrOff::duration),
            max_connection_age: self.max_connection_age.map_or(base.max_connection_age, OrOff::duration),
            log_connections: self.log_connections.unwrap_or(base.log_connections),
            limits: self.limits.over(&base.limits),
            source_addresses: self.source_addresses.as_ref().unwrap_or(&base.source_addresses).clone(),
            proxy_protocol_from: self
                .proxy_protocol_from
                .as_ref()
                .unwrap_or(&base.proxy_protocol_from)
                .clone(),
            keepalive: self.keepalive.map_or(base.keepalive, OrOff::duration),
            drain_timeout: self.drain_timeout.unwrap_or(base.drain_timeout),
            balance: self.balance.unwrap_or(base.balance),
            affinity: self.affinity.unwrap_or(base.affinity),
            on_color_down: self.on_color_down.unwrap_or(base.on_color_down),
            on_all_down: self.on_all_down.unwrap_or(base.on_all_down),
            health: self.health.clone().unwrap_or_else(|| base.health.clone()),
            outlier: self.outlier.map_or(base.outlier, outlier::Written::outlier),
            slow_start: self.slow_start.map_or(base.slow_start, OrOff::duration),
        }
    }
}

/// Reads the keys of a policy out of a table; its other keys are somebody else's.
pub(super) fn read(table: &Table<'_>, schema: &Schema, findings: &mut Findings) -> PolicyDraft {
    let get = |name| table.get(schema, name);
    PolicyDraft {
        connect_timeout: get("connect_timeout")
            .and_then(|value| scalar::duration(&value, &CONNECT_TIMEOUT, findings)),
        connect_total_timeout: get("connect_total_timeout")
            .and_then(|value| scalar::duration(&value, &CONNECT_TOTAL_TIMEOUT, findings)),
        retries: get("retries")
            .and_then(|value| scalar::bounded(&value, 0, RETRIES_MAX, findings))
            .map(|retries| retries.value),
        retry_budget_percent: get("retry_budget_percent")
            .and_then(|value| scalar::bounded(&value, 0, RETRY_BUDGET_MAX, findings))
            .map(|percent| percent.value),
        idle_timeout: get("idle_timeout")
            .and_then(|value| scalar::duration_or_off(&value, &IDLE_TIMEOUT, findings)),
        half_close_timeout: get("half_close_timeout")
            .and_then(|value| scalar::duration_or_off(&value, &HALF_CLOSE_TIMEOUT, findings)),
        max_connection_age: get("max_connection_age")
            .and_then(|value| scalar::duration_or_off(&value, &MAX_CONNECTION_AGE, findings)),
        log_connections: get("log_connections").and_then(|value| value.boolean(findings)),
        limits: limits::read(table, schema, findings),
        source_addresses: get("source_addresses").and_then(|value| address::sources(&value, findings)),
        proxy_protocol_from: get("proxy_protocol_from")
            .and_then(|value| address::allow_from(&value, findings)),
        keepalive: get("keepalive").and_then(|value| scalar::duration_or_off(&value, &KEEPALIVE, findings)),
        drain_timeout: get("drain_timeout")
            .and_then(|value| scalar::duration(&value, &DRAIN_TIMEOUT, findings))
            .map(|timeout| timeout.value),
        balance: get("balance").and_then(|value| balance(&value, findings)),
        affinity: get("affinity").and_then(|value| affinity(&value, findings)),
        on_color_down: get("on_color_down").and_then(|value| on_color_down(&value, findings)),
        on_all_down: get("on_all_down").and_then(|value| on_all_down(&value, findings)),
        health: get("health").and_then(|value| health::read(&value, findings)),
        outlier: get("outlier").and_then(|value| outlier::read(&value, findings)),
        slow_start: get("slow_start")
            .and_then(|value| scalar::duration_or_off(&value, &SLOW_START, findings)),
    }
}

fn balance(value: &Value<'_>, findings: &mut Findings) -> Option<Balance> {
    let now = &[
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("source_hash", Balance::SourceHash),
    ];
    let words = Words { now, later: &[] };
    scalar::word(value, &words, findings)
}

fn affinity(value: &Value<'_>, findings: &mut Findings) -> Option<Affinity> {
    let words = Words { now: &[("none", Affinity::None), ("source_ip", Affinity::SourceIp)], later: &[] };
    scalar::word(value, &words, findings)
}

fn on_color_down(value: &Value<'_>, findings: &mut Findings) -> Option<OnColorDown> {
    let words = Words { now: &[("spill", OnColorDown::Spill), ("reject", OnColorDown::Reject)], later: &[] };
    scalar::word(value, &words, findings)
}

fn on_all_down(value: &Value<'_>, findings: &mut Findings) -> Option<OnAllDown> {
    let words = Words { now: &[("try", OnAllDown::Try), ("reject", OnAllDown::Reject)], later: &[] };
    scalar::word(value, &words, findings)
}

/// Whether one try may take longer than all tries together, once `draft` lies over `defaults`.
pub(super) fn check_timeouts(draft: &PolicyDraft, defaults: &PolicyDraft, findings: &mut Findings) {
    if draft.connect_timeout.is_none() && draft.connect_total_timeout.is_none() {
        return;
    }
    let base = default_policy();
    let each = draft.connect_timeout.or(defaults.connect_timeout);
    let total = draft.connect_total_timeout.or(defaults.connect_total_timeout);
    let each_is = each.map_or(base.connect_timeout, |timeout| timeout.value);
    let total_is = total.map_or(base.connect_total_timeout, |timeout| timeout.value);
    if each_is <= total_is {
        return;
    }
    let shown = |duration| quote(&humantime::format_duration(duration).to_string());
    let title = format!(
        "`connect_timeout` of {} is longer than `connect_total_timeout` of {}",
        shown(each_is),
        shown(total_is)
    );
    let places = [
        (draft.connect_timeout, "one try may take longer than all tries together"),
        (draft.connect_total_timeout, "all tries together are given less than one try"),
    ];
    let Some((primary, label)) =
        places.iter().find_map(|(placed, label)| placed.map(|at| (at.place, *label)))
    else {
        return;
    };
    let other =
        [each, total].into_iter().flatten().map(|placed| placed.place).find(|place| *place != primary);
    let help = "Raise `connect_total_timeout` or lower `connect_timeout`; without them they are 1s and 3s.";
    let help = if other.is_some() {
        help
    } else {
        "Set both; `connect_timeout` is 1s and `connect_total_timeout` 3s unless written."
    };
    findings.push(Diagnostic::error(title, primary, label).also_if_known(other, "against this").help(help));
}
