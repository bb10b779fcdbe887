//! What is counted of releases.

use super::analysis::VerdictKind;
use super::machine::Decision;
use crate::state::release::{Phase, Release};
use crate::telemetry::names::{RELEASE_HOLDS, RELEASE_ROLLBACKS, RELEASE_SHIFTS, RELEASE_VERDICTS};

/// Counts what a decision did to a release.
pub(super) fn count(before: &Release, decision: &Decision) {
    let app = || decision.next.app().to_string();
    if decision.next.applied > before.applied {
        metrics::counter!(RELEASE_SHIFTS.name, "app" => app()).increment(1);
    }
    match (&before.phase, &decision.next.phase) {
        (Phase::Holding { reason: known, .. }, Phase::Holding { reason, .. }) if known == reason => {}
        (_, Phase::Holding { reason, .. }) => {
            metrics::counter!(RELEASE_HOLDS.name, "app" => app(), "reason" => reason.word()).increment(1);
        }
        (before, Phase::RollingBack) if *before != Phase::RollingBack => {
            metrics::counter!(RELEASE_ROLLBACKS.name, "app" => app()).increment(1);
        }
        _ => {}
    }
}

/// Counts a verdict that is another than the one before.
pub(super) fn verdict(release: &Release, kind: VerdictKind) {
    let app = release.app().to_string();
    metrics::counter!(RELEASE_VERDICTS.name, "app" => app, "result" => kind.label()).increment(1);
}
