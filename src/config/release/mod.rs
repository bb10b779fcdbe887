//! From the text of a release file, or from a few flags, to a [`ReleaseSpec`].
//!
//! Reports like the configuration does: every error at once, with its place and what to write instead. What
//! comes out is valid in itself; whether it fits the configuration is for `release::plan` to say.

mod flags;
mod gates;
mod keys;
mod section;
mod steps;
#[cfg(test)]
mod tests;

pub use flags::{Flags, from_flags};

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use toml::de::DeValue;
use toml::value::Datetime;

use section::Section;

use super::diagnostic::{Diagnostic, Findings, quote};
use super::report::{ReportStyle, render};
use super::scalar::{self, DurationBounds, NameKind};
use super::service::SERVICE_NAME;
use super::source::Sources;
use super::walk::{Placed, Table, Value};
use super::{Rejected, syntax};
use crate::model::release::{OnManualEdit, ReleaseOrder, ReleaseSpec};
use crate::model::{AppName, ColorName, ServiceName};

const APP_NAME: NameKind<AppName> = NameKind { of: "the app", parse: AppName::parse };
const COLOR_NAME: NameKind<ColorName> = NameKind { of: "the color", parse: ColorName::parse };
const MEMBERS_MAX: usize = 1024;
const HOOKS_MAX: usize = 16;
const DAY_S: u64 = 24 * 60 * 60;
const CONFIRM_DEADLINE: DurationBounds = DurationBounds::seconds(1, 30 * DAY_S);
const UNDO_WINDOW: DurationBounds = DurationBounds::seconds(0, 30 * DAY_S);
const CLOSE_AFTER: DurationBounds = DurationBounds::milliseconds(0, 60 * 60 * 1000);
const ORDERS: [(&str, ReleaseOrder); 3] = [
    ("lockstep", ReleaseOrder::Lockstep),
    ("backends-first", ReleaseOrder::BackendsFirst),
    ("frontends-first", ReleaseOrder::FrontendsFirst),
];
const ON_MANUAL_EDIT: [(&str, OnManualEdit); 3] =
    [("hold", OnManualEdit::Hold), ("adopt", OnManualEdit::Adopt), ("discard", OnManualEdit::Discard)];
const ON_RESTART: [(&str, bool); 2] = [("hold", false), ("resume", true)];

/// Reads a release file that is shown as `name` in reports.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn read(name: &str, text: &str) -> Result<ReleaseSpec, Rejected> {
    let mut findings = Findings::default();
    let tree = syntax::parse(0, text, &mut findings);
    let spec = read_root(&Table::root(0, tree.root.get_ref()), &mut findings);
    if !tree.is_whole() {
        syntax::forget_doubtful(&[tree], &Sources::single(name, text), &mut findings);
    }
    match spec {
        Some(spec) if !findings.has_errors() => Ok(spec),
        _ => Err(Rejected { diagnostics: findings.into_sorted() }),
    }
}

/// What is wrong with a release file, for people.
pub fn report(name: &str, text: &str, rejected: &Rejected, style: ReportStyle) -> String {
    render(&rejected.diagnostics, &Sources::single(name, text), style)
}

fn read_root(root: &Table<'_>, findings: &mut Findings) -> Option<ReleaseSpec> {
    let root = Section::open(*root, &keys::ROOT, findings);
    if root.get("release").is_none() {
        let title = "the file has no section `[release]`";
        let finding = Diagnostic::missing(title, root.table.place, "expected in this file");
        findings.push(finding.help("Begin it with `[release]`, `app = \"shop\"` and `to = \"green\"`."));
    }
    let release = root.section("release", &keys::RELEASE, findings)?;
    let app = app(&release, findings);
    // Reading goes on without an app, so that all errors are found.
    let stand_in = AppName::parse("app").ok()?;
    let mut spec = ReleaseSpec::by_default(app.clone().unwrap_or(stand_in));
    (spec.to, spec.members) = targets(&release, findings);
    read_policies(&release, &mut spec, findings);
    let (steps, asked) = steps::read(&release, findings).unzip();
    spec.steps = steps.unwrap_or(spec.steps);
    spec.gates = gates::read(&release, &asked.unwrap_or_default(), findings);
    steps::guard(&release, &mut spec.guard, findings);
    steps::judgement(&release, &mut spec.judgement, findings);
    spec.notify = gates::notify(&release, findings);
    app.map(|_| spec)
}

fn app(release: &Section<'_>, findings: &mut Findings) -> Option<AppName> {
    let Some(value) = release.get("app") else {
        release.missing("app", "the release has no `app`", "which app is released?", findings);
        return None;
    };
    Some(scalar::name(value.string(findings)?, &APP_NAME, findings)?.value)
}

/// The new color of the whole app, or those of members named one by one.
fn targets(
    release: &Section<'_>,
    findings: &mut Findings,
) -> (Option<ColorName>, BTreeMap<ServiceName, ColorName>) {
    let to = release.get("to");
    let members = release.get("members");
    match (&to, &members) {
        (Some(to), Some(members)) => {
            let title = "the release has both `to` and `members`";
            let finding = Diagnostic::error(title, members.place(), "names the new colors one by one");
            findings
                .push(finding.also(to.place(), "names one for the whole app").help("Remove one of them."));
        }
        (None, None) if release.table.lacks(&keys::RELEASE, "members") => {
            let label = "which color gets the connections?";
            release.missing("to", "the release does not say where it goes", label, findings);
        }
        _ => {}
    }
    let to = to.and_then(|to| color(&to, findings));
    let mut named: BTreeMap<ServiceName, ColorName> = BTreeMap::new();
    if let Some(members) = members {
        if members.node().as_array().is_some_and(|items| items.is_empty()) {
            let finding = Diagnostic::error("`members` is empty", members.place(), "nothing would move");
            findings.push(members.with_example(finding));
        }
        for section in release.sections("members", &keys::MEMBER, MEMBERS_MAX, findings) {
            let Some((service, to)) = member(&section, findings) else { continue };
            if named.insert(service.value.clone(), to).is_some() {
                let title = format!("{} is a member twice", quote(service.value.as_str()));
                let finding = Diagnostic::error(title, service.place, "named before");
                findings.push(finding.help("Name each service once."));
            }
        }
    }
    (to, named)
}

fn member(section: &Section<'_>, findings: &mut Findings) -> Option<(Placed<ServiceName>, ColorName)> {
    for (key, title) in [("service", "a member has no `service`"), ("to", "a member has no `to`")] {
        if section.get(key).is_none() {
            section.missing(key, title, "is missing here", findings);
        }
    }
    let service = section.get("service").and_then(|value| value.string(findings));
    let service = service.and_then(|text| scalar::name(text, &SERVICE_NAME, findings));
    let to = section.get("to").and_then(|value| color(&value, findings));
    Some((service?, to?))
}

fn color(value: &Value<'_>, findings: &mut Findings) -> Option<ColorName> {
    Some(scalar::name(value.string(findings)?, &COLOR_NAME, findings)?.value)
}

fn read_policies(release: &Section<'_>, spec: &mut ReleaseSpec, findings: &mut Findings) {
    let mut text = |key| release.text(key, findings).map(|text| text.value.to_owned());
    spec.version = text("version").unwrap_or_default();
    spec.reason = text("reason").unwrap_or_default();
    release.word("order", &ORDERS, &mut spec.order, findings);
    release.word("on_manual_edit", &ON_MANUAL_EDIT, &mut spec.on_manual_edit, findings);
    release.word("on_restart", &ON_RESTART, &mut spec.resume_after_restart, findings);
    release.duration("confirm_deadline", &CONFIRM_DEADLINE, &mut spec.confirm_deadline, findings);
    release.word("on_confirm_deadline", &steps::REACTIONS, &mut spec.on_confirm_deadline, findings);
    release.duration("rollback_close_after", &CLOSE_AFTER, &mut spec.rollback_close_after, findings);
    release.duration("undo_window", &UNDO_WINDOW, &mut spec.undo_window, findings);
    spec.activate_at = release.get("activate_at").and_then(|value| instant(&value, findings));
    let mut hooks = |key| {
        let names = release.names(key, HOOKS_MAX, findings);
        names.into_iter().map(|name| name.value.to_owned()).collect()
    };
    spec.on_confirmed = hooks("on_confirmed");
    spec.on_rolled_back = hooks("on_rolled_back");
}

/// A second since 1970, from RFC 3339 with a zone, as a string or bare as TOML has it.
fn instant(value: &Value<'_>, findings: &mut Findings) -> Option<u64> {
    let (text, date) = if let DeValue::Datetime(date) = value.node() {
        (date.to_string(), Some(*date))
    } else {
        let text = value.string(findings)?.value;
        (text.to_owned(), text.parse::<Datetime>().ok())
    };
    if let Some(second) = date.and_then(unix_seconds) {
        return Some(second);
    }
    let title = format!("`{}` cannot be {}", value.key, quote(&text));
    let label = "not a date and time with a zone";
    findings.report(value.with_example(Diagnostic::error(title, value.place(), label)))
}

fn unix_seconds(date: Datetime) -> Option<u64> {
    let offset_minutes = match date.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let local = Datetime { offset: None, ..date }.to_string();
    let local = humantime::parse_rfc3339_weak(&local).ok()?;
    let local: Duration = local.duration_since(UNIX_EPOCH).ok()?;
    local.as_secs().checked_add_signed(-offset_minutes * 60)
}
