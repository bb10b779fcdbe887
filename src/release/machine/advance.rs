//! What a release does by itself.

use std::time::Duration;

use super::decision::Decision;
use super::facts::{Facts, GateState, Now, Verdict};
use super::guard::{dead, surely_undersized, undersized, unhealthy};
use super::moves::{enter, go_on, hold, react, roll_back_unasked, shift};
use super::{EditsDecision, command};
use crate::model::ServiceName;
use crate::model::release::{Notice, OnManualEdit, Percent, Reaction, ReleaseStep};
use crate::state::release::{Ending, HoldReason, Phase, Release, Stage};

/// How much longer than its timeout a gate's answer may take to arrive.
const GATE_GRACE: Duration = Duration::from_secs(30);

/// Within so long of `rollback_close_after` connections are closed. Who still comes after that asked for the color, by
/// its preview name or in a lane, and comes again and again: nobody waits for that.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// What is remembered between two looks at one release, and forgotten with the process.
#[derive(Debug, Clone, Default)]
pub struct Clockwork {
    /// The epoch at which the phase began, and when it was first seen on the monotonic clock.
    phase: Option<(u64, Duration)>,
    /// Since when gates have been asked in this phase.
    asked: Option<Duration>,
}

impl Clockwork {
    /// Begins anew where a phase began.
    fn observe(&mut self, release: &Release, now: Now) {
        if self.phase.is_none_or(|(entered, _)| entered != release.entered) {
            *self = Self { phase: Some((release.entered, now.monotonic)), asked: None };
        }
    }

    /// How long the release has been in its phase, in this process.
    pub fn elapsed(&self, now: Now) -> Duration {
        self.phase.map_or(Duration::ZERO, |(_, since)| now.monotonic.saturating_sub(since))
    }
}

/// What is due; nothing as a rule. It does not say yet how many connections have to end: see
/// [`Decision::count_left`].
pub fn advance(release: &Release, clock: &mut Clockwork, facts: &Facts, now: Now) -> Option<Decision> {
    clock.observe(release, now);
    let decision = due(release, clock, facts, now)?;
    // From here on, not only from the next look.
    clock.observe(&decision.next, now);
    Some(decision)
}

fn due(release: &Release, clock: &mut Clockwork, facts: &Facts, now: Now) -> Option<Decision> {
    match &release.phase {
        Phase::Shifting | Phase::Baking | Phase::Judging | Phase::AwaitingConfirm => {
            failure(release, facts, now)
                .or_else(|| manual_edit(release, facts, now))
                .or_else(|| sick(release, facts, now))
                .or_else(|| go(release, clock, facts, now))
        }
        Phase::Holding { .. } => failure_while_holding(release, facts, now),
        Phase::Confirming => confirmed(release, facts, now),
        Phase::Confirmed => closed_after_undo_window(release, now),
        Phase::RollingBack => rolled_back(release, clock, facts, now),
        Phase::RolledBack => {
            let why = format!("{} is closed after its rollback", release.id);
            let hooks = release.spec.on_rolled_back.clone();
            Some(Decision { hooks, ..Decision::to(enter(release, Phase::Closed, now), why) })
        }
        Phase::Closed => None,
    }
}

fn go(release: &Release, clock: &mut Clockwork, facts: &Facts, now: Now) -> Option<Decision> {
    match &release.phase {
        Phase::Shifting => shifting(release, clock, facts, now),
        Phase::Baking => baking(release, clock, now),
        Phase::Judging => judging(release, clock, facts, now),
        Phase::AwaitingConfirm => deadline(release, now),
        _ => None,
    }
}

/// Failures that cannot wait for a verdict.
fn hard_failure(release: &Release, facts: &Facts) -> Option<String> {
    dead(release, facts).or_else(|| facts.hard_failure.clone())
}

fn verdict_failure<'a>(release: &Release, facts: &'a Facts) -> Option<&'a str> {
    match &facts.verdict {
        Verdict::Fail(note) if release.spec.judgement.enabled && release.applied > 0 => Some(note),
        _ => None,
    }
}

/// A failure is acted upon as soon as it is seen, whatever the phase waits for.
fn failure(release: &Release, facts: &Facts, now: Now) -> Option<Decision> {
    if let Some(note) = hard_failure(release, facts) {
        let takes_connections = release.members.iter().any(|member| member.percent > Percent::NONE);
        let reaction = if takes_connections { Reaction::Rollback } else { Reaction::Hold };
        return Some(react(release, reaction, HoldReason::Failed, &note, now)?.tell(Notice::Fail));
    }
    let note = verdict_failure(release, facts)?;
    let reaction = release.spec.judgement.on_fail;
    Some(react(release, reaction, HoldReason::Failed, note, now)?.tell(Notice::Fail))
}

/// A held release still rolls back where it would have.
fn failure_while_holding(release: &Release, facts: &Facts, now: Now) -> Option<Decision> {
    let takes_connections = release.members.iter().any(|member| member.percent > Percent::NONE);
    let hard = hard_failure(release, facts).filter(|_| takes_connections);
    let soft = || {
        let rolls_back = release.spec.judgement.on_fail == Reaction::Rollback;
        verdict_failure(release, facts).filter(|_| rolls_back).map(str::to_owned)
    };
    let note = hard.or_else(soft)?;
    Some(roll_back_unasked(release, &note, now)?.tell(Notice::Fail))
}

fn manual_edit(release: &Release, facts: &Facts, now: Now) -> Option<Decision> {
    if facts.edits.is_empty() {
        return None;
    }
    let services: Vec<_> = facts.edits.keys().map(ServiceName::as_str).collect();
    let note = format!("the file's weights of {} changed: adopt or discard them", services.join(", "));
    let decided = match release.spec.on_manual_edit {
        OnManualEdit::Hold => return Some(hold(release, HoldReason::ManualEdit, note, now)),
        OnManualEdit::Adopt => command::decide_edits(release, EditsDecision::Adopted, facts, now),
        OnManualEdit::Discard => command::decide_edits(release, EditsDecision::Discarded, facts, now),
    };
    Some(decided.unwrap_or_else(|refusal| {
        hold(release, HoldReason::ManualEdit, format!("{note}; they were not adopted: {refusal}"), now)
    }))
}

fn sick(release: &Release, facts: &Facts, now: Now) -> Option<Decision> {
    let note = unhealthy(release, &release.phase, facts)?;
    Some(hold(release, HoldReason::PoolUnhealthy, note, now))
}

fn shifting(release: &Release, clock: &mut Clockwork, facts: &Facts, now: Now) -> Option<Decision> {
    let stage = release.stages.get(release.applied)?;
    let step = release.spec.steps.get(stage.step)?;
    if release.applied == 0 && release.spec.activate_at.is_some_and(|at| at > now.unix_seconds) {
        return None;
    }
    if let Some(why) = &facts.frozen {
        return Some(hold(release, HoldReason::Frozen, why, now));
    }
    if is_first_of_step(release, stage) && !step.gates.is_empty() {
        let Some(since) = clock.asked else {
            clock.asked = Some(now.monotonic);
            let why = format!("{} asks {}", release.id, step.gates.join(", "));
            let gates = step.gates.clone();
            return Some(Decision { gates, ..Decision::to(release.clone(), why) });
        };
        match gates(release, step, facts, now.monotonic.saturating_sub(since)) {
            Answer::Passed => {}
            Answer::Waiting => return None,
            Answer::NotPassed(note) => return Some(hold(release, HoldReason::Gate, note, now)),
        }
    }
    if stage.services.iter().any(|service| !facts.members.contains_key(service)) {
        return None;
    }
    let members = || stage.services.iter().filter_map(|service| release.member(service));
    let is_short = |member| surely_undersized(release, member, step.percent, facts);
    if let Some(note) = members().find_map(is_short) {
        return Some(hold(release, HoldReason::PoolUnhealthy, note, now));
    }
    if members().any(|member| undersized(release, member, step.percent, facts).is_some()) {
        // The first checks of new endpoints are still to come.
        return None;
    }
    shift(release, "", now)
}

fn is_first_of_step(release: &Release, stage: &Stage) -> bool {
    let before = release.applied.checked_sub(1).and_then(|index| release.stages.get(index));
    before.is_none_or(|before| before.step != stage.step)
}

enum Answer {
    Passed,
    Waiting,
    NotPassed(String),
}

/// What all gates of a step say together; one that failed is heard before the others have answered.
fn gates(release: &Release, step: &ReleaseStep, facts: &Facts, waited: Duration) -> Answer {
    let mut answer = Answer::Passed;
    for name in &step.gates {
        match facts.gates.get(name).unwrap_or(&GateState::Unknown) {
            GateState::Passed => {}
            GateState::Failed(note) => return Answer::NotPassed(format!("gate {name} failed: {note}")),
            GateState::Inconclusive(note) => {
                return Answer::NotPassed(format!("gate {name} is inconclusive: {note}"));
            }
            GateState::Unknown | GateState::Running => {
                let timeout = release.spec.gates.get(name).map_or(Duration::ZERO, |gate| gate.timeout);
                if waited > timeout + GATE_GRACE {
                    return Answer::NotPassed(format!("gate {name} gave no answer"));
                }
                answer = Answer::Waiting;
            }
        }
    }
    answer
}

fn baking(release: &Release, clock: &Clockwork, now: Now) -> Option<Decision> {
    let (index, step) = release.step()?;
    let why = format!("{} step {}/{}: baked", release.id, index + 1, release.spec.steps.len());
    (clock.elapsed(now) >= step.bake).then(|| Decision::to(enter(release, Phase::Judging, now), why))
}

fn judging(release: &Release, clock: &Clockwork, facts: &Facts, now: Now) -> Option<Decision> {
    let (_, step) = release.step()?;
    if step.percent == Percent::NONE {
        return Some(go_on(release, "nothing to judge at 0 %", now));
    }
    if !release.spec.judgement.enabled {
        return Some(go_on(release, "not judged, as the judgement is off", now));
    }
    let short = too_little_traffic(release, step, facts);
    if facts.verdict == Verdict::Pass && short.is_none() {
        return Some(go_on(release, "verdict pass", now));
    }
    if clock.elapsed(now) < step.max_wait {
        return None;
    }
    let note = match (&facts.verdict, short) {
        (Verdict::Inconclusive(note), _) => note.clone(),
        (_, Some(short)) => short,
        (_, None) => "there is no verdict".to_owned(),
    };
    react(release, release.spec.judgement.on_inconclusive, HoldReason::Inconclusive, &note, now)
}

/// Members of the stage whose new color served fewer connections than the step wants.
fn too_little_traffic(release: &Release, step: &ReleaseStep, facts: &Facts) -> Option<String> {
    let stage = release.stages.get(release.applied.checked_sub(1)?)?;
    stage.services.iter().find_map(|service| {
        let served = facts.members.get(service).map_or(0, |known| known.served);
        let wanted = step.min_connections;
        (served < wanted).then(|| format!("{service} served {served} of {wanted} connections"))
    })
}

fn deadline(release: &Release, now: Now) -> Option<Decision> {
    let waited = now.unix_seconds.saturating_sub(release.since);
    if waited < release.spec.confirm_deadline.as_secs() {
        return None;
    }
    let within = humantime::format_duration(release.spec.confirm_deadline);
    let note = format!("nobody confirmed within {within}");
    react(release, release.spec.on_confirm_deadline, HoldReason::Deadline, &note, now)
}

fn confirmed(release: &Release, facts: &Facts, now: Now) -> Option<Decision> {
    let why = format!("{} is confirmed: the old color has drained", release.id);
    (facts.draining_left == 0).then(|| Decision::to(enter(release, Phase::Confirmed, now), why))
}

fn closed_after_undo_window(release: &Release, now: Now) -> Option<Decision> {
    if command::may_be_undone(release, now) {
        return None;
    }
    let why = format!("{} is closed: its undo window is over", release.id);
    let hooks = release.spec.on_confirmed.clone();
    Some(Decision { hooks, ..Decision::to(enter(release, Phase::Closed, now), why) })
}

fn rolled_back(release: &Release, clock: &Clockwork, facts: &Facts, now: Now) -> Option<Decision> {
    let left = facts.draining_left;
    if left > 0 && clock.elapsed(now) < release.spec.rollback_close_after + CLOSED_WITHIN {
        return None;
    }
    let what = if release.ending == Some(Ending::Undone) { "undone" } else { "rolled back" };
    let why = match left {
        0 => format!("{} is {what}: nothing is left on the new color", release.id),
        _ => format!("{} is {what}: what was open is closed, {left} came by name or lane since", release.id),
    };
    Some(Decision::to(enter(release, Phase::RolledBack, now), why).tell(Notice::Rollback))
}
