//! What a release does by itself, rule by rule.

use std::collections::BTreeMap;
use std::time::Duration;

use super::testing::{Stand, percent, service, weights};
use super::{Closing, Decision, EditsDecision, GateState, Verb, Verdict, restored, shift_failed, superseded};
use crate::model::release::{Gate, GateCheck, Notice, OnManualEdit, Percent, Reaction, ReleaseStep};
use crate::state::release::{Ending, HoldReason, Phase, ReleaseId, Stage};

fn notices(decision: &Decision) -> Vec<Notice> {
    decision.notices.iter().map(|(notice, _)| *notice).collect()
}

#[test]
fn a_shift_moves_all_members_at_one_instant_and_then_bakes() {
    let mut stand = Stand::new();
    let shift = stand.tick().unwrap();
    let tenth = weights(&[("blue", 90), ("green", 10), ("red", 0)]);
    assert_eq!(shift.weights.len(), 2);
    assert!(shift.weights.values().all(|weights| *weights == tenth) && shift.resample);
    assert_eq!((stand.release.applied, &stand.release.phase), (1, &Phase::Baking));
    assert!(stand.release.members.iter().all(|member| member.weights == tenth));
    stand.wait(299);
    assert_eq!(stand.tick(), None);
    stand.wait(1);
    assert_eq!(stand.tick().unwrap().next.phase, Phase::Judging);
    assert_eq!(stand.tick().unwrap().next.phase, Phase::Shifting);
    let all = stand.tick().unwrap();
    assert_eq!(all.weights[&service("servicea")], weights(&[("blue", 0), ("green", 100), ("red", 0)]));
    stand.wait(300).tick();
    assert_eq!(notices(&stand.tick().unwrap()), [Notice::Awaiting]);
    assert_eq!(stand.release.phase, Phase::AwaitingConfirm);
    assert_eq!(stand.release.epoch, 6);
}

#[test]
fn a_preview_step_moves_nothing_and_is_not_judged() {
    let mut stand = Stand::with(|spec| spec.steps[0] = ReleaseStep::at(Percent::NONE));
    stand.facts.verdict = Verdict::NoneYet;
    assert!(stand.tick().unwrap().weights.is_empty());
    stand.wait(300).tick();
    assert_eq!(stand.tick().unwrap().next.phase, Phase::Shifting);
}

#[test]
fn a_release_waits_for_its_second_on_the_wall_clock() {
    let mut stand = Stand::with(|spec| spec.activate_at = Some(1010));
    stand.facts.frozen = Some("not yet of interest".into());
    stand.wait(9);
    assert_eq!(stand.tick(), None);
    stand.facts.frozen = None;
    stand.wait(1);
    assert_eq!(stand.tick().unwrap().next.applied, 1);
}

fn gated() -> Stand {
    let mut stand = Stand::with(|spec| {
        spec.steps[0].gates = vec!["smoke".into()];
        let check = GateCheck::Exec { program: "smoke".into() };
        let gate = Gate { name: "smoke".into(), check, timeout: Duration::from_secs(60) };
        spec.gates.insert("smoke".into(), gate);
    });
    let asked = stand.tick().unwrap();
    assert_eq!(asked.gates, ["smoke"]);
    assert_eq!(asked.next.epoch, 0, "nothing to record");
    stand
}

#[test]
fn a_gate_is_asked_once_and_must_pass_before_the_shift() {
    let mut stand = gated();
    stand.facts.gates.insert("smoke".into(), GateState::Running);
    assert_eq!(stand.wait(89).tick(), None);
    stand.facts.gates.insert("smoke".into(), GateState::Passed);
    assert_eq!(stand.tick().unwrap().next.applied, 1);
}

#[test]
fn a_gate_that_fails_or_cannot_say_or_says_nothing_holds() {
    for said in [GateState::Failed("exit 1".into()), GateState::Inconclusive("no data".into())] {
        let mut stand = gated();
        stand.facts.gates.insert("smoke".into(), said);
        assert!(stand.tick().unwrap().weights.is_empty());
        assert_eq!(stand.held(), Some(HoldReason::Gate));
        stand.say(&Verb::Resume).unwrap();
        assert_eq!(stand.tick().unwrap().gates, ["smoke"], "a resumed shift asks again");
    }
    let mut stand = gated();
    stand.wait(91).tick();
    assert_eq!(stand.held(), Some(HoldReason::Gate));
}

#[test]
fn an_ordered_release_bakes_after_each_wave_and_asks_gates_once_a_step() {
    let mut stand = gated();
    let wave = |name: &str| Stage { step: 0, services: vec![service(name)] };
    let last = stand.release.stages[1].clone();
    stand.release.stages = vec![wave("servicea"), wave("serviceb"), last];
    stand.facts.gates.insert("smoke".into(), GateState::Passed);
    stand.tick();
    assert_eq!(stand.percents(), [10, 0]);
    stand.facts.gates.clear();
    stand.pool("serviceb").served = 0;
    stand.wait(300).tick();
    stand.tick();
    assert_eq!(stand.tick().unwrap().gates, Vec::<String>::new());
    assert_eq!(stand.percents(), [10, 10]);
}

#[test]
fn a_frozen_shift_holds_and_goes_on_only_by_word() {
    let mut stand = Stand::new();
    stand.facts.frozen = Some("year's end".into());
    assert_eq!(notices(&stand.tick().unwrap()), [Notice::Hold]);
    assert_eq!(stand.held(), Some(HoldReason::Frozen));
    stand.facts.frozen = None;
    assert_eq!(stand.run().held(), Some(HoldReason::Frozen));
}

#[test]
fn too_few_endpoints_of_the_new_color_refuse_the_step() {
    let mut stand = Stand::new();
    stand.pool("serviceb").to.working = 0;
    assert!(stand.tick().unwrap().weights.is_empty());
    assert_eq!((stand.held(), stand.percents()), (Some(HoldReason::PoolUnhealthy), vec![0, 0]));
    let mut stand = Stand::new();
    stand.tick();
    // A tenth of three endpoints is one; all of them are three.
    stand.pool("serviceb").to.working = 2;
    assert_eq!(stand.wait(300).tick().unwrap().next.phase, Phase::Judging);
    stand.tick();
    stand.tick();
    assert_eq!((stand.held(), stand.percents()), (Some(HoldReason::PoolUnhealthy), vec![10, 10]));
}

#[test]
fn nothing_shifts_while_nothing_is_known_of_a_member() {
    let mut stand = Stand::new();
    stand.facts.members.remove(&service("serviceb"));
    assert_eq!(stand.tick(), None);
}

#[test]
fn a_new_color_that_dies_rolls_back_at_once_even_while_held() {
    for held in [false, true] {
        let mut stand = Stand::new();
        stand.tick();
        if held {
            stand.say(&Verb::Hold).unwrap();
        }
        stand.pool("serviceb").to.working = 0;
        let back = stand.tick().unwrap();
        assert_eq!(notices(&back), [Notice::Rollback, Notice::Fail]);
        assert_eq!(back.weights[&service("servicea")], weights(&[("blue", 250), ("green", 0), ("red", 0)]));
        assert!(back.weights.len() == 2 && back.even_unrecorded && back.resample);
        assert!(back.close.iter().all(|close| close.color.as_str() == "green"));
        assert_eq!(back.close[0].how, Closing::After(Duration::from_secs(5)));
        assert_eq!(stand.release.phase, Phase::RollingBack);
    }
}

#[test]
fn endpoints_of_which_nothing_is_known_yet_are_waited_for() {
    let mut stand = Stand::new();
    let new = &mut stand.pool("serviceb").to;
    (new.working, new.pending) = (0, 3);
    assert_eq!(stand.tick(), None, "neither a shift nor a hold");
    stand.pool("serviceb").to.working = 3;
    stand.tick();
    let known = stand.pool("serviceb");
    (known.to.working, known.from.working, known.from.pending) = (0, 0, 3);
    assert_eq!(stand.tick(), None, "a restart, a moment before the first checks");
    stand.pool("serviceb").from.working = 3;
    assert_eq!(stand.tick(), None, "the old color's came first");
    stand.pool("serviceb").to.pending = 0;
    stand.tick();
    assert_eq!(stand.release.phase, Phase::RollingBack);
}

#[test]
fn where_neither_color_works_a_rollback_would_save_nobody() {
    let mut stand = Stand::new();
    stand.tick();
    stand.pool("servicea").to.working = 0;
    stand.pool("servicea").from.working = 0;
    stand.tick();
    assert_eq!(stand.held(), Some(HoldReason::PoolUnhealthy));
    stand.pool("servicea").from.working = 1;
    stand.tick();
    assert_eq!(stand.release.phase, Phase::RollingBack);
}

#[test]
fn failures_in_a_row_roll_back_once_connections_are_taken() {
    let mut stand = Stand::new();
    stand.facts.hard_failure = Some("10 failures in a row".into());
    stand.tick();
    assert_eq!(stand.held(), Some(HoldReason::Failed), "nothing moved yet");
    let mut stand = Stand::new();
    stand.tick();
    stand.facts.hard_failure = Some("10 failures in a row".into());
    stand.tick();
    assert_eq!(stand.release.ending, Some(Ending::RolledBack));
}

#[test]
fn an_old_color_that_dies_holds_as_long_as_it_has_weight() {
    let mut stand = Stand::new();
    stand.tick();
    stand.pool("servicea").from.working = 0;
    stand.tick();
    assert_eq!(stand.held(), Some(HoldReason::PoolUnhealthy));
    let mut stand = Stand::new();
    stand.until(&Phase::AwaitingConfirm).pool("servicea").from.working = 0;
    assert_eq!(stand.tick(), None);
}

#[test]
fn a_failed_verdict_holds_or_rolls_back_as_told_and_is_never_passed_by_itself() {
    let mut stand = Stand::new();
    stand.tick();
    stand.facts.verdict = Verdict::Fail("4 of 300 failed".into());
    assert_eq!(notices(&stand.tick().unwrap()), [Notice::Hold, Notice::Fail]);
    assert_eq!(stand.run().held(), Some(HoldReason::Failed));
    let mut stand = Stand::with(|spec| spec.judgement.on_fail = Reaction::Rollback);
    stand.until(&Phase::AwaitingConfirm).facts.verdict = Verdict::Fail("slow".into());
    stand.tick();
    assert_eq!((&stand.release.phase, stand.percents()), (&Phase::RollingBack, vec![0, 0]));
}

#[test]
fn too_little_traffic_is_inconclusive_after_max_wait_whatever_the_verdict_says() {
    for verdict in [Verdict::Pass, Verdict::NoneYet, Verdict::Inconclusive("too few".into())] {
        let mut stand = Stand::new();
        stand.facts.verdict = verdict;
        stand.pool("serviceb").served = 299;
        stand.until(&Phase::Judging).tick();
        stand.wait(30 * 60 - 1);
        assert_eq!(stand.tick(), None);
        stand.wait(1).tick();
        assert_eq!((stand.held(), stand.percents()), (Some(HoldReason::Inconclusive), vec![10, 10]));
    }
    let mut stand = Stand::with(|spec| spec.judgement.on_inconclusive = Reaction::Rollback);
    stand.facts.verdict = Verdict::NoneYet;
    stand.until(&Phase::RollingBack);
}

#[test]
fn without_a_judgement_a_baked_step_goes_on() {
    let mut stand = Stand::with(|spec| spec.judgement.enabled = false);
    stand.facts.verdict = Verdict::Fail("not asked".into());
    stand.pool("servicea").served = 0;
    stand.until(&Phase::AwaitingConfirm);
}

#[test]
fn past_a_point_of_no_return_nothing_rolls_back_by_itself() {
    let mut stand = Stand::with(|spec| spec.steps[0].point_of_no_return = true);
    stand.tick();
    stand.pool("servicea").to.working = 0;
    stand.tick();
    assert_eq!(stand.held(), Some(HoldReason::Failed));
    assert_eq!(stand.tick(), None);
}

#[test]
fn edits_of_the_file_hold_or_are_adopted_or_discarded() {
    let edit = BTreeMap::from([(service("servicea"), weights(&[("blue", 60), ("green", 20), ("red", 0)]))]);
    let edited = |policy| {
        let mut stand = Stand::with(|spec| spec.on_manual_edit = policy);
        stand.tick();
        stand.facts.edits.clone_from(&edit);
        let decision = stand.tick().unwrap();
        (stand, decision)
    };
    let (stand, decision) = edited(OnManualEdit::Hold);
    assert_eq!((stand.held(), decision.edits), (Some(HoldReason::ManualEdit), None));
    let (stand, decision) = edited(OnManualEdit::Adopt);
    assert_eq!((stand.percents(), decision.edits), (vec![25, 10], Some(EditsDecision::Adopted)));
    assert_eq!(decision.weights, edit);
    assert_eq!(stand.release.phase, Phase::Baking);
    let (stand, decision) = edited(OnManualEdit::Discard);
    assert_eq!((stand.percents(), decision.edits), (vec![10, 10], Some(EditsDecision::Discarded)));
    assert_eq!(decision.weights[&service("servicea")], weights(&[("blue", 90), ("green", 10), ("red", 0)]));
}

#[test]
fn edits_that_give_weight_to_a_third_color_are_never_adopted() {
    let mut stand = Stand::with(|spec| spec.on_manual_edit = OnManualEdit::Adopt);
    stand.facts.edits = BTreeMap::from([(service("servicea"), weights(&[("blue", 60), ("red", 20)]))]);
    stand.tick();
    assert_eq!((stand.held(), stand.percents()), (Some(HoldReason::ManualEdit), vec![0, 0]));
}

#[test]
fn a_forgotten_confirm_meets_its_deadline_on_the_wall_clock() {
    let mut stand = Stand::new();
    stand.until(&Phase::AwaitingConfirm);
    stand.now.unix_seconds += 24 * 3600 - 1;
    assert_eq!(stand.tick(), None);
    stand.now.unix_seconds += 1;
    assert_eq!(notices(&stand.tick().unwrap()), [Notice::Hold]);
    assert_eq!(stand.held(), Some(HoldReason::Deadline));
    stand.say(&Verb::Resume).unwrap();
    assert_eq!(stand.tick(), None, "the deadline begins anew");
    let mut stand = Stand::with(|spec| spec.on_confirm_deadline = Reaction::Rollback);
    stand.until(&Phase::AwaitingConfirm).wait(24 * 3600).tick();
    assert_eq!(stand.release.ending, Some(Ending::RolledBack));
}

#[test]
fn a_wall_clock_that_jumps_does_not_shorten_a_bake() {
    let mut stand = Stand::new();
    stand.tick();
    stand.now.unix_seconds += 1_000_000;
    assert_eq!(stand.tick(), None);
    stand.now.unix_seconds = 0;
    stand.now.monotonic += Duration::from_secs(300);
    assert_eq!(stand.tick().unwrap().next.phase, Phase::Judging);
}

#[test]
fn a_confirmed_release_closes_after_its_undo_window_and_runs_its_hooks() {
    let mut stand = Stand::with(|spec| spec.on_confirmed = vec!["retire-old".into()]);
    stand.until(&Phase::AwaitingConfirm).say(&Verb::Confirm { wait: true }).unwrap();
    stand.facts.draining_left = 3;
    assert_eq!(stand.tick(), None);
    stand.facts.draining_left = 0;
    assert_eq!(stand.tick().unwrap().next.phase, Phase::Confirmed);
    assert_eq!(stand.wait(24 * 3600 - 1).tick(), None);
    assert_eq!(stand.wait(1).tick().unwrap().hooks, ["retire-old"]);
    assert_eq!((stand.tick(), &stand.release.phase), (None, &Phase::Closed));
}

#[test]
fn a_rollback_is_complete_when_nothing_is_left_and_then_runs_its_hooks() {
    let mut stand = Stand::with(|spec| spec.on_rolled_back = vec!["retire-new".into()]);
    stand.tick();
    stand.say(&Verb::Rollback { force: false }).unwrap();
    stand.facts.draining_left = 1;
    assert_eq!(stand.tick(), None);
    stand.facts.draining_left = 0;
    assert_eq!(notices(&stand.tick().unwrap()), [Notice::Rollback]);
    assert_eq!(stand.tick().unwrap().hooks, ["retire-new"]);
    assert_eq!((stand.tick(), &stand.release.phase), (None, &Phase::Closed));
}

#[test]
fn a_rollback_does_not_wait_for_those_who_come_again_and_again() {
    let mut stand = Stand::new();
    stand.tick();
    stand.say(&Verb::Rollback { force: false }).unwrap();
    stand.facts.draining_left = 2;
    assert_eq!(stand.tick(), None);
    let close_after = stand.release.spec.rollback_close_after.as_secs();
    assert_eq!(stand.wait(close_after + 9).tick(), None);
    let decision = stand.wait(1).tick().unwrap();
    assert_eq!(decision.next.phase, Phase::RolledBack);
    assert!(decision.why.contains("2 came"), "{}", decision.why);
}

#[test]
fn promise_12_a_restart_holds_and_moves_nothing() {
    let mut stand = Stand::new();
    stand.tick();
    let held = restored(&stand.release, stand.now).unwrap();
    assert!(held.weights.is_empty() && held.next.applied == 1);
    assert!(matches!(held.next.phase, Phase::Holding { reason: HoldReason::Restart, .. }));
    assert_eq!(restored(&held.next, stand.now), None);
}

#[test]
fn a_restart_that_may_go_on_bakes_again() {
    let mut stand = Stand::with(|spec| spec.resume_after_restart = true);
    stand.until(&Phase::Judging);
    let resumed = restored(&stand.release, stand.now).unwrap();
    assert_eq!((resumed.next.phase, resumed.weights.len()), (Phase::Baking, 0));
    stand.release.phase = Phase::Baking;
    assert_eq!(restored(&stand.release, stand.now), None);
}

#[test]
fn a_shift_that_could_not_be_recorded_holds() {
    let mut stand = Stand::new();
    let held = shift_failed(&stand.release, "no space left", stand.now);
    assert!(matches!(&held.phase, Phase::Holding { reason: HoldReason::Journal, .. }) && held.applied == 0);
    stand.release = held;
    assert_eq!(stand.run().held(), Some(HoldReason::Journal));
    stand.say(&Verb::Resume).unwrap();
    assert_eq!(stand.tick().unwrap().next.applied, 1);
}

#[test]
fn another_release_of_its_members_ends_the_undo_window_without_hooks() {
    let mut stand = Stand::with(|spec| spec.on_confirmed = vec!["retire-old".into()]);
    let by = ReleaseId("shop-20261124-1".into());
    assert_eq!(superseded(&stand.release, &by, stand.now), None);
    stand.until(&Phase::AwaitingConfirm).say(&Verb::Confirm { wait: false }).unwrap();
    let closed = superseded(&stand.release, &by, stand.now).unwrap();
    assert_eq!((closed.next.phase, closed.hooks.len()), (Phase::Closed, 0));
}

#[test]
fn a_shift_never_takes_back_what_was_given_by_hand() {
    let mut stand = Stand::new();
    stand.say(&Verb::Set { service: service("servicea"), percent: percent(40) }).unwrap();
    let shift = stand.tick().unwrap();
    assert_eq!((stand.percents(), shift.weights.len()), (vec![40, 10], 1));
}
