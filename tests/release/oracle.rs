//! What a release may do, said a second time and in another way: permissions by transition, and weights by what
//! happened since the start.

use std::collections::BTreeMap;
use std::time::Duration;

use teal::model::release::{Percent, Reaction, ReleaseOrder, ReleaseStep};
use teal::model::{ServiceName, Weight};
use teal::release::machine::{BaselineEffect, Decision, EditsDecision, Facts, GateState, Now, Verb, Verdict};
use teal::state::release::{Ending, HoldReason, Member, Phase, Release, Stage};

use super::scene::{Weights, color, weight};

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    Itself,
    Restart,
    Verb(Verb),
}

/// One decision, and what it was made from.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub before: &'a Release,
    pub decision: &'a Decision,
    pub by: &'a By,
    pub facts: &'a Facts,
    pub now: Now,
}

/// What should be in effect.
#[derive(Clone)]
struct Model {
    weights: BTreeMap<ServiceName, Weights>,
    percents: BTreeMap<ServiceName, u8>,
    applied: usize,
    /// Whether a share was set or adopted, so that members need not be level.
    is_by_hand: bool,
}

pub struct Oracle {
    model: Model,
    recorded: Model,
    /// When the bake began.
    since: Duration,
}

fn stage(release: &Release, applied: usize) -> (&Stage, &ReleaseStep) {
    let stage = &release.stages[applied];
    (stage, &release.spec.steps[stage.step])
}

/// The members' old color is blue and their new one green, which begins at 0.
fn weights_at(member: &Member, percent: u8) -> Weights {
    let mut weights = member.before.clone();
    if percent > 0 {
        for weight in weights.values_mut() {
            *weight = Weight::ZERO;
        }
        weights.insert(color("green"), weight(percent.into()));
        weights.insert(color("blue"), weight(100 - u16::from(percent)));
    }
    weights
}

fn percent_of(weights: &Weights) -> u8 {
    let sum: u16 = weights.values().map(|weight| weight.get()).sum();
    let green = f64::from(weights[&color("green")].get()) * 100.0 / f64::from(sum);
    let rounded = if green > 0.0 && green < 100.0 { (green + 0.5).floor().clamp(1.0, 99.0) } else { green };
    (0..=100).find(|percent| f64::from(*percent) >= rounded).expect("a share is no more than everything")
}

fn is_past_return(release: &Release) -> bool {
    (0..release.applied).any(|applied| stage(release, applied).1.point_of_no_return)
}

/// A new color that takes connections, has no endpoint, and an old color that could serve them.
fn is_dead(release: &Release, facts: &Facts) -> bool {
    release.members.iter().any(|member| {
        let known = &facts.members[&member.service];
        member.percent.get() > 0 && known.to.working + known.to.pending == 0 && known.from.working > 0
    })
}

fn is_failed(release: &Release, facts: &Facts) -> bool {
    let counts = release.spec.judgement.enabled && release.applied > 0;
    counts && matches!(facts.verdict, Verdict::Fail(_))
}

impl Oracle {
    pub fn new(release: &Release, now: Now) -> Self {
        let members = release.members.iter();
        let model = Model {
            weights: members.clone().map(|member| (member.service.clone(), member.before.clone())).collect(),
            percents: members.map(|member| (member.service.clone(), 0)).collect(),
            applied: 0,
            is_by_hand: false,
        };
        Self { recorded: model.clone(), model, since: now.monotonic }
    }

    pub fn recorded(&mut self) {
        self.recorded = self.model.clone();
    }

    /// A new process has what was recorded, and never more.
    pub fn restarted(&mut self, release: &Release, now: Now) {
        self.model = self.recorded.clone();
        self.since = now.monotonic;
        assert_eq!(release.applied, self.model.applied, "a restart is further along, or behind");
    }

    /// Whether a decision was allowed.
    pub fn decided(&self, case: Case<'_>) {
        let Case { before, decision, by, facts, now } = case;
        let next = &decision.next;
        if next == before {
            assert!(decision.weights.is_empty() && decision.hooks.is_empty(), "done without a record");
            return;
        }
        assert_eq!(next.epoch, before.epoch + 1, "an epoch was left out");
        let goes_back = next.phase == Phase::RollingBack;
        assert_eq!(decision.even_unrecorded, goes_back && next.ending == Some(Ending::RolledBack));
        match by {
            By::Restart => {
                assert!(
                    decision.weights.is_empty() && decision.close.is_empty(),
                    "a restart moved something"
                );
                assert_eq!(next.applied, before.applied);
                let resumes = before.spec.resume_after_restart;
                assert_eq!(matches!(next.phase, Phase::Holding { .. }), !resumes);
            }
            By::Itself => self.decided_itself(case),
            By::Verb(verb) => by_verb(before, decision, verb, facts),
        }
        if next.applied > before.applied {
            shifted(case);
        } else if !goes_back {
            assert_eq!(next.applied, before.applied);
        }
        if goes_back {
            rolls_back(decision);
        }
        let may_run = match before.phase {
            Phase::Confirmed => {
                let since = now.unix_seconds.saturating_sub(before.ended.expect("it was confirmed"));
                since >= before.spec.undo_window.as_secs()
            }
            Phase::RolledBack => true,
            _ => false,
        };
        assert!(decision.hooks.is_empty() || may_run && next.phase == Phase::Closed, "hooks run too early");
    }

    fn decided_itself(&self, case: Case<'_>) {
        let Case { before, decision, facts, now, .. } = case;
        let next = &decision.next;
        let holds = matches!(next.phase, Phase::Holding { .. });
        let edited = decision.edits.is_some();
        let allowed = match (&before.phase, &next.phase) {
            (Phase::Holding { .. }, phase) => *phase == Phase::RollingBack,
            (Phase::Shifting, Phase::Baking) => next.applied == before.applied + 1,
            (Phase::Baking, Phase::Judging) => {
                now.monotonic.saturating_sub(self.since) >= stage(before, before.applied - 1).1.bake
            }
            (Phase::Judging, Phase::Shifting | Phase::AwaitingConfirm) => is_cleared(before, facts),
            (Phase::Judging, Phase::Baking) => edited,
            (
                Phase::Shifting | Phase::Baking | Phase::Judging | Phase::AwaitingConfirm,
                Phase::RollingBack,
            )
            | (Phase::Confirming, Phase::Confirmed)
            | (Phase::Confirmed | Phase::RolledBack, Phase::Closed)
            | (Phase::RollingBack, Phase::RolledBack) => true,
            (from, to) => holds && before.is_open() || from == to && edited,
        };
        assert!(allowed, "{:?} to {:?} is not allowed", before.phase, next.phase);
        assert_eq!(decision.baseline, BaselineEffect::None, "nobody said confirm");
        if next.phase == Phase::RollingBack {
            assert!(may_roll_back(before, facts, now), "a rollback without a reason");
        }
        let moves = !decision.weights.is_empty() && next.phase != Phase::RollingBack;
        assert!(!moves || !matches!(before.phase, Phase::Holding { .. }), "weights moved while holding");
        let adopts = decision.edits == Some(EditsDecision::Adopted);
        assert!(!adopts || facts.frozen.is_none(), "adopted while frozen");
        assert!(!moves || edited || next.applied > before.applied, "weights moved without a shift");
    }

    /// What should be in effect after a decision.
    pub fn carried_out(&mut self, case: Case<'_>) {
        let Case { before, decision, by, facts, now } = case;
        let next = &decision.next;
        if next.entered != before.entered {
            self.since = now.monotonic;
        }
        let model = &mut self.model;
        let mut raise = |member: &Member, percent: u8| {
            model.percents.insert(member.service.clone(), percent);
            model.weights.insert(member.service.clone(), weights_at(member, percent));
        };
        if next.phase == Phase::RollingBack && before.phase != Phase::RollingBack {
            next.members.iter().for_each(|member| raise(member, 0));
        } else if next.applied > before.applied {
            let (stage, step) = stage(before, before.applied);
            for member in before.members.iter().filter(|member| stage.services.contains(&member.service)) {
                if step.percent > member.percent {
                    raise(member, step.percent.get());
                }
            }
        } else if let By::Verb(Verb::Set { service, percent }) = by {
            raise(before.member(service).expect("a member"), percent.get());
            model.is_by_hand = true;
        } else if decision.edits == Some(EditsDecision::Adopted) {
            for (service, weights) in &facts.edits {
                model.percents.insert(service.clone(), percent_of(weights));
                model.weights.insert(service.clone(), weights.clone());
            }
            model.is_by_hand = true;
        }
        model.applied = next.applied;
    }

    pub fn check(&self, release: &Release, weights: &BTreeMap<ServiceName, Weights>) {
        assert_eq!(*weights, self.model.weights, "other weights are in effect");
        for member in &release.members {
            assert_eq!(member.percent.get(), self.model.percents[&member.service], "{}", member.service);
            assert_eq!(member.weights, weights[&member.service], "{}", member.service);
        }
        let first = self.model.percents.values().next();
        let is_level = self.model.percents.values().all(|percent| Some(percent) == first);
        let may_differ = self.model.is_by_hand || release.spec.order != ReleaseOrder::Lockstep;
        assert!(is_level || may_differ, "members of a lockstep release differ: {:?}", self.model.percents);
    }
}

/// The weights from before, of every member, and the new colors' connections end.
pub fn rolls_back(decision: &Decision) {
    let members = &decision.next.members;
    for member in members {
        assert_eq!(decision.weights[&member.service], member.before, "{}", member.service);
        assert_eq!(member.percent, Percent::NONE);
    }
    let closed = decision.close.iter().filter(|close| close.color == color("green")).count();
    assert_eq!(closed, members.len(), "connections are left on the new color");
}

pub fn refused(release: &Release, verb: &Verb) {
    if let Verb::Rollback { force } = verb {
        let may = !release.is_open() || !force && is_past_return(release);
        assert!(may, "a rollback was refused");
    }
}

pub fn not_recorded(before: &Release, held: &Release) {
    assert_eq!(held.members, before.members, "what was not recorded took effect");
    assert_eq!(held.applied, before.applied);
    if before.is_open() && !matches!(before.phase, Phase::Holding { .. }) {
        assert!(matches!(held.phase, Phase::Holding { reason: HoldReason::Journal, .. }));
    }
}

/// Nothing to do, although something had to be done.
pub fn nothing_due(release: &Release, facts: &Facts) {
    if !release.is_open() {
        return;
    }
    assert!(is_past_return(release) || !is_dead(release, facts), "connections go to a color that is dead");
    if !matches!(release.phase, Phase::Holding { .. }) {
        assert!(!is_failed(release, facts), "a failed verdict was passed over");
        assert!(facts.edits.is_empty(), "an edit was passed over");
    }
}

fn by_verb(before: &Release, decision: &Decision, verb: &Verb, facts: &Facts) {
    let next = &decision.next;
    let baseline = match verb {
        Verb::Confirm { .. } => {
            assert!(
                before.phase == Phase::AwaitingConfirm && facts.frozen.is_none() && facts.edits.is_empty()
            );
            assert!(before.members.iter().all(|member| member.percent == Percent::ALL));
            BaselineEffect::New
        }
        Verb::Undo { .. } => {
            assert_eq!((before.ending, next.ending), (Some(Ending::Confirmed), Some(Ending::Undone)));
            BaselineEffect::Old
        }
        _ => BaselineEffect::None,
    };
    assert_eq!(decision.baseline, baseline);
    let goes_back = matches!(verb, Verb::Rollback { .. } | Verb::Undo { .. });
    assert_eq!(next.phase == Phase::RollingBack, goes_back);
    let forced = matches!(verb, Verb::Rollback { force: true } | Verb::Undo { force: true });
    assert!(!goes_back || forced || !is_past_return(before), "past a point of no return without force");
    let moves = matches!(verb, Verb::Set { .. } | Verb::Adopt) || next.applied > before.applied;
    assert!(!moves || facts.frozen.is_none(), "moved while frozen");
    let restates = goes_back || *verb == Verb::Discard;
    assert!(moves || restates || decision.weights.is_empty(), "{verb:?} moved weights");
    assert!(next.applied == before.applied || *verb == Verb::Next { skip_checks: true });
}

/// Whether the stage that was applied last may be left without an operator's word.
fn is_cleared(release: &Release, facts: &Facts) -> bool {
    let (stage, step) = stage(release, release.applied - 1);
    let served = |service| facts.members[service].served >= step.min_connections;
    step.percent == Percent::NONE
        || !release.spec.judgement.enabled
        || facts.verdict == Verdict::Pass && stage.services.iter().all(served)
}

fn may_roll_back(release: &Release, facts: &Facts, now: Now) -> bool {
    let rolls_back = |reaction| reaction == Reaction::Rollback;
    let waited = now.unix_seconds.saturating_sub(release.since);
    let spec = &release.spec;
    let inconclusive = release.phase == Phase::Judging && !is_cleared(release, facts);
    let late = release.phase == Phase::AwaitingConfirm && waited >= spec.confirm_deadline.as_secs();
    let reason = is_dead(release, facts)
        || facts.hard_failure.is_some() && release.members.iter().any(|member| member.percent.get() > 0)
        || is_failed(release, facts) && rolls_back(spec.judgement.on_fail)
        || inconclusive && rolls_back(spec.judgement.on_inconclusive)
        || late && rolls_back(spec.on_confirm_deadline);
    reason && !is_past_return(release)
}

/// One more stage is applied: by itself only when nothing speaks against it.
fn shifted(case: Case<'_>) {
    let Case { before, decision, by, facts, now } = case;
    assert_eq!(decision.next.applied, before.applied + 1, "more than one stage at once");
    assert!(facts.frozen.is_none(), "a shift while frozen");
    assert!(facts.edits.is_empty(), "a shift past an edit");
    let (stage, step) = stage(before, before.applied);
    for service in &stage.services {
        let known = &facts.members[service];
        let parts = f64::from(before.spec.guard.min_capacity_permille) / 1000.0;
        let needed = f64::from(step.percent.get()) / 100.0 * f64::from(known.from.all) * parts;
        assert!(f64::from(known.to.working) >= needed.max(1.0), "{service} is too small for the shift");
    }
    if *by != By::Itself {
        return;
    }
    assert_eq!(before.phase, Phase::Shifting);
    assert!(!is_failed(before, facts), "a shift past a failed verdict");
    let at = before.spec.activate_at.unwrap_or(0);
    assert!(before.applied > 0 || at <= now.unix_seconds, "a shift before its time");
    let begins = before.applied == 0 || before.stages[before.applied - 1].step != stage.step;
    let passed = |name| facts.gates.get(name) == Some(&GateState::Passed);
    assert!(!begins || step.gates.iter().all(passed), "a shift past a gate");
}
