//! `[apps.*]`: services that are released together.

use super::diagnostic::{Diagnostic, Findings, quote};
use super::draft::AppDraft;
use super::keys;
use super::scalar::{self, NameKind, Words};
use super::service;
use super::walk::{Placed, Table, Value};
use crate::model::{AppName, LaneMode};

const MEMBERS_MAX: usize = 1024;
const APP_NAME: NameKind<AppName> = NameKind { of: "the app", parse: AppName::parse };

/// Reads `[apps]` of one file, in the order of the file.
pub(super) fn read_all(root: &Table<'_>, findings: &mut Findings) -> Vec<AppDraft> {
    let Some(apps) = root.table(&keys::ROOT, "apps", findings) else { return Vec::new() };
    apps.entries("{ services = [\"servicea\"] }")
        .into_iter()
        .filter_map(|(name, value)| read(name, &value, findings))
        .collect()
}

fn read(name: Placed<&str>, value: &Value<'_>, findings: &mut Findings) -> Option<AppDraft> {
    let parsed = scalar::name(name, &APP_NAME, findings);
    let table = value.table(findings)?;
    table.check_keys(&keys::APP, findings);
    let members = table.get(&keys::APP, "services");
    let place = match &members {
        Some(value) if value.node().as_array().is_some_and(|items| items.is_empty()) => Some(value.place()),
        Some(_) => None,
        None => table.lacks(&keys::APP, "services").then_some(name.place),
    };
    if let Some(place) = place {
        findings.push(
            Diagnostic::missing(
                format!("app {} has no services", quote(name.value)),
                place,
                "needs at least one service",
            )
            .help("Write for example `services = [\"servicea\", \"serviceb\"]`, or remove the app."),
        );
    }
    let services =
        members.map_or_else(Vec::new, |value| service::service_names(&value, MEMBERS_MAX, findings));
    let lanes = table.get(&keys::APP, "lanes");
    let lanes = lanes.and_then(|value| Some(value.placed(lane_mode(&value, findings)?)));
    Some(AppDraft { name: parsed?, services, lanes })
}

fn lane_mode(value: &Value<'_>, findings: &mut Findings) -> Option<LaneMode> {
    let now = &[LaneMode::Off, LaneMode::Prefer, LaneMode::Require].map(|mode| (mode.label(), mode));
    scalar::word(value, &Words { now, later: &[] }, findings)
}
