//! One look at every release: facts, judgement, decision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::{draining_left, edits, pool};
use super::run::Depth;
use super::{Engine, by_itself, order_of, unix_seconds};
use crate::release::analysis::{Recorded, hard_failure, judge};
use crate::release::machine::{Decision, Facts, MemberFacts, advance};
use crate::state::Snapshot;
use crate::state::release::{Phase, Release};
use crate::state::releases::Freeze;

/// How often facts are judged.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// How often they are recorded, while the verdict stays the same.
const RECORD_EVERY: Duration = Duration::from_secs(10);

/// Who froze shifts, and why.
pub(super) fn frozen(freeze: &Freeze) -> String {
    format!("by {}: {}", freeze.cause.actor, freeze.cause.why)
}

impl Engine {
    /// Does what is due.
    pub(super) async fn look(&mut self) {
        let snapshot = self.parts.snapshot.load_full();
        self.runs.retain(|id, _| snapshot.releases.get(id).is_some_and(|release| release.is_live()));
        for kept in snapshot.releases.all().filter(|release| release.is_live()) {
            let release = self.current(kept);
            let run = self.runs.entry(release.id.clone()).or_default();
            if run.retry_at.is_some_and(|at| Instant::now() < at) {
                continue;
            }
            self.look_at(&release).await;
        }
    }

    async fn look_at(&mut self, release: &Arc<Release>) {
        let snapshot = self.parts.snapshot.load_full();
        self.judge(release, &snapshot).await;
        let (facts, now) = (self.facts(release, &snapshot, Depth::Counters), self.now());
        let run = self.runs.entry(release.id.clone()).or_default();
        let was_put_off = run.retry_at.take().is_some();
        if let Some(decision) = advance(release, &mut run.clock, &facts, now) {
            let decision = self.count_left(release, decision, &snapshot);
            let cause = by_itself(&decision.why);
            // It is in the status, and tried again.
            let _ = self.carry_out(release, decision, cause).await;
        } else if was_put_off {
            self.record_again(release).await;
        }
    }

    /// What could not be recorded is tried again, so that a restart finds it.
    async fn record_again(&mut self, release: &Arc<Release>) {
        let recorded = self.parts.snapshot.load().releases.get(&release.id).cloned();
        if recorded.is_some_and(|recorded| recorded != *release) {
            let why = format!("{} as it has been since the journal failed", release.id);
            let cause = by_itself(&why);
            let order = order_of(&Decision::to(Release::clone(release), why), cause);
            let changed = self.change(order).await;
            let run = self.runs.entry(release.id.clone()).or_default();
            match changed {
                Ok(recording) => run.note_changed(recording),
                Err(_) => run.put_off(Release::clone(release), Instant::now()),
            }
        }
    }

    /// Open connections are counted only for a decision that ends some.
    fn count_left(&self, release: &Release, decision: Decision, snapshot: &Snapshot) -> Decision {
        if decision.close.is_empty() {
            return decision;
        }
        let facts = self.facts(release, snapshot, Depth::Everything(Instant::now()));
        decision.count_left(&facts)
    }

    /// Everything that the machine asks for; open connections of its colors at [`Depth::Everything`].
    pub(super) fn facts(&self, release: &Release, snapshot: &Snapshot, depth: Depth) -> Facts {
        let now = Instant::now();
        let run = self.runs.get(&release.id);
        let member = |member: &crate::state::release::Member| {
            let state = snapshot.services.get(&member.service)?;
            let (from, to) = (pool(state, &member.from, depth)?, pool(state, &member.to, depth)?);
            let served = run.map_or(0, |run| run.since_shift(member, state, Depth::Counters).0.served);
            Some((member.service.clone(), MemberFacts { from, to, served }))
        };
        Facts {
            members: release.members.iter().filter_map(member).collect(),
            frozen: snapshot.releases.freeze(release.app()).map(frozen),
            gates: run.map(|run| run.gates.clone()).unwrap_or_default(),
            verdict: run.map(super::run::Run::machine_verdict).unwrap_or_default(),
            hard_failure: run.and_then(|run| run.hard_failure.clone()),
            edits: edits(snapshot, release),
            draining_left: draining_left(snapshot, &self.parts.live, release, now).0,
        }
    }

    /// Looks for hard failures each time, and at everything once a second.
    async fn judge(&mut self, release: &Release, snapshot: &Snapshot) {
        let judgement = &release.spec.judgement;
        if !release.is_open() || !judgement.enabled {
            return;
        }
        let now = Instant::now();
        let run = self.runs.entry(release.id.clone()).or_default();
        let Some(counters) = run.stage_facts(release, snapshot, Depth::Counters) else { return };
        run.hard_failure = hard_failure(judgement, &counters).map(|failure| failure.says);
        if run.judged.is_some_and(|judged| now.duration_since(judged) < JUDGE_EVERY) {
            return;
        }
        run.judged = Some(now);
        let Some(facts) = run.stage_facts(release, snapshot, Depth::Everything(now)) else { return };
        let (verdict, time) = (judge(judgement, &facts), unix_seconds());
        let is_news = run.verdict.as_ref().is_none_or(|(known, _)| known.kind != verdict.kind);
        if is_news {
            crate::release::metrics::verdict(release, verdict.kind);
        }
        let is_due = run.recorded.is_none_or(|recorded| now.duration_since(recorded) >= RECORD_EVERY);
        run.verdict = Some((verdict, time));
        if is_news || is_due || release.phase == Phase::Judging && run.recorded.is_none() {
            run.recorded = Some(now);
            let stage = release.applied.saturating_sub(1);
            let (release, judgement) = (release.id.clone(), judgement.clone());
            self.archive.append(Recorded { time, release, stage, judgement, facts }).await;
        }
    }
}
