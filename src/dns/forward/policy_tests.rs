//! The policy with a clock of its own: what each outcome leads to, and that every race ends in time.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn udp(candidate: u8) -> Step {
    Step::Ask(candidate, Manner::Udp)
}

#[test]
fn the_first_is_asked_and_its_answer_ends_the_race() {
    let start = Instant::now();
    let (mut race, step) = Race::start(&[1, 0], start);
    assert_eq!(step, udp(1));
    assert_eq!(race.due(), start + PATIENCE);
    assert_eq!(race.answered(1, Outcome::Answered, start + MS), Step::Finish);
    assert!(race.is_answered());
}

#[test]
fn nobody_to_ask_is_the_end() {
    assert_eq!(Race::start(&[], Instant::now()).1, Step::Finish);
}

#[test]
fn after_the_patience_the_next_is_asked_too_and_the_first_may_still_win() {
    let start = Instant::now();
    let (mut race, _) = Race::start(&[0, 1], start);
    assert_eq!(race.passed(start + MS * 399), (None, Step::Wait));
    assert_eq!(race.passed(start + PATIENCE), (Some(0), udp(1)));
    assert_eq!(race.due(), start + PATIENCE * 2);
    assert_eq!(race.answered(0, Outcome::Answered, start + PATIENCE + MS), Step::Finish);
}

#[test]
fn what_does_not_help_leads_to_the_next_at_once() {
    for outcome in [Outcome::Failed, Outcome::Unwilling, Outcome::Unreachable] {
        let start = Instant::now();
        let (mut race, _) = Race::start(&[0, 1, 2], start);
        assert_eq!(race.answered(0, outcome, start + MS), udp(1));
        assert_eq!(race.due(), start + MS + PATIENCE);
        assert_eq!(race.passed(start + MS + PATIENCE), (Some(1), udp(2)));
        assert_eq!(race.answered(2, outcome, start + MS * 600), Step::Wait, "1 may still answer");
        assert_eq!(race.answered(1, outcome, start + MS * 700), Step::Finish);
        assert!(!race.is_answered());
    }
}

#[test]
fn a_single_upstream_is_asked_again_every_400_ms_until_the_budget_is_over() {
    let start = Instant::now();
    let (mut race, _) = Race::start(&[0], start);
    for round in 1..=4 {
        assert_eq!(race.due(), start + PATIENCE * round);
        assert_eq!(race.passed(start + PATIENCE * round), (Some(0), udp(0)));
    }
    assert_eq!(race.due(), start + BUDGET);
    assert_eq!(race.passed(start + BUDGET), (Some(0), Step::Finish));
}

#[test]
fn who_has_failed_is_not_asked_again() {
    let start = Instant::now();
    let (mut race, _) = Race::start(&[0, 1], start);
    race.answered(0, Outcome::Failed, start);
    assert_eq!(race.passed(start + PATIENCE), (Some(1), udp(1)));
    assert_eq!(race.passed(start + PATIENCE * 2), (Some(1), udp(1)));
}

#[test]
fn truncation_leads_to_tcp_which_has_its_own_patience() {
    let start = Instant::now();
    let (mut race, _) = Race::start(&[0, 1], start);
    assert_eq!(race.answered(0, Outcome::Truncated, start + MS * 300), Step::Ask(0, Manner::Tcp));
    assert_eq!(race.answered(0, Outcome::Truncated, start + MS * 301), Step::Wait, "a repeated answer");
    assert_eq!(race.due(), start + MS * 700);
    assert_eq!(race.passed(start + MS * 700), (Some(0), udp(1)));
    assert_eq!(race.answered(0, Outcome::Unreachable, start + MS * 800), Step::Wait);
    assert_eq!(race.answered(1, Outcome::Answered, start + MS * 900), Step::Finish);
}

#[test]
fn a_server_without_edns_is_asked_once_more_without() {
    let start = Instant::now();
    let (mut race, _) = Race::start(&[0, 1], start);
    assert_eq!(race.answered(0, Outcome::NoEdns, start), Step::Ask(0, Manner::UdpWithoutEdns));
    assert_eq!(race.answered(0, Outcome::NoEdns, start + MS), Step::Wait, "to the question with an OPT");
    assert_eq!(race.answered(0, Outcome::Unwilling, start + MS), udp(1));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Answered),
        Just(Outcome::Truncated),
        Just(Outcome::NoEdns),
        Just(Outcome::Failed),
        Just(Outcome::Unwilling),
        Just(Outcome::Unreachable),
    ]
}

proptest! {
    /// Whatever upstreams do, a race ends in time, asks no more than it may, and is woken whenever it waits.
    #[test]
    fn every_race_ends_within_the_budget(
        count in 1_u8..=8,
        events in proptest::collection::vec((0_u8..9, outcome(), 0_u64..500), 0..40),
    ) {
        let start = Instant::now();
        let order: Vec<u8> = (0..count).rev().collect();
        let (mut race, mut step) = Race::start(&order, start);
        let (mut now, mut asked, mut events) = (start, Vec::new(), events.into_iter());
        for _ in 0..200 {
            if let Step::Ask(candidate, manner) = step {
                prop_assert!(candidate < count);
                asked.push((candidate, manner));
            }
            if step == Step::Finish {
                break;
            }
            prop_assert!(race.due() > now && race.due() <= start + BUDGET, "woken in time");
            prop_assert!((0..count).any(|candidate| race.waits_for(candidate)), "somebody may answer");
            step = match events.next() {
                Some((candidate, outcome, after)) if now + MS * u32::try_from(after).unwrap() < race.due() => {
                    now += MS * u32::try_from(after).unwrap();
                    race.answered(candidate % count, outcome, now)
                }
                _ => {
                    now = race.due();
                    race.passed(now).1
                }
            };
        }
        prop_assert_eq!(step, Step::Finish);
        prop_assert!(now <= start + BUDGET);
        let streams = asked.iter().filter(|(_, manner)| *manner == Manner::Tcp).count();
        prop_assert!(streams <= usize::from(count), "one stream for each at most");
        prop_assert!(asked.len() <= 3 * usize::from(count) + 5);
    }
}
