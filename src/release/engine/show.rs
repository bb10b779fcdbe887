//! What a plan and a release look like to whoever asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::{draining_left, pool};
use super::run::Depth;
use super::{Engine, Refused, unix_seconds};
use crate::model::release::Percent;
use crate::model::{ColorName, ServiceName};
use crate::release::analysis::Sample;
use crate::release::machine::PoolFacts;
use crate::release::plan::Plan;
use crate::release::report::{
    ExplainReport, HoldReport, MemberReport, PlanReport, PlannedMember, PlannedStage, ReleaseReport,
    SideReport,
};
use crate::state::release::{Member, Phase, Release, Stage};
use crate::state::{Snapshot, release::Ending};

/// What a release would do.
pub(super) fn plan_report(plan: &Plan, snapshot: &Snapshot) -> PlanReport {
    let release = &plan.release;
    let zone = snapshot.catalog.settings.dns.zones.first().map_or("local", |zone| zone.as_str());
    let member = |member: &Member| {
        let of = |color| working(snapshot, &member.service, color);
        PlannedMember {
            service: member.service.to_string(),
            from: member.from.to_string(),
            from_working: of(&member.from),
            to: member.to.to_string(),
            to_working: of(&member.to),
            preview: format!("{}.{}.{zone}", member.to, member.service),
        }
    };
    let stage = |stage: &Stage| {
        let step = release.spec.steps.get(stage.step)?;
        Some(PlannedStage {
            step: stage.step + 1,
            percent: step.percent.get(),
            services: stage.services.iter().map(ToString::to_string).collect(),
            bake_seconds: step.bake.as_secs(),
            min_connections: step.min_connections,
            gates: step.gates.clone(),
            point_of_no_return: step.point_of_no_return,
        })
    };
    PlanReport {
        release: release.id.to_string(),
        app: release.app().to_string(),
        version: release.spec.version.clone(),
        members: release.members.iter().map(member).collect(),
        shared: release.shared.iter().map(ToString::to_string).collect(),
        stages: release.stages.iter().filter_map(stage).collect(),
        expected_seconds: plan.expected.as_secs(),
        longest_seconds: plan.longest.as_secs(),
        warnings: plan.warnings.clone(),
    }
}

fn working(snapshot: &Snapshot, service: &ServiceName, color: &ColorName) -> (u32, u32) {
    let state = snapshot.services.get(service);
    let pool = state.and_then(|state| pool(state, color, Depth::Counters)).unwrap_or_default();
    (pool.working, pool.all)
}

impl Engine {
    pub(super) fn show(&self, target: Option<&str>) -> Result<Vec<ReleaseReport>, Refused> {
        let snapshot = self.parts.snapshot.load_full();
        if let Some(target) = target {
            let release = self.find(target, &snapshot)?;
            return Ok(vec![self.report(&release, &snapshot)]);
        }
        let of = |release: &Arc<Release>| self.report(&self.current(release), &snapshot);
        Ok(snapshot.releases.all().map(of).collect())
    }

    pub(super) fn explain(&self, target: &str) -> Result<ExplainReport, Refused> {
        let release = self.find(target, &self.parts.snapshot.load_full())?;
        let (verdict, at) = self.runs.get(&release.id).and_then(|run| run.verdict.clone()).unzip();
        let step = release.step().map_or(0, |(index, _)| index + 1);
        let recorded = self.archive.path(&release.id).display().to_string();
        Ok(ExplainReport { release: release.id.to_string(), step, verdict, at, recorded })
    }

    /// A release as it is.
    pub(super) fn report(&self, release: &Release, snapshot: &Snapshot) -> ReleaseReport {
        let now = Instant::now();
        let (left, oldest) = draining_left(snapshot, &self.parts.live, release, now);
        let step = release.step();
        let started = &release.started;
        let is_ending = matches!(release.phase, Phase::RollingBack | Phase::Confirming);
        ReleaseReport {
            release: release.id.to_string(),
            app: release.app().to_string(),
            version: release.spec.version.clone(),
            reason: started.why.clone(),
            started_by: started.actor.to_string(),
            started_at: started.at,
            phase: release.phase.word().to_owned(),
            hold: hold(&release.phase),
            open: release.is_open(),
            ending: release.ending.map(|ending| ending_word(ending).to_owned()),
            step: step.map_or(0, |(index, _)| index + 1),
            steps: release.spec.steps.len(),
            stages: (release.applied, release.stages.len()),
            percent: step.map_or(0, |(_, step)| step.percent.get()),
            phase_seconds: unix_seconds().saturating_sub(release.since),
            bake_seconds: step
                .filter(|_| release.phase == Phase::Baking)
                .map(|(_, step)| step.bake.as_secs()),
            decided: release.decided.clone(),
            next: next(release),
            seconds_left: seconds_left(release, unix_seconds()),
            draining: is_ending.then_some((left, oldest.as_secs())),
            unrecorded: self.runs.get(&release.id).is_some_and(|run| run.is_owed || run.unrecorded.is_some()),
            epoch: release.epoch,
            members: release
                .members
                .iter()
                .map(|member| self.member(release, member, snapshot, now))
                .collect(),
            shared: release.shared.iter().map(ToString::to_string).collect(),
        }
    }

    fn member(&self, release: &Release, member: &Member, snapshot: &Snapshot, now: Instant) -> MemberReport {
        let state = snapshot.services.get(&member.service);
        let run = self.runs.get(&release.id);
        let depth = Depth::Everything(now);
        let samples = state.zip(run).map(|(state, run)| run.since_shift(member, state, depth));
        let (new, old) = samples.unwrap_or_default();
        let of = |color| state.and_then(|state| pool(state, color, depth)).unwrap_or_default();
        let (to, from) = (of(&member.to), of(&member.from));
        let percent = member.percent;
        let rest = Percent::new(100 - i64::from(percent.get())).unwrap_or_default();
        let side = |color: &ColorName,
                    percent,
                    (own, other): (&Sample, &Sample),
                    (pool, beside): (PoolFacts, PoolFacts)| {
            side((color, percent), (own, other.tried), (pool, beside.open))
        };
        let verdict = run.and_then(|run| run.verdict.as_ref());
        let verdict =
            verdict.and_then(|(verdict, _)| verdict.members.iter().find(|m| m.service == member.service));
        MemberReport {
            service: member.service.to_string(),
            to: side(&member.to, percent, (&new, &old), (to, from)),
            from: side(&member.from, rest, (&old, &new), (from, to)),
            verdict: verdict.map(|verdict| verdict.kind.label().to_owned()),
            says: verdict.map(|verdict| verdict.says.clone()),
        }
    }
}

fn side(
    (color, percent): (&ColorName, Percent),
    (own, other_tried): (&Sample, u64),
    (pool, other_open): (PoolFacts, u64),
) -> SideReport {
    SideReport {
        color: color.to_string(),
        percent: percent.get(),
        new_share: share(own.tried, own.tried + other_tried),
        open_share: share(pool.open, pool.open + other_open),
        open: pool.open,
        working: pool.working,
        endpoints: pool.all,
        tried: own.tried,
        failed_share: share(own.failures().min(own.tried), own.tried),
        first_byte_p95_seconds: own.first_byte.quantile(0.95),
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Confirmed => "confirmed",
        Ending::RolledBack => "rolled_back",
        Ending::Undone => "undone",
    }
}

fn hold(phase: &Phase) -> Option<HoldReport> {
    let Phase::Holding { reason, note, then } = phase else { return None };
    Some(HoldReport { reason: reason.word().to_owned(), note: note.clone(), then: then.word().to_owned() })
}

/// Seconds that are left for a confirm or an undo.
fn seconds_left(release: &Release, now: u64) -> Option<u64> {
    let (since, window): (u64, Duration) = match release.phase {
        Phase::AwaitingConfirm => (release.since, release.spec.confirm_deadline),
        Phase::Confirming | Phase::Confirmed => (release.ended?, release.spec.undo_window),
        _ => return None,
    };
    Some((since + window.as_secs()).saturating_sub(now))
}

/// What comes next, and what can be done.
fn next(release: &Release) -> String {
    let app = release.app();
    let step = release.stages.get(release.applied).map_or(0, |stage| stage.step + 1);
    match &release.phase {
        Phase::Shifting if release.applied == 0 && release.spec.activate_at.is_some() => {
            format!("step {step} at the time of `activate_at`, after its gates")
        }
        Phase::Shifting => format!("step {step}, after its gates"),
        Phase::Baking => {
            format!("the verdict once it has baked; `teal release next {app}` skips the rest of the bake")
        }
        Phase::Judging => "the next step once the verdict is pass".to_owned(),
        Phase::AwaitingConfirm => format!("`teal release confirm {app}`, or `teal release rollback {app}`"),
        Phase::Holding { .. } => format!("`teal release resume {app}`, or `teal release rollback {app}`"),
        Phase::Confirming => "the old color drains".to_owned(),
        Phase::Confirmed => format!("`teal release undo {app}` while it can be undone"),
        Phase::RollingBack => "connections of the new color are closed".to_owned(),
        Phase::RolledBack | Phase::Closed => "nothing".to_owned(),
    }
}
