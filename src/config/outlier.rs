//! The key `outlier` of `[defaults]` and of services: when failed connections eject an endpoint.

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Findings, quote};
use super::keys;
use super::scalar::{self, DurationBounds};
use super::walk::Value;
use crate::model::Outlier;

const FAILURES_MAX: u32 = 1000;
const EJECTION: DurationBounds = DurationBounds::milliseconds(1_000, 3_600_000);
const MAX_EJECTION: DurationBounds = DurationBounds::milliseconds(1_000, 86_400_000);

/// What is written after `outlier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Off,
    On(Outlier),
}

impl Written {
    pub(super) fn outlier(self) -> Option<Outlier> {
        match self {
            Self::Off => None,
            Self::On(outlier) => Some(outlier),
        }
    }
}

/// Reads the table, or `"off"`.
pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<Written> {
    if let DeValue::String(text) = value.node() {
        if text == "off" {
            return Some(Written::Off);
        }
        let title = format!("`outlier` cannot be {}", quote(text));
        let help = format!("Write `outlier = \"off\"`, or for example `outlier = {}`.", value.example);
        return findings
            .report(Diagnostic::error(title, value.place(), "neither \"off\" nor a table").help(help));
    }
    let table = value.table(findings)?;
    table.check_keys(&keys::OUTLIER, findings);
    let get = |name| table.get(&keys::OUTLIER, name);
    let base = Outlier::default();
    let failures = get("consecutive_failures")
        .and_then(|value| scalar::bounded(&value, 1, FAILURES_MAX, findings))
        .map_or(base.consecutive_failures, |number| number.value);
    let percent = get("max_ejected_percent")
        .and_then(|value| scalar::bounded(&value, 0, 100, findings))
        .map_or(base.max_ejected_percent, |number| number.value);
    let resets = get("resets").and_then(|value| value.boolean(findings)).unwrap_or(base.resets);
    let ejection = get("ejection").and_then(|value| scalar::duration(&value, &EJECTION, findings));
    let longest = get("max_ejection").and_then(|value| scalar::duration(&value, &MAX_EJECTION, findings));
    let first = ejection.map_or(base.ejection, |ejection| ejection.value);
    // A long `ejection` alone raises the bound that nobody has written.
    let last = longest.map_or(base.max_ejection.max(first), |longest| longest.value);
    if let Some(longest) = longest.filter(|longest| longest.value < first) {
        let title = "`max_ejection` is shorter than `ejection`";
        let finding = Diagnostic::error(title, longest.place, "the first ejection would be too long already");
        findings.push(
            finding
                .also_if_known(ejection.map(|ejection| ejection.place), "against this")
                .help("Raise `max_ejection` or lower `ejection` (30s unless written)."),
        );
        return None;
    }
    Some(Written::On(Outlier {
        consecutive_failures: failures,
        ejection: first,
        max_ejection: last,
        max_ejected_percent: percent,
        resets,
    }))
}
