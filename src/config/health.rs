//! The table `health` of `[defaults]` and of services: how the health of endpoints is found out.

use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Findings, quote};
use super::keys;
use super::scalar::{self, DurationBounds, Words};
use super::walk::{Placed, Table, Value};
use crate::model::{ActiveCheck, CheckKind, HealthCheck, HttpCheck, StatusSet};

const INTERVAL: DurationBounds = DurationBounds::milliseconds(100, 3_600_000);
const TIMEOUT: DurationBounds = DurationBounds::milliseconds(10, 60_000);
/// What a check may take where nothing is written and `interval` is longer.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const IN_A_ROW_MAX: u32 = 100;
const JITTER_PERCENT_MAX: u32 = 50;
const PATH_BYTES_MAX: usize = 1024;
const HOST_BYTES_MAX: usize = 255;
const BODY_BYTES_MAX: usize = 1024;
const STATUS_RANGES_MAX: usize = 32;

/// What `kind` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Tcp,
    Http,
}

/// Keys that mean something for every kind but `none`.
const FOR_CHECKS: [&str; 6] = ["interval", "timeout", "rise", "fall", "jitter_percent", "port"];
/// Keys that mean something for `http` only.
const FOR_HTTP: [&str; 4] = ["path", "expect", "body", "host"];

/// Reads the table.
pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<HealthCheck> {
    let table = value.table(findings)?;
    let Some(kind) = table.get(&keys::HEALTH, "kind") else {
        findings.push(
            Diagnostic::missing("`health` has no `kind`", value.place(), "which kind of check?")
                .help("Write for example `health = { kind = \"tcp\" }`."),
        );
        return None;
    };
    let words = Words { now: &[("none", Kind::None), ("tcp", Kind::Tcp), ("http", Kind::Http)], later: &[] };
    table.check_keys(&keys::HEALTH, findings);
    let kind = scalar::word(&kind, &words, findings)?;
    match kind {
        Kind::None => {
            refuse(&table, &FOR_CHECKS, "none", findings);
            refuse(&table, &FOR_HTTP, "none", findings);
            Some(HealthCheck::None)
        }
        Kind::Tcp => {
            refuse(&table, &FOR_HTTP, "tcp", findings);
            active(&table, CheckKind::Tcp, findings)
        }
        Kind::Http => {
            let http = http(&table, findings);
            active(&table, CheckKind::Http(http), findings)
        }
    }
}

/// Reports keys that would do nothing.
fn refuse(table: &Table<'_>, names: &[&str], kind: &str, findings: &mut Findings) {
    for value in names.iter().filter_map(|name| table.get(&keys::HEALTH, name)) {
        let title = format!("`{}` means nothing for `kind = \"{kind}\"`", value.key);
        findings.push(
            Diagnostic::error(title, value.place(), "would do nothing")
                .help("Remove it, or choose another kind: \"tcp\" connects, \"http\" asks by GET."),
        );
    }
}

fn active(table: &Table<'_>, kind: CheckKind, findings: &mut Findings) -> Option<HealthCheck> {
    let get = |name| table.get(&keys::HEALTH, name);
    let base = ActiveCheck::new(kind);
    let interval = get("interval").and_then(|value| scalar::duration(&value, &INTERVAL, findings));
    let timeout = get("timeout").and_then(|value| scalar::duration(&value, &TIMEOUT, findings));
    let mut number = |name, min, max| {
        get(name).and_then(|value| scalar::bounded(&value, min, max, findings)).map(|number| number.value)
    };
    let rise = number("rise", 1, IN_A_ROW_MAX);
    let fall = number("fall", 1, IN_A_ROW_MAX);
    let jitter_percent = number("jitter_percent", 0, JITTER_PERCENT_MAX);
    let port = get("port").and_then(|value| scalar::port(&value, findings)).map(|port| port.value);
    let every = interval.map_or(base.interval, |interval| interval.value);
    if let Some(timeout) = timeout.filter(|timeout| timeout.value > every) {
        findings.push(crossed(timeout, interval));
        return None;
    }
    Some(HealthCheck::Active(Arc::new(ActiveCheck {
        interval: every,
        timeout: timeout.map_or(TIMEOUT_DEFAULT.min(every), |timeout| timeout.value),
        rise: rise.unwrap_or(base.rise),
        fall: fall.unwrap_or(base.fall),
        jitter_percent: jitter_percent.unwrap_or(base.jitter_percent),
        port,
        kind: base.kind,
    })))
}

fn crossed(timeout: Placed<Duration>, interval: Option<Placed<Duration>>) -> Diagnostic {
    let title = "`timeout` of `health` is longer than its `interval`";
    let finding = Diagnostic::error(title, timeout.place, "a check would still run when the next is due");
    finding
        .also_if_known(interval.map(|interval| interval.place), "against this")
        .help("Raise `interval` (2s unless written) or lower `timeout`.")
}

fn http(table: &Table<'_>, findings: &mut Findings) -> HttpCheck {
    let get = |name| table.get(&keys::HEALTH, name);
    HttpCheck {
        path: get("path").and_then(|value| path(&value, findings)).unwrap_or_else(|| "/".into()),
        host: get("host").and_then(|value| visible(&value, HOST_BYTES_MAX, findings)),
        expect: get("expect")
            .and_then(|value| expect(&value, findings))
            .unwrap_or_else(StatusSet::successful),
        body: get("body").and_then(|value| body(&value, findings)),
    }
}

fn path(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let text = visible(value, PATH_BYTES_MAX, findings)?;
    if text.starts_with('/') {
        return Some(text);
    }
    let title = format!("`path` cannot be {}", quote(&text));
    let help = format!("Write for example `path = {}`.", value.example);
    findings.report(Diagnostic::error(title, value.place(), "does not begin with a slash").help(help))
}

/// Text of visible ASCII, which is what a line of HTTP may carry without being cut in two.
fn visible(value: &Value<'_>, bytes_max: usize, findings: &mut Findings) -> Option<Box<str>> {
    let text = value.string(findings)?.value;
    let label = if text.is_empty() {
        "empty"
    } else if text.len() > bytes_max {
        "too long"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "has a character that cannot be sent"
    } else {
        return Some(text.into());
    };
    let title = format!("`{}` cannot be {}", value.key, quote(text));
    let help = format!("Allowed: 1 to {bytes_max} visible ASCII characters, for example {}.", value.example);
    findings.report(Diagnostic::error(title, value.place(), label).help(help))
}

fn body(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let text = value.string(findings)?.value;
    if (1..=BODY_BYTES_MAX).contains(&text.len()) {
        return Some(text.into());
    }
    let label = if text.is_empty() { "empty" } else { "too long" };
    let help = format!("What the body must contain: 1 to {BODY_BYTES_MAX} bytes.");
    findings.report(Diagnostic::error("`body` of `health` is of no use", value.place(), label).help(help))
}

/// A status, a list of statuses and ranges, or text such as "200-299,301".
fn expect(value: &Value<'_>, findings: &mut Findings) -> Option<StatusSet> {
    let mut ranges = Vec::new();
    let parts = match value.node() {
        DeValue::Array(items) if items.is_empty() => return findings.report(no_statuses(value, "[]")),
        DeValue::Array(_) => value.list(STATUS_RANGES_MAX, findings)?,
        _ => vec![*value],
    };
    for part in parts {
        match part.node() {
            DeValue::Integer(_) => {
                let status = scalar::bounded(&part, 100, 599, findings);
                let status = status.and_then(|status| u16::try_from(status.value).ok());
                ranges.extend(status.map(|status| (status, status)));
            }
            _ => {
                for range in part.string(findings).into_iter().flat_map(|text| text.value.split(',')) {
                    match parse_range(range) {
                        Some(range) => ranges.push(range),
                        None => findings.push(no_statuses(&part, range)),
                    }
                }
            }
        }
    }
    if ranges.len() > STATUS_RANGES_MAX {
        let title = format!("`expect` has more than {STATUS_RANGES_MAX} statuses and ranges");
        return findings.report(
            Diagnostic::error(title, value.place(), "too many").help("Write ranges, such as \"200-299\"."),
        );
    }
    // Empty where every item was wrong, which has been said.
    StatusSet::new(ranges)
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| {
        let text = text.trim();
        let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_status.then(|| text.parse::<u16>().ok()).flatten().filter(|status| (100..=599).contains(status))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (status(first)?, status(last)?);
    (range.0 <= range.1).then_some(range)
}

fn no_statuses(value: &Value<'_>, text: &str) -> Diagnostic {
    let title = format!("`expect` cannot be {}", quote(text));
    Diagnostic::error(title, value.place(), "no status and no range").help(
        "Statuses lie between 100 and 599: write for example `expect = \"200-299,301\"` or `[200, 301]`.",
    )
}
