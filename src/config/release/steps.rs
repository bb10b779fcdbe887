//! `[[release.steps]]`, `[release.guard]` and `[release.judgement]`.

use super::keys;
use super::section::Section;
use crate::config::diagnostic::{Diagnostic, Findings, quote};
use crate::config::scalar::{self, DurationBounds};
use crate::config::walk::{Placed, Value};
use crate::model::release::{Guard, Judgement, Percent, Reaction, ReleaseStep};

const STEPS_MAX: usize = 100;
const GATES_MAX: usize = 32;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const BAKE: DurationBounds = DurationBounds::milliseconds(0, 7 * DAY_MS);
const MAX_WAIT: DurationBounds = DurationBounds::milliseconds(0, 30 * DAY_MS);
const FLOOR: DurationBounds = DurationBounds::milliseconds(0, 60_000);
const CONNECTIONS_MAX: u32 = 1_000_000_000;
const ENDPOINTS_MAX: u32 = 100_000;
const FAILURES_MAX: u32 = 1_000_000;

pub(super) const REACTIONS: [(&str, Reaction); 2] =
    [("hold", Reaction::Hold), ("rollback", Reaction::Rollback)];

/// The steps, and the names of gates where they are written; nothing where the file says nothing.
pub(super) fn read<'t>(
    release: &Section<'t>,
    findings: &mut Findings,
) -> Option<(Vec<ReleaseStep>, Vec<Placed<&'t str>>)> {
    let list = release.get("steps")?;
    let sections = release.sections("steps", &keys::STEP, STEPS_MAX, findings);
    if list.node().as_array().is_some_and(|items| items.is_empty()) {
        findings
            .push(Diagnostic::error("the release has no steps", list.place(), "needs at least one step").help(
            "Remove `steps` for steps of 10, 50 and 100 %, or write `[[release.steps]]` and `percent = 100`.",
        ));
    }
    let mut gates = Vec::new();
    let mut steps = Vec::new();
    for section in &sections {
        steps.extend(step(section, &mut gates, findings));
    }
    check_percents(&steps, steps.len() == sections.len(), findings);
    Some((steps.into_iter().map(|(_, step)| step).collect(), gates))
}

fn step<'t>(
    section: &Section<'t>,
    gates: &mut Vec<Placed<&'t str>>,
    findings: &mut Findings,
) -> Option<(Placed<Percent>, ReleaseStep)> {
    let percent = section.get("percent").and_then(|value| percent(&value, findings));
    if section.get("percent").is_none() {
        section.missing("percent", "a step has no `percent`", "how much goes to the new color?", findings);
    }
    let mut step = ReleaseStep::at(percent.map_or(Percent::NONE, |percent| percent.value));
    section.duration("bake", &BAKE, &mut step.bake, findings);
    section.duration("max_wait", &MAX_WAIT, &mut step.max_wait, findings);
    section.boolean("point_of_no_return", &mut step.point_of_no_return, findings);
    let mut connections = u32::try_from(step.min_connections).unwrap_or(CONNECTIONS_MAX);
    section.count("min_connections", CONNECTIONS_MAX, &mut connections, findings);
    step.min_connections = connections.into();
    let names = section.names("gates", GATES_MAX, findings);
    step.gates = names.iter().map(|name| name.value.to_owned()).collect();
    gates.extend(names);
    percent.map(|percent| (percent, step))
}

fn percent(value: &Value<'_>, findings: &mut Findings) -> Option<Placed<Percent>> {
    let number = scalar::bounded(value, 0, 100, findings)?;
    Percent::new(number.value.into()).map(|percent| number.map(|_| percent))
}

/// The shares grow, and the last is everything.
fn check_percents(steps: &[(Placed<Percent>, ReleaseStep)], is_whole: bool, findings: &mut Findings) {
    for pair in steps.windows(2) {
        let (before, after) = (pair[0].0, pair[1].0);
        if after.value <= before.value {
            let title = format!("a step to {} after one to {}", after.value, before.value);
            findings.push(
                Diagnostic::error(title, after.place, "not more than the step before")
                    .also(before.place, "the step before")
                    .help("The percents of the steps have to grow; a rollback is a command, not a step."),
            );
        }
    }
    let last = steps.last().filter(|(percent, _)| is_whole && percent.value != Percent::ALL);
    if let Some((percent, _)) = last {
        findings
            .push(Diagnostic::error("the last step is not to 100 %", percent.place, "ends here").help(
                "Add a step with `percent = 100`: a release ends when everything is on the new color.",
            ));
    }
}

/// Reads `[release.guard]`.
pub(super) fn guard(release: &Section<'_>, into: &mut Guard, findings: &mut Findings) {
    let Some(section) = release.section("guard", &keys::GUARD, findings) else { return };
    section.count("min_healthy", ENDPOINTS_MAX, &mut into.min_healthy, findings);
    let bounds = Scaled { min: 0.0, max: 10.0, scale: 1000.0 };
    let capacity = section.get("min_capacity").and_then(|value| scaled(&value, bounds, findings));
    into.min_capacity_permille = capacity.unwrap_or(into.min_capacity_permille);
}

/// Reads `[release.judgement]`.
pub(super) fn judgement(release: &Section<'_>, into: &mut Judgement, findings: &mut Findings) {
    let Some(section) = release.section("judgement", &keys::JUDGEMENT, findings) else { return };
    section.boolean("enabled", &mut into.enabled, findings);
    section.word("on_fail", &REACTIONS, &mut into.on_fail, findings);
    section.word("on_inconclusive", &REACTIONS, &mut into.on_inconclusive, findings);
    section.count("consecutive_failures_max", FAILURES_MAX, &mut into.consecutive_failures_max, findings);
    section.duration("first_byte_floor", &FLOOR, &mut into.first_byte_floor, findings);
    let bounds = Scaled { min: 1.0, max: 100.0, scale: 100.0 };
    let ratio = section.get("first_byte_ratio_max").and_then(|value| scaled(&value, bounds, findings));
    into.first_byte_ratio_max_percent = ratio.unwrap_or(into.first_byte_ratio_max_percent);
    if let Some(value) = section.get("failures_max") {
        into.failures_max_per_10000 = per_10000(&value, findings);
    }
}

/// A number within bounds, kept as a whole number of parts.
#[derive(Clone, Copy)]
struct Scaled {
    min: f64,
    max: f64,
    /// How many parts one is.
    scale: f64,
}

fn scaled(value: &Value<'_>, bounds: Scaled, findings: &mut Findings) -> Option<u32> {
    let number = value.number(findings)?;
    if (bounds.min..=bounds.max).contains(&number.value) {
        return format!("{:.0}", number.value * bounds.scale).parse().ok();
    }
    let title = format!("`{}` is out of range", value.key);
    let label = format!("not between {} and {}", bounds.min, bounds.max);
    findings.report(value.with_example(Diagnostic::error(title, number.place, label)))
}

/// A text such as "1%" or "0.25%".
fn per_10000(value: &Value<'_>, findings: &mut Findings) -> Option<u32> {
    let text = value.string(findings)?;
    let number = text.value.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let parts = number.filter(|number| (0.0..=100.0).contains(number)).map(|number| number * 100.0);
    if let Some(parts) = parts.filter(|parts| (parts - parts.round()).abs() < 1e-6) {
        return format!("{parts:.0}").parse().ok();
    }
    let title = format!("`{}` cannot be {}", value.key, quote(text.value));
    let label = "not a share of 0% to 100% with two digits after the point at most";
    findings.report(value.with_example(Diagnostic::error(title, text.place, label)))
}
