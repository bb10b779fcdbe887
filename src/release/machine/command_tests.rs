//! What an operator's word leads to, verb by verb.

use std::collections::BTreeMap;
use std::time::Duration;

use super::testing::{Stand, percent, service, weights};
use super::{BaselineEffect, Closing, EditsDecision, Refusal, Verb, Verdict};
use crate::model::release::{Notice, Percent};
use crate::state::release::{Ending, HoldReason, Phase};

const NEXT: Verb = Verb::Next { skip_checks: false };
const SKIP: Verb = Verb::Next { skip_checks: true };
const ROLLBACK: Verb = Verb::Rollback { force: false };
const CONFIRM: Verb = Verb::Confirm { wait: true };
const UNDO: Verb = Verb::Undo { force: false };

fn set(name: &str, share: i64) -> Verb {
    Verb::Set { service: service(name), percent: percent(share) }
}

#[test]
fn next_skips_the_bake_and_not_the_checks() {
    let mut stand = Stand::new();
    assert!(matches!(stand.say(&NEXT), Err(Refusal::Phase(_))), "it is about to shift");
    stand.facts.verdict = Verdict::NoneYet;
    stand.tick();
    assert_eq!(stand.say(&NEXT).unwrap().next.phase, Phase::Judging);
    assert_eq!(stand.tick(), None, "there is no verdict");
    assert!(matches!(stand.say(&NEXT), Err(Refusal::Phase(_))));
    let skipped = stand.say(&SKIP).unwrap();
    assert!(skipped.resample && skipped.why.contains("skipped by hand"), "{}", skipped.why);
    assert_eq!(stand.release.phase, Phase::Shifting);
}

#[test]
fn skipping_checks_shifts_at_once_but_not_onto_endpoints_that_do_not_work() {
    let mut stand = Stand::with(|spec| spec.activate_at = Some(u64::MAX));
    stand.pool("servicea").to.working = 0;
    assert!(matches!(stand.say(&SKIP), Err(Refusal::Unhealthy(_))));
    stand.pool("servicea").to.working = 3;
    stand.facts.frozen = Some("year's end".into());
    assert!(matches!(stand.say(&SKIP), Err(Refusal::Frozen(_))));
    stand.facts.frozen = None;
    assert_eq!(stand.say(&SKIP).unwrap().weights.len(), 2);
    assert_eq!(stand.percents(), [10, 10]);
}

#[test]
fn a_word_goes_past_a_failed_verdict() {
    let mut stand = Stand::new();
    stand.tick();
    stand.facts.verdict = Verdict::Fail("worse".into());
    stand.tick();
    assert!(matches!(stand.say(&NEXT), Err(Refusal::Holding(_))));
    stand.say(&SKIP).unwrap();
    // The samples begin anew with the decision.
    stand.facts.verdict = Verdict::NoneYet;
    assert_eq!(stand.tick().unwrap().next.applied, 2);
    assert!(matches!(stand.say(&Verb::Resume), Err(Refusal::Phase(_))), "it does not hold");
}

#[test]
fn set_moves_one_member_and_bakes_again() {
    let mut stand = Stand::new();
    stand.tick();
    stand.until(&Phase::Judging);
    let moved = stand.say(&set("serviceb", 35)).unwrap();
    assert_eq!(
        moved.weights,
        BTreeMap::from([(service("serviceb"), weights(&[("blue", 65), ("green", 35), ("red", 0)]))])
    );
    assert!(moved.resample);
    assert_eq!((&stand.release.phase, stand.percents()), (&Phase::Baking, vec![10, 35]));
    assert!(matches!(stand.say(&set("servicec", 35)), Err(Refusal::Unknown(_))));
    stand.pool("serviceb").to.working = 1;
    assert!(matches!(stand.say(&set("serviceb", 90)), Err(Refusal::Unhealthy(_))));
    stand.say(&set("serviceb", 0)).unwrap();
    assert_eq!(stand.release.members[1].weights, weights(&[("blue", 250), ("green", 0), ("red", 0)]));
    stand.facts.frozen = Some("year's end".into());
    assert!(matches!(stand.say(&set("serviceb", 5)), Err(Refusal::Frozen(_))));
}

#[test]
fn a_hold_stops_everything_until_resumed_and_then_bakes_again() {
    let mut stand = Stand::new();
    stand.tick();
    stand.wait(299);
    stand.say(&Verb::Hold).unwrap();
    assert!(matches!(stand.say(&Verb::Hold), Err(Refusal::Holding(_))));
    assert_eq!(stand.run().held(), Some(HoldReason::Operator));
    let resumed = stand.say(&Verb::Resume).unwrap();
    assert!(resumed.resample && stand.release.phase == Phase::Baking);
    stand.tick();
    stand.wait(299);
    assert_eq!(stand.tick(), None, "the bake began anew");
}

#[test]
fn resume_is_refused_while_the_reason_lasts() {
    let mut stand = Stand::new();
    stand.facts.frozen = Some("year's end".into());
    stand.tick();
    assert!(matches!(stand.say(&Verb::Resume), Err(Refusal::Frozen(_))));
    stand.facts.frozen = None;
    stand.pool("servicea").from.working = 0;
    assert!(matches!(stand.say(&Verb::Resume), Err(Refusal::Unhealthy(_))));
    stand.pool("servicea").from.working = 3;
    stand.facts.edits = BTreeMap::from([(service("servicea"), weights(&[("blue", 1)]))]);
    assert!(matches!(stand.say(&Verb::Resume), Err(Refusal::Undecided(_))));
}

#[test]
fn confirm_makes_the_new_color_the_baseline_and_drains_the_old_one() {
    let mut stand = Stand::new();
    assert!(matches!(stand.say(&CONFIRM), Err(Refusal::Phase(_))));
    stand.until(&Phase::AwaitingConfirm);
    stand.facts.frozen = Some("year's end".into());
    assert!(matches!(stand.say(&CONFIRM), Err(Refusal::Frozen(_))));
    stand.facts.frozen = None;
    stand.pool("servicea").to.working = 2;
    assert!(matches!(stand.say(&CONFIRM), Err(Refusal::Unhealthy(_))));
    stand.pool("servicea").to.working = 3;
    let confirmed = stand.say(&CONFIRM).unwrap();
    assert_eq!((confirmed.baseline, confirmed.weights.len()), (BaselineEffect::New, 0));
    assert!(confirmed.close.iter().all(|c| c.color.as_str() == "blue" && c.how == Closing::Drain));
    assert_eq!(confirmed.notices[0].0, Notice::Confirmed);
    assert_eq!((&stand.release.phase, stand.release.ending), (&Phase::Confirming, Some(Ending::Confirmed)));
    assert!(!stand.release.is_open() && stand.release.keeps_members());
    assert!(matches!(stand.say(&ROLLBACK), Err(Refusal::Phase(_))), "undo is the word now");
}

#[test]
fn confirm_wants_everything_on_the_new_color_and_need_not_wait_for_the_drain() {
    let mut stand = Stand::new();
    stand.until(&Phase::AwaitingConfirm);
    stand.say(&set("servicea", 90)).unwrap();
    assert_eq!(stand.release.phase, Phase::AwaitingConfirm);
    assert!(matches!(stand.say(&CONFIRM), Err(Refusal::Phase(_))));
    stand.say(&set("servicea", 100)).unwrap();
    assert_eq!(stand.say(&Verb::Confirm { wait: false }).unwrap().next.phase, Phase::Confirmed);
}

#[test]
fn promise_11_a_rollback_is_allowed_in_every_open_state_and_idempotent() {
    let mut stand = Stand::new();
    let mut seen = vec![stand.release.clone()];
    for phase in [Phase::Baking, Phase::Judging, Phase::AwaitingConfirm] {
        seen.push(stand.until(&phase).release.clone());
        stand.say(&Verb::Hold).unwrap();
        seen.push(stand.release.clone());
        stand.say(&Verb::Resume).unwrap();
    }
    stand.facts.frozen = Some("year's end".into());
    stand.facts.edits = BTreeMap::from([(service("servicea"), weights(&[("blue", 1)]))]);
    stand.facts.members.clear();
    for release in seen {
        stand.release = release;
        let back = stand.say(&ROLLBACK).unwrap();
        assert!(back.even_unrecorded && back.close.len() == 2);
        let before = weights(&[("blue", 250), ("green", 0), ("red", 0)]);
        assert!(back.weights.len() == 2 && back.weights.values().all(|weights| *weights == before));
        assert!(stand.release.members.iter().all(|member| member.percent == Percent::NONE));
        let again = stand.say(&ROLLBACK).unwrap();
        assert!(again.weights.is_empty() && again.next == back.next);
    }
}

#[test]
fn promise_11_rollback_and_confirm_say_how_many_connections_are_left() {
    let mut stand = Stand::new();
    stand.until(&Phase::AwaitingConfirm);
    for (name, age) in [("servicea", 90), ("serviceb", 7200)] {
        let known = stand.pool(name);
        (known.from.open, known.to.open) = (3, 215);
        (known.from.oldest, known.to.oldest) = (Duration::from_secs(age), Duration::from_secs(5));
    }
    let awaiting = stand.release.clone();
    let back = stand.say(&ROLLBACK).unwrap();
    assert!(back.why.ends_with("(430 connections have to end, the oldest is 5s old)"), "{}", back.why);
    assert_eq!(back.notices, [(Notice::Rollback, back.why.clone())]);
    stand.release = awaiting;
    let confirmed = stand.say(&CONFIRM).unwrap();
    assert!(
        confirmed.why.ends_with("(6 connections have to end, the oldest is 2h old)"),
        "{}",
        confirmed.why
    );
}

#[test]
fn past_a_point_of_no_return_rollback_and_undo_need_force() {
    let mut stand = Stand::with(|spec| spec.steps[1].point_of_no_return = true);
    stand.tick();
    let early = stand.release.clone();
    stand.until(&Phase::AwaitingConfirm);
    assert!(matches!(stand.say(&ROLLBACK), Err(Refusal::NeedsForce(_))));
    let late = stand.release.clone();
    assert!(stand.say(&Verb::Rollback { force: true }).is_ok());
    stand.release = early;
    assert!(stand.say(&ROLLBACK).is_ok());
    stand.release = late;
    stand.say(&CONFIRM).unwrap();
    assert!(matches!(stand.say(&UNDO), Err(Refusal::NeedsForce(_))));
    assert!(stand.say(&Verb::Undo { force: true }).is_ok());
}

#[test]
fn undo_goes_back_in_one_swap_while_its_window_lasts() {
    let mut stand = Stand::new();
    stand.tick();
    assert!(matches!(stand.say(&UNDO), Err(Refusal::Phase(_))), "an open release is rolled back");
    stand.until(&Phase::AwaitingConfirm).say(&CONFIRM).unwrap();
    let confirmed = stand.release.clone();
    stand.pool("serviceb").from.working = 0;
    assert!(matches!(stand.say(&UNDO), Err(Refusal::NeedsForce(_))));
    stand.pool("serviceb").from.working = 1;
    stand.facts.frozen = Some("year's end".into());
    let undone = stand.say(&UNDO).unwrap();
    assert_eq!((undone.baseline, undone.weights.len()), (BaselineEffect::Old, 2));
    assert_eq!((&stand.release.phase, stand.release.ending), (&Phase::RollingBack, Some(Ending::Undone)));
    stand.release = confirmed;
    stand.wait(24 * 3600);
    assert!(matches!(stand.say(&UNDO), Err(Refusal::Phase(_))));
}

#[test]
fn adopt_and_discard_end_a_hold_for_an_edit_and_no_other() {
    let edit = weights(&[("blue", 30), ("green", 70), ("red", 0)]);
    let mut stand = Stand::new();
    assert!(matches!(stand.say(&Verb::Adopt), Err(Refusal::Unknown(_))));
    stand.tick();
    stand.facts.edits = BTreeMap::from([(service("servicea"), edit.clone())]);
    stand.tick();
    let held = stand.release.clone();
    let adopted = stand.say(&Verb::Adopt).unwrap();
    assert_eq!((adopted.edits, stand.percents()), (Some(EditsDecision::Adopted), vec![70, 10]));
    assert_eq!((&stand.release.phase, &stand.release.members[0].weights), (&Phase::Baking, &edit));
    stand.release = held;
    let discarded = stand.say(&Verb::Discard).unwrap();
    assert_eq!((discarded.edits, stand.percents()), (Some(EditsDecision::Discarded), vec![10, 10]));
    assert_eq!(stand.release.phase, Phase::Baking);
    stand.facts.edits.clear();
    stand.say(&Verb::Hold).unwrap();
    stand.facts.edits = BTreeMap::from([(service("servicea"), edit)]);
    stand.say(&Verb::Adopt).unwrap();
    assert_eq!(stand.held(), Some(HoldReason::Operator));
}

#[test]
fn what_has_ended_takes_no_word_but_its_own() {
    let mut stand = Stand::new();
    stand.say(&ROLLBACK).unwrap();
    stand.until(&Phase::Closed);
    for verb in [NEXT, SKIP, Verb::Hold, Verb::Resume, CONFIRM, Verb::Adopt, Verb::Discard, UNDO] {
        assert!(matches!(stand.say(&verb), Err(Refusal::Phase(_))), "{verb:?}");
    }
}
