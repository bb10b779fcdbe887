//! The keys that bound connections: `max_connections` and its kin, `accept_rate`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Findings, quote};
use super::keys::Schema;
use super::scalar;
use super::walk::{Table, Value};
use crate::model::{AcceptRate, ConnectionLimits};

/// More connections than a process can have.
const CONNECTIONS_MAX: u32 = 10_000_000;
const RATE_MAX: u32 = 1_000_000;

/// A bound that can be switched off.
#[derive(Debug, Clone, Copy)]
enum OrOff<T> {
    Off,
    At(T),
}

impl<T: Copy> OrOff<T> {
    fn over(this: Option<Self>, base: Option<T>) -> Option<T> {
        match this {
            None => base,
            Some(Self::Off) => None,
            Some(Self::At(bound)) => Some(bound),
        }
    }
}

/// What one table says about limits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LimitsDraft {
    service: Option<OrOff<NonZeroU32>>,
    endpoint: Option<OrOff<NonZeroU32>>,
    source: Option<OrOff<NonZeroU32>>,
    rate: Option<OrOff<AcceptRate>>,
}

impl LimitsDraft {
    /// `base` with what this draft says on top.
    pub(super) fn over(&self, base: &ConnectionLimits) -> ConnectionLimits {
        ConnectionLimits {
            service: OrOff::over(self.service, base.service),
            endpoint: OrOff::over(self.endpoint, base.endpoint),
            source: OrOff::over(self.source, base.source),
            rate: OrOff::over(self.rate, base.rate),
        }
    }
}

/// Reads the limits out of the table of a service or of `[defaults]`.
pub(super) fn read(table: &Table<'_>, schema: &Schema, findings: &mut Findings) -> LimitsDraft {
    let mut number = |name| table.get(schema, name).and_then(|value| number_or_off(&value, findings));
    LimitsDraft {
        service: number("max_connections"),
        endpoint: number("max_connections_per_endpoint"),
        source: number("max_connections_per_source"),
        rate: table.get(schema, "accept_rate").and_then(|value| rate_or_off(&value, findings)),
    }
}

/// A color's own `max_connections`.
pub(super) fn of_color(value: &Value<'_>, findings: &mut Findings) -> Option<NonZeroU32> {
    OrOff::over(number_or_off(value, findings), None)
}

fn number_or_off(value: &Value<'_>, findings: &mut Findings) -> Option<OrOff<NonZeroU32>> {
    if value.node().as_str() == Some("off") {
        return Some(OrOff::Off);
    }
    if value.node().as_integer().is_none() {
        return value.wrong_type("an integer or `\"off\"`", findings);
    }
    let number = scalar::bounded(value, 1, CONNECTIONS_MAX, findings)?;
    NonZeroU32::new(number.value).map(OrOff::At)
}

/// A rate on top of `base`; nothing where `"off"` is written.
pub(super) fn rate_over(
    base: Option<AcceptRate>,
    value: &Value<'_>,
    findings: &mut Findings,
) -> Option<AcceptRate> {
    OrOff::over(rate_or_off(value, findings), base)
}

fn rate_or_off(value: &Value<'_>, findings: &mut Findings) -> Option<OrOff<AcceptRate>> {
    let text = value.string(findings)?;
    if text.value == "off" {
        return Some(OrOff::Off);
    }
    if let Some(rate) = parse_rate(text.value) {
        return Some(OrOff::At(rate));
    }
    let title = format!("`{}` cannot be {}", value.key, quote(text.value));
    findings.report(Diagnostic::error(title, text.place, "not a rate").help(format!(
        "Write how many in a second or a minute, 1 to {RATE_MAX}: `{} = \"1000/s\"` or \
         `\"60/m\"`; `\"off\"` means as many as come.",
        value.key
    )))
}

fn parse_rate(text: &str) -> Option<AcceptRate> {
    let (count, unit) = text.split_once('/')?;
    let per = match unit.trim() {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    let count = count.trim().parse::<u32>().ok().filter(|count| *count <= RATE_MAX)?;
    Some(AcceptRate { count: NonZeroU32::new(count)?, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let rate = |text| parse_rate(text).map(|rate| (rate.count.get(), rate.per.as_secs()));
        assert_eq!(rate("1000/s"), Some((1000, 1)));
        assert_eq!(rate("60 / m"), Some((60, 60)));
        for wrong in ["", "1000", "/s", "0/s", "-1/s", "1/h", "1000001/s", "1.5/s", "1/s/s"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }
}
