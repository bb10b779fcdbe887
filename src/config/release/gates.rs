//! `[[release.gates]]` and `[[release.notify]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys;
use super::section::{Section, name};
use crate::config::diagnostic::{Diagnostic, Findings, quote};
use crate::config::keys::nearest;
use crate::config::scalar::{self, DurationBounds, Words};
use crate::config::walk::{Placed, Value};
use crate::model::release::{Bound, Gate, GateCheck, Notice, Notify, OnMissing};

const GATES_MAX: usize = 32;
const NOTIFY_MAX: usize = 16;
const TIMEOUT: DurationBounds = DurationBounds::milliseconds(1000, 60 * 60 * 1000);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// What a gate can ask.
const KINDS: [&str; 3] = ["exec", "webhook", "prometheus"];
/// Keys that mean something for one kind only.
const OF_KIND: [(&str, &str); 5] = [
    ("secret_file", "webhook"),
    ("query", "prometheus"),
    ("min", "prometheus"),
    ("max", "prometheus"),
    ("on_missing", "prometheus"),
];
const ON_MISSING: [(&str, OnMissing); 3] =
    [("inconclusive", OnMissing::Inconclusive), ("pass", OnMissing::Pass), ("fail", OnMissing::Fail)];
const NOTICES: [(&str, Notice); 5] = [
    ("hold", Notice::Hold),
    ("fail", Notice::Fail),
    ("rollback", Notice::Rollback),
    ("awaiting", Notice::Awaiting),
    ("confirmed", Notice::Confirmed),
];

/// Reads the gates, and compares them with the names that steps ask for.
pub(super) fn read(
    release: &Section<'_>,
    asked: &[Placed<&str>],
    findings: &mut Findings,
) -> BTreeMap<String, Gate> {
    let mut gates = BTreeMap::new();
    let mut places: Vec<Placed<&str>> = Vec::new();
    for section in release.sections("gates", &keys::GATE, GATES_MAX, findings) {
        let named = section.get("name").and_then(|value| name(&value, findings));
        if section.get("name").is_none() {
            section.missing("name", "a gate has no `name`", "how do steps ask for it?", findings);
        }
        let gate = gate(&section, findings);
        let Some(named) = named else { continue };
        if let Some(first) = places.iter().find(|first| first.value == named.value) {
            let title = format!("two gates are named {}", quote(named.value));
            let finding = Diagnostic::error(title, named.place, "named again here");
            findings.push(finding.also(first.place, "first named here").help("Give each gate its own name."));
            continue;
        }
        places.push(named);
        let name = named.value.to_owned();
        gates.extend(gate.map(|(check, timeout)| (name.clone(), Gate { name, check, timeout })));
    }
    check_names(&places, asked, findings);
    gates
}

fn check_names(gates: &[Placed<&str>], asked: &[Placed<&str>], findings: &mut Findings) {
    for name in asked.iter().filter(|name| gates.iter().all(|gate| gate.value != name.value)) {
        let title = format!("there is no gate {}", quote(name.value));
        let meant = nearest(name.value, gates.iter().map(|gate| gate.value));
        let label = meant.map_or_else(|| "not defined".into(), |meant| format!("did you mean `{meant}`?"));
        findings.push(Diagnostic::error(title, name.place, label).help(format!(
            "Define it: `[[release.gates]]` with `name = \"{}\"` and what it asks.",
            name.value.escape_debug()
        )));
    }
    for gate in gates.iter().filter(|gate| asked.iter().all(|name| name.value != gate.value)) {
        let title = format!("no step asks gate {}", quote(gate.value));
        findings.push(Diagnostic::error(title, gate.place, "would do nothing").help(format!(
            "Write `gates = [\"{}\"]` in the step whose shift it guards, or remove it.",
            gate.value
        )));
    }
}

fn gate(section: &Section<'_>, findings: &mut Findings) -> Option<(GateCheck, Duration)> {
    let mut timeout = TIMEOUT_DEFAULT;
    section.duration("timeout", &TIMEOUT, &mut timeout, findings);
    let kinds: Vec<Value<'_>> = KINDS.iter().filter_map(|kind| section.get(kind)).collect();
    let kind = match kinds[..] {
        [kind] => kind,
        [] => {
            findings.push(
                Diagnostic::missing("a gate asks nothing", section.table.place, "what does it ask?")
                    .help("Give it one of `exec`, `webhook` and `prometheus`."),
            );
            return None;
        }
        [first, second, ..] => {
            let title = format!("a gate has both `{}` and `{}`", first.key, second.key);
            let finding = Diagnostic::error(title, second.place(), "asks something else");
            findings.push(finding.also(first.place(), "asks this").help("Make two gates of it."));
            return None;
        }
    };
    for (key, of) in OF_KIND.iter().filter(|(_, of)| *of != kind.key) {
        if let Some(value) = section.get(key) {
            let title = format!("`{key}` means nothing for a gate with `{}`", kind.key);
            let finding = Diagnostic::error(title, value.place(), "would do nothing");
            findings.push(finding.help(format!("Remove it: it belongs to gates with `{of}`.")));
        }
    }
    let check = match kind.key {
        "exec" => GateCheck::Exec { program: name(&kind, findings)?.value.to_owned() },
        "webhook" => GateCheck::Webhook {
            url: section.url("webhook", findings)?,
            secret_file: section.path("secret_file", findings),
        },
        _ => prometheus(section, findings)?,
    };
    Some((check, timeout))
}

fn prometheus(section: &Section<'_>, findings: &mut Findings) -> Option<GateCheck> {
    let url = section.url("prometheus", findings);
    let query = section.long_text("query", findings);
    if section.get("query").is_none() {
        section.missing("query", "a gate has no `query`", "what is asked?", findings);
    }
    let mut bound = |key| section.get(key).and_then(|value| value.number(findings));
    let (min, max) = (bound("min"), bound("max"));
    if section.get("min").is_none() && section.get("max").is_none() {
        section.missing("max", "a query without bounds passes always", "needs `min` or `max`", findings);
    }
    if let (Some(min), Some(max)) = (min, max)
        && min.value > max.value
    {
        let finding = Diagnostic::error("`min` is above `max`", min.place, "no value passes");
        findings.push(finding.also(max.place, "against this").help("Swap them."));
    }
    let mut on_missing = OnMissing::Inconclusive;
    section.word("on_missing", &ON_MISSING, &mut on_missing, findings);
    Some(GateCheck::Prometheus {
        url: url?,
        query: query?.value.to_owned(),
        min: min.map(|min| Bound(min.value)),
        max: max.map(|max| Bound(max.value)),
        on_missing,
    })
}

/// Reads `[[release.notify]]`.
pub(super) fn notify(release: &Section<'_>, findings: &mut Findings) -> Vec<Notify> {
    let sections = release.sections("notify", &keys::NOTIFY, NOTIFY_MAX, findings);
    let mut all = Vec::new();
    for section in sections {
        if section.get("url").is_none() {
            section.missing("url", "a notification has no `url`", "where to?", findings);
        }
        let items = section.get("on").and_then(|value| value.list(NOTICES.len(), findings));
        let words = Words { now: &NOTICES, later: &[] };
        let items = items.unwrap_or_default();
        let on = items.iter().filter_map(|item| scalar::word(item, &words, findings)).collect();
        let secret_file = section.path("secret_file", findings);
        all.extend(section.url("url", findings).map(|url| Notify { url, on, secret_file }));
    }
    all
}
