//! What an operator's word leads to.

use super::decision::{BaselineEffect, Close, Closing, Decision, EditsDecision};
use super::facts::{Facts, Now};
use super::guard::{undersized, unhealthy};
use super::moves::{enter, give, give_weights, go_on, hold, resume, resumed, roll_back, running, shift};
use crate::model::ServiceName;
use crate::model::release::{Notice, OnManualEdit, Percent};
use crate::state::release::{Ending, HoldReason, Member, Phase, Release, share};

/// What somebody can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// The rest of the bake is skipped; with `skip_checks`, also what would be judged or asked next, and what a
    /// verdict or a gate said.
    Next {
        /// Whether checks are skipped too.
        skip_checks: bool,
    },
    /// Another share for one member.
    Set {
        /// Which one.
        service: ServiceName,
        /// Of its new connections.
        percent: Percent,
    },
    /// It waits.
    Hold,
    /// It goes on; bake time and samples begin anew.
    Resume,
    /// The new color stays.
    Confirm {
        /// Whether it counts as confirmed only once the old color has drained.
        wait: bool,
    },
    /// Back to the weights from before.
    Rollback {
        /// Also past a point of no return.
        force: bool,
    },
    /// Back to the weights from before, after a confirm.
    Undo {
        /// Also past a point of no return, and to a color without an endpoint that works.
        force: bool,
    },
    /// The file's weights of members take effect.
    Adopt,
    /// They do not.
    Discard,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Shifts are frozen.
    #[error("shifts are frozen: {0}")]
    Frozen(String),
    /// It holds.
    #[error("the release holds: {0}")]
    Holding(String),
    /// It does not fit the phase.
    #[error("{0}")]
    Phase(String),
    /// A color has too few endpoints that work.
    #[error("{0}")]
    Unhealthy(String),
    /// The file's weights of a member changed.
    #[error("the file's weights of {0} changed: `adopt` or `discard` them first")]
    Undecided(String),
    /// It needs force.
    #[error("{0}; `--force` does it all the same")]
    NeedsForce(String),
    /// A name means nothing here, or there is nothing to decide.
    #[error("{0}")]
    Unknown(String),
}

fn phase_refusal<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Phase(text.into()))
}

/// What a word leads to.
///
/// # Errors
/// Why it leads to nothing.
pub fn command(release: &Release, verb: &Verb, facts: &Facts, now: Now) -> Result<Decision, Refusal> {
    decide(release, verb, facts, now).map(|decision| decision.count_left(facts))
}

fn decide(release: &Release, verb: &Verb, facts: &Facts, now: Now) -> Result<Decision, Refusal> {
    match verb {
        Verb::Rollback { force } => rollback(release, *force, now),
        Verb::Undo { force } => undo(release, *force, facts, now),
        _ if !release.is_open() => {
            phase_refusal(format!("{} is not open: {}", release.id, release.phase.word()))
        }
        Verb::Next { skip_checks: false } => next(release, now),
        Verb::Next { skip_checks: true } => next_unchecked(release, facts, now),
        Verb::Set { service, percent } => set(release, service, *percent, facts, now),
        Verb::Hold => match &release.phase {
            Phase::Holding { note, .. } => Err(Refusal::Holding(format!("already, {note}"))),
            _ => Ok(hold(release, HoldReason::Operator, "until `resume`", now)),
        },
        Verb::Resume => resume_checked(release, facts, now),
        Verb::Confirm { wait } => confirm(release, *wait, facts, now),
        Verb::Adopt => decide_edits(release, EditsDecision::Adopted, facts, now),
        Verb::Discard => decide_edits(release, EditsDecision::Discarded, facts, now),
    }
}

fn next(release: &Release, now: Now) -> Result<Decision, Refusal> {
    match &release.phase {
        Phase::Baking => {
            let why = format!("{}: the rest of the bake is skipped", release.id);
            Ok(Decision::to(enter(release, Phase::Judging, now), why))
        }
        Phase::Judging => {
            phase_refusal("it is being judged already; `--skip-checks` goes on without a verdict")
        }
        Phase::Shifting => {
            phase_refusal("it is about to shift already; `--skip-checks` does not wait for gates and time")
        }
        Phase::Holding { note, .. } => {
            Err(Refusal::Holding(format!("{note}; `resume` it, or go on with `next --skip-checks`")))
        }
        _ => phase_refusal("all steps are done: `confirm` or `rollback`"),
    }
}

fn next_unchecked(release: &Release, facts: &Facts, now: Now) -> Result<Decision, Refusal> {
    undecided(facts)?;
    match running(release) {
        phase @ (Phase::Baking | Phase::Judging) => {
            healthy(release, phase, facts)?;
            Ok(Decision { resample: true, ..go_on(release, "checks skipped by hand", now) })
        }
        Phase::Shifting => {
            thawed(facts)?;
            healthy(release, &Phase::Shifting, facts)?;
            let stage = release.stages.get(release.applied);
            let step = stage.and_then(|stage| release.spec.steps.get(stage.step));
            let (Some(stage), Some(step)) = (stage, step) else { return phase_refusal("no step is left") };
            for service in &stage.services {
                sized(release, service, step.percent, facts)?;
            }
            let shifted = shift(release, ", checks skipped by hand", now);
            shifted.ok_or_else(|| Refusal::Phase("no step is left".to_owned()))
        }
        _ => phase_refusal("all steps are done: `confirm` or `rollback`"),
    }
}

fn set(
    release: &Release,
    service: &ServiceName,
    percent: Percent,
    facts: &Facts,
    now: Now,
) -> Result<Decision, Refusal> {
    let Some(member) = release.member(service) else {
        return Err(Refusal::Unknown(format!("{service} is no member of {}", release.id)));
    };
    thawed(facts)?;
    undecided(facts)?;
    if percent > member.percent {
        sized(release, service, percent, facts)?;
    }
    let phase = match &release.phase {
        Phase::Holding { reason, note, then } => {
            Phase::Holding { reason: *reason, note: note.clone(), then: Box::new(resumed(then)) }
        }
        phase => resumed(phase),
    };
    let why = format!("{}: {percent} of {service} to {} by hand", release.id, member.to);
    let mut decision = Decision { resample: true, ..Decision::to(enter(release, phase, now), why) };
    give(&mut decision, service, percent);
    Ok(decision)
}

fn resume_checked(release: &Release, facts: &Facts, now: Now) -> Result<Decision, Refusal> {
    let Phase::Holding { then, .. } = &release.phase else {
        return phase_refusal(format!("it does not hold: {}", release.phase.word()));
    };
    if release.spec.on_manual_edit == OnManualEdit::Hold {
        undecided(facts)?;
    }
    if **then == Phase::Shifting {
        thawed(facts)?;
    }
    healthy(release, then, facts)?;
    Ok(resume(release, now))
}

fn confirm(release: &Release, wait: bool, facts: &Facts, now: Now) -> Result<Decision, Refusal> {
    match &release.phase {
        Phase::AwaitingConfirm => {}
        Phase::Holding { note, .. } => return Err(Refusal::Holding(format!("{note}; `resume` it first"))),
        phase => {
            return phase_refusal(format!("not all steps are done ({}): wait, or `next`", phase.word()));
        }
    }
    thawed(facts)?;
    undecided(facts)?;
    for member in &release.members {
        if member.percent < Percent::ALL {
            let Member { service, to, percent, .. } = member;
            return phase_refusal(format!("{to} of {service} has {percent}: `set {service}=100` first"));
        }
        sized(release, &member.service, Percent::ALL, facts)?;
    }
    let phase = if wait { Phase::Confirming } else { Phase::Confirmed };
    let mut next = enter(release, phase, now);
    next.ending = Some(Ending::Confirmed);
    next.ended = Some(now.unix_seconds);
    let mut decision = Decision::to(next, format!("{} is confirmed, the old color drains", release.id))
        .tell(Notice::Confirmed);
    decision.baseline = BaselineEffect::New;
    let close = |member: &Member| Close {
        service: member.service.clone(),
        color: member.from.clone(),
        how: Closing::Drain,
    };
    decision.close = release.members.iter().map(close).collect();
    Ok(decision)
}

fn rollback(release: &Release, force: bool, now: Now) -> Result<Decision, Refusal> {
    if matches!(release.ending, Some(Ending::RolledBack | Ending::Undone)) {
        let why = format!("{} was rolled back already", release.id);
        return Ok(Decision::to(release.clone(), why));
    }
    if !release.is_open() {
        return phase_refusal(format!("{} is not open ({}): `undo` it", release.id, release.phase.word()));
    }
    returnable(release, force)?;
    Ok(roll_back(release, Ending::RolledBack, "by hand", now))
}

fn undo(release: &Release, force: bool, facts: &Facts, now: Now) -> Result<Decision, Refusal> {
    if release.is_open() {
        return phase_refusal(format!("{} is open: `rollback` it", release.id));
    }
    if !matches!(release.phase, Phase::Confirming | Phase::Confirmed) {
        return phase_refusal(format!("{} cannot be undone: {}", release.id, release.phase.word()));
    }
    if !may_be_undone(release, now) {
        return phase_refusal(format!("{} cannot be undone: its undo window is over", release.id));
    }
    returnable(release, force)?;
    let down = release
        .members
        .iter()
        .find(|member| facts.members.get(&member.service).is_none_or(|known| known.from.working == 0));
    if let Some(Member { service, from, .. }) = down.filter(|_| !force) {
        return Err(Refusal::NeedsForce(format!("no endpoint of {from} of {service} works")));
    }
    Ok(roll_back(release, Ending::Undone, "by hand, after its confirm", now))
}

/// Whether it was confirmed and its undo window is not over.
pub(super) fn may_be_undone(release: &Release, now: Now) -> bool {
    let since = now.unix_seconds.saturating_sub(release.ended.unwrap_or(0));
    release.ending == Some(Ending::Confirmed) && since < release.spec.undo_window.as_secs()
}

/// Decides about all weights that the file changed. A release that held for them goes on.
pub(super) fn decide_edits(
    release: &Release,
    decided: EditsDecision,
    facts: &Facts,
    now: Now,
) -> Result<Decision, Refusal> {
    if facts.edits.is_empty() {
        return Err(Refusal::Unknown("the file's weights of the members did not change".to_owned()));
    }
    if decided == EditsDecision::Adopted {
        adoptable(release, facts)?;
    }
    let phase = match &release.phase {
        Phase::Holding { reason: HoldReason::ManualEdit, then, .. } => resumed(then),
        Phase::Holding { reason, note, then } => {
            Phase::Holding { reason: *reason, note: note.clone(), then: Box::new(resumed(then)) }
        }
        phase => resumed(phase),
    };
    let services: Vec<_> = facts.edits.keys().map(ServiceName::as_str).collect();
    let word = if decided == EditsDecision::Adopted { "adopted" } else { "discarded" };
    let why = format!("{}: the file's weights of {} are {word}", release.id, services.join(", "));
    let next = enter(release, phase, now);
    let mut decision = Decision { resample: true, edits: Some(decided), ..Decision::to(next, why) };
    for (service, weights) in &facts.edits {
        let Some(member) = release.member(service) else { continue };
        let kept = if decided == EditsDecision::Adopted { weights } else { &member.weights };
        if decided == EditsDecision::Adopted {
            give_weights(&mut decision, service, kept);
        } else {
            decision.weights.insert(service.clone(), kept.clone());
        }
    }
    Ok(decision)
}

fn adoptable(release: &Release, facts: &Facts) -> Result<(), Refusal> {
    thawed(facts)?;
    for (service, weights) in &facts.edits {
        let Some(member) = release.member(service) else { continue };
        let third = weights
            .iter()
            .find(|(color, weight)| !weight.is_zero() && **color != member.from && **color != member.to);
        if let Some((color, _)) = third {
            let text =
                format!("{color} of {service} has weight in the file: a release moves two colors only");
            return Err(Refusal::Unhealthy(text));
        }
        if weights.values().all(|weight| weight.is_zero()) {
            return Err(Refusal::Unhealthy(format!("no color of {service} has weight in the file")));
        }
        let percent = share(weights, &member.to);
        if percent > member.percent {
            sized(release, service, percent, facts)?;
        }
    }
    Ok(())
}

fn thawed(facts: &Facts) -> Result<(), Refusal> {
    facts.frozen.clone().map_or(Ok(()), |why| Err(Refusal::Frozen(why)))
}

fn undecided(facts: &Facts) -> Result<(), Refusal> {
    if facts.edits.is_empty() {
        return Ok(());
    }
    let services: Vec<_> = facts.edits.keys().map(ServiceName::as_str).collect();
    Err(Refusal::Undecided(services.join(", ")))
}

fn healthy(release: &Release, phase: &Phase, facts: &Facts) -> Result<(), Refusal> {
    unhealthy(release, phase, facts).map_or(Ok(()), |note| Err(Refusal::Unhealthy(note)))
}

/// A share is given only where enough endpoints are known to work.
fn sized(release: &Release, service: &ServiceName, percent: Percent, facts: &Facts) -> Result<(), Refusal> {
    let Some(member) = release.member(service).filter(|_| facts.members.contains_key(service)) else {
        return Err(Refusal::Unhealthy(format!("nothing is known of the endpoints of {service} yet")));
    };
    undersized(release, member, percent, facts).map_or(Ok(()), |note| Err(Refusal::Unhealthy(note)))
}

fn returnable(release: &Release, force: bool) -> Result<(), Refusal> {
    if release.is_past_return() && !force {
        let step = release.step().map_or(0, |(index, _)| index + 1);
        return Err(Refusal::NeedsForce(format!(
            "{} is past its point of no return (step {step})",
            release.id
        )));
    }
    Ok(())
}
