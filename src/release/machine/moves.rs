//! The moves that [`super::advance()`] and [`super::command()`] are made of, each from one release to the next.

use super::decision::{BaselineEffect, Close, Closing, Decision};
use super::facts::Now;
use crate::model::release::{Notice, Percent, Reaction};
use crate::model::{ColorName, ServiceName, Weight};
use crate::state::release::{Ending, HoldReason, Member, Phase, Release, ReleaseId, share};

/// The release in another phase.
pub(super) fn enter(release: &Release, phase: Phase, now: Now) -> Release {
    let epoch = release.epoch + 1;
    Release { phase, since: now.unix_seconds, epoch, entered: epoch, ..release.clone() }
}

/// The phase that it is in, or that it holds in.
pub(super) fn running(release: &Release) -> &Phase {
    match &release.phase {
        Phase::Holding { then, .. } => then,
        phase => phase,
    }
}

/// Where a phase goes on after a pause: what was seen before says nothing any more, so it bakes again.
pub(super) fn resumed(phase: &Phase) -> Phase {
    if *phase == Phase::Judging { Phase::Baking } else { phase.clone() }
}

/// It waits for somebody.
pub(super) fn hold(release: &Release, reason: HoldReason, note: impl Into<String>, now: Now) -> Decision {
    let note = note.into();
    let why = format!("{} holds, {}: {note}", release.id, reason.words());
    let then = Box::new(running(release).clone());
    Decision::to(enter(release, Phase::Holding { reason, note, then }, now), why).tell(Notice::Hold)
}

/// It goes on where it held.
pub(super) fn resume(release: &Release, now: Now) -> Decision {
    let phase = resumed(running(release));
    let why = format!("{} goes on: {}", release.id, phase.word());
    Decision { resample: true, ..Decision::to(enter(release, phase, now), why) }
}

/// The stage is over: the next one, or somebody's word.
pub(super) fn go_on(release: &Release, because: &str, now: Now) -> Decision {
    let step = release.step().map_or(0, |(index, _)| index + 1);
    let of = release.spec.steps.len();
    if release.applied < release.stages.len() {
        let why = format!("{} step {step}/{of}: {because}, goes on", release.id);
        return Decision::to(enter(release, Phase::Shifting, now), why);
    }
    let why = format!("{} step {step}/{of}: {because}, awaits confirm", release.id);
    Decision::to(enter(release, Phase::AwaitingConfirm, now), why).tell(Notice::Awaiting)
}

/// The next stage's weights take effect, which never lowers a share.
pub(super) fn shift(release: &Release, because: &str, now: Now) -> Option<Decision> {
    let stage = release.stages.get(release.applied)?;
    let percent = release.spec.steps.get(stage.step)?.percent;
    let mut next = enter(release, Phase::Baking, now);
    next.applied += 1;
    let of = release.spec.steps.len();
    let services: Vec<_> = stage.services.iter().map(ServiceName::as_str).collect();
    let why = format!(
        "{} step {}/{of}: {percent} of {} to the new color{because}",
        release.id,
        stage.step + 1,
        services.join(", ")
    );
    let mut decision = Decision { resample: true, ..Decision::to(next, why) };
    for service in &stage.services {
        let current = release.member(service).map_or(percent, |member| member.percent);
        if percent > current {
            give(&mut decision, service, percent);
        }
    }
    Some(decision)
}

/// Sets a member's share.
pub(super) fn give(decision: &mut Decision, service: &ServiceName, percent: Percent) {
    let members = &mut decision.next.members;
    let Some(member) = members.iter_mut().find(|member| member.service == *service) else { return };
    member.percent = percent;
    member.weights = member.weights_at(percent);
    decision.weights.insert(service.clone(), member.weights.clone());
}

/// Sets a member's weights to what the file says.
pub(super) fn give_weights(
    decision: &mut Decision,
    service: &ServiceName,
    weights: &std::collections::BTreeMap<ColorName, Weight>,
) {
    let members = &mut decision.next.members;
    let Some(member) = members.iter_mut().find(|member| member.service == *service) else { return };
    member.percent = share(weights, &member.to);
    member.weights.clone_from(weights);
    decision.weights.insert(service.clone(), weights.clone());
}

/// All members go back to the weights from before, whatever they have now.
pub(super) fn roll_back(release: &Release, ending: Ending, note: &str, now: Now) -> Decision {
    let mut next = enter(release, Phase::RollingBack, now);
    next.ending = Some(ending);
    next.ended = Some(now.unix_seconds);
    let grace = Closing::After(release.spec.rollback_close_after);
    let close =
        |member: &Member| Close { service: member.service.clone(), color: member.to.clone(), how: grace };
    let what = if ending == Ending::Undone { "is undone" } else { "rolls back" };
    let mut decision = Decision::to(next, format!("{} {what}: {note}", release.id)).tell(Notice::Rollback);
    for member in &mut decision.next.members {
        member.percent = share(&member.before, &member.to);
        member.weights.clone_from(&member.before);
        decision.weights.insert(member.service.clone(), member.before.clone());
    }
    decision.close = release.members.iter().map(close).collect();
    decision.baseline = if ending == Ending::Undone { BaselineEffect::Old } else { BaselineEffect::None };
    decision.even_unrecorded = ending == Ending::RolledBack;
    decision.resample = true;
    decision
}

/// A rollback that nobody asked for: past a point of no return it holds instead, as only a person can say that
/// the data can go back too.
pub(super) fn roll_back_unasked(release: &Release, note: &str, now: Now) -> Option<Decision> {
    if !release.is_past_return() {
        return Some(roll_back(release, Ending::RolledBack, note, now));
    }
    if matches!(release.phase, Phase::Holding { .. }) {
        return None;
    }
    let note = format!("{note}; past the point of no return a rollback needs --force");
    Some(hold(release, HoldReason::Failed, note, now))
}

/// What a release does when something failed.
pub(super) fn react(
    release: &Release,
    reaction: Reaction,
    reason: HoldReason,
    note: &str,
    now: Now,
) -> Option<Decision> {
    match reaction {
        Reaction::Hold => Some(hold(release, reason, note, now)),
        Reaction::Rollback => roll_back_unasked(release, note, now),
    }
}

/// What becomes of a release that was read from the journal when the daemon starts; nothing when it is as it was.
/// No weight moves. What could not be seen while nothing ran is not believed: an open release holds, or bakes
/// again if its specification says that it may go on.
pub fn restored(release: &Release, now: Now) -> Option<Decision> {
    match &release.phase {
        Phase::Shifting | Phase::Baking | Phase::Judging | Phase::AwaitingConfirm => {}
        _ => return None,
    }
    if !release.spec.resume_after_restart {
        return Some(hold(release, HoldReason::Restart, "the weights are those applied last", now));
    }
    (release.phase == Phase::Judging).then(|| resume(release, now))
}

/// What becomes of a release whose decision could not be recorded, and so was not carried out. An open one holds;
/// any other stays, and is asked again.
pub fn shift_failed(release: &Release, note: &str, now: Now) -> Release {
    if !release.is_open() || matches!(release.phase, Phase::Holding { .. }) {
        return release.clone();
    }
    hold(release, HoldReason::Journal, note, now).next
}

/// What becomes of a confirmed release when another one of its members starts: it cannot be undone any more, and
/// its hooks do not run, since what they would retire may be in use again.
pub fn superseded(release: &Release, by: &ReleaseId, now: Now) -> Option<Decision> {
    let why = format!("{} cannot be undone any more: {by} starts", release.id);
    (release.phase == Phase::Confirmed).then(|| Decision::to(enter(release, Phase::Closed, now), why))
}
