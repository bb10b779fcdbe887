//! Verdicts about made-up facts.

use std::time::Duration;

use super::*;
use crate::model::release::{Judgement, Percent, Reaction};
use crate::model::{ColorName, ServiceName};

/// The settings of these tests.
pub fn judgement() -> Judgement {
    Judgement {
        enabled: true,
        on_fail: Reaction::Hold,
        on_inconclusive: Reaction::Hold,
        consecutive_failures_max: 10,
        failures_max_per_10000: None,
        first_byte_ratio_max_percent: 130,
        first_byte_floor: Duration::from_millis(20),
    }
}

/// A stage with members of the new and the old color's samples.
pub fn stage(percent: i64, samples: Vec<(Sample, Sample)>) -> StageFacts {
    let member = |(index, (new, old)): (usize, _)| MemberFacts {
        service: ServiceName::parse(&format!("service{index}")).unwrap(),
        from: ColorName::parse("blue").unwrap(),
        to: ColorName::parse("green").unwrap(),
        old,
        new,
        before: None,
        by_client: false,
    };
    StageFacts {
        percent: Percent::new(percent).unwrap(),
        min_connections: 300,
        comparisons: 6,
        members: samples.into_iter().enumerate().map(member).collect(),
    }
}

/// A color that served so many connections well, in 5 ms each.
pub fn works(connections: u64) -> Sample {
    let bounds = FirstBytes::bounds();
    let mut counts = vec![0; bounds.len() + 1];
    counts[bounds.partition_point(|bound| *bound < 0.005)] = connections;
    let first_byte = FirstBytes { counts };
    Sample { tried: connections, served: connections, ended: connections, first_byte, ..Sample::default() }
}

fn verdict(new: Sample, old: Sample) -> Verdict {
    judge(&judgement(), &stage(50, vec![(new, old)]))
}

fn finding(verdict: &Verdict, signal: Signal) -> &Finding {
    verdict.members[0].findings.iter().find(|finding| finding.signal == signal).unwrap()
}

#[test]
fn an_equally_good_color_passes_and_the_sentence_says_what_is_known() {
    let new = Sample { reset_before: 3, ..works(1204) };
    let verdict = verdict(new, Sample { reset_before: 2, ..works(1200) });
    assert_eq!((verdict.kind, verdict.missing), (VerdictKind::Pass, 0));
    assert_eq!(
        verdict.members[0].says,
        "green is not found worse than blue: 3 of 1,204 (0.25 %) failed, at most 0.64 % of all with 95 % confidence; \
         of blue 2 of 1,200 (0.17 %)."
    );
    assert!(verdict.notes.is_empty());
}

#[test]
fn too_few_connections_are_inconclusive_and_the_shortfall_is_said() {
    let verdict = verdict(works(212), works(210));
    assert_eq!((verdict.kind, verdict.missing), (VerdictKind::Inconclusive, 88));
    assert_eq!(verdict.members[0].says, "212 connections to green are too few: 88 more are asked for.");
}

#[test]
fn each_kind_of_fault_fails_by_its_own_signal() {
    type Spoil = fn(&mut Sample);
    let cases: [(Signal, Spoil); 7] = [
        (Signal::Connect, |sample| sample.failed = 100),
        (Signal::ResetBefore, |sample| sample.reset_before = 100),
        (Signal::Empty, |sample| sample.empty = 100),
        (Signal::Unanswered, |sample| sample.unanswered = 100),
        (Signal::Silent, |sample| sample.silent = 100),
        (Signal::ResetAfter, |sample| sample.reset_after = 100),
        (Signal::Early, |sample| sample.early = 100),
    ];
    for (signal, spoil) in cases {
        let (mut bad, good) = (works(1000), works(1000));
        spoil(&mut bad);
        let found = verdict(bad.clone(), good.clone());
        assert_eq!(
            (found.kind, finding(&found, signal).kind),
            (VerdictKind::Fail, VerdictKind::Fail),
            "{signal:?}"
        );
        assert!(found.members[0].says.ends_with("That is no chance."), "{}", found.members[0].says);
        // The other way round, and where both do it, nothing is held against the new color.
        assert_eq!(verdict(good, bad.clone()).kind, VerdictKind::Pass, "{signal:?}");
        assert_eq!(verdict(bad.clone(), bad).kind, VerdictKind::Pass, "{signal:?}");
    }
    let stalled = Sample { stalled: 100, ..works(1000) };
    assert_eq!(finding(&verdict(stalled, works(1000)), Signal::Stalled).kind, VerdictKind::Fail);
}

#[test]
fn a_failure_needs_no_minimum_and_says_how_sure_it_is() {
    let refuses = Sample { tried: 40, failed: 40, ..Sample::default() };
    let verdict = verdict(refuses, works(40));
    assert_eq!((verdict.kind, verdict.missing), (VerdictKind::Fail, 260));
    let connect = finding(&verdict, Signal::Connect);
    assert!(connect.evidence.unwrap() > connect.bound.unwrap(), "{connect:?}");
    assert_eq!(
        connect.says,
        "40 of 40 (100 %) of green could not connect to the endpoint they were given first, 0 of 40 (0 %) of blue. \
         That is no chance."
    );
    assert!(verdict.notes[0].contains("not at random"));
}

#[test]
fn slower_first_bytes_fail_and_the_times_are_said() {
    let bounds = FirstBytes::bounds();
    let mut slow = works(500);
    slow.first_byte.counts = vec![0; bounds.len() + 1];
    slow.first_byte.counts[bounds.partition_point(|bound| *bound < 0.05)] = 500;
    let verdict = verdict(slow, works(500));
    let first_byte = finding(&verdict, Signal::FirstByte);
    assert_eq!(first_byte.kind, VerdictKind::Fail);
    assert!(
        first_byte.times.unwrap().new_p95 > 0.04 && first_byte.says.contains("more than"),
        "{}",
        first_byte.says
    );
}

#[test]
fn without_a_control_nothing_passes() {
    let alone = stage(100, vec![(works(1000), Sample::default())]);
    let verdict = judge(&judgement(), &alone);
    assert_eq!(verdict.kind, VerdictKind::Inconclusive);
    assert_eq!(verdict.members[0].says, "1,000 connections to green, and none to blue to compare them with.");
    let mut with_before = alone.clone();
    with_before.members[0].before = Some(works(5000));
    let verdict = judge(&judgement(), &with_before);
    assert_eq!(verdict.kind, VerdictKind::Pass);
    assert!(verdict.members[0].says.contains("blue before the shift"), "{}", verdict.members[0].says);
    with_before.members[0].new.empty = 100;
    assert_eq!(judge(&judgement(), &with_before).kind, VerdictKind::Fail);
}

#[test]
fn a_fixed_limit_counts_whatever_the_old_color_does() {
    let limited = Judgement { failures_max_per_10000: Some(100), ..judgement() };
    let fails = |connections| Sample { failed: connections / 20, ..works(connections) };
    let judged = |new, old| judge(&limited, &stage(50, vec![(new, old)]));
    let verdict = judged(fails(2000), fails(2000));
    assert_eq!((verdict.kind, finding(&verdict, Signal::Limit).kind), (VerdictKind::Fail, VerdictKind::Fail));
    assert!(finding(&verdict, Signal::Limit).says.contains("the limit is 100 of 10,000"));
    let within = Sample { failed: 20, ..works(2000) };
    assert_eq!(judged(within.clone(), within).kind, VerdictKind::Pass);
}

#[test]
fn a_color_that_has_hardly_answered_does_not_pass() {
    let mut waiting = works(1000);
    waiting.first_byte = FirstBytes::default();
    let verdict = verdict(waiting, works(1000));
    assert_eq!(verdict.kind, VerdictKind::Inconclusive);
    assert!(verdict.members[0].says.contains("still waiting"));
}

#[test]
fn what_is_suspicious_and_not_certain_does_not_pass() {
    let (new, old) = (Sample { reset_before: 16, ..works(1000) }, works(1000));
    let verdict = verdict(new, old);
    assert_eq!(verdict.kind, VerdictKind::Inconclusive, "{:?}", finding(&verdict, Signal::ResetBefore));
    assert!(verdict.members[0].says.ends_with("Suspicious, and not certain yet."));
    // Endpoints that come and go.
    let flaps = self::verdict(Sample { unhealthy: 3, ..works(1000) }, works(1000));
    assert_eq!(flaps.kind, VerdictKind::Inconclusive);
    assert_eq!(flaps.members[0].says, "Endpoints of green became unhealthy 3 times, of blue 0 times.");
}

#[test]
fn the_worst_member_is_the_verdict_and_no_member_is_none() {
    let samples = vec![(works(1000), works(1000)), (works(10), works(10)), (works(1000), works(1000))];
    let verdict = judge(&judgement(), &stage(50, samples));
    assert_eq!((verdict.kind, verdict.missing), (VerdictKind::Inconclusive, 290));
    assert_eq!(verdict.members.iter().filter(|member| member.kind == VerdictKind::Pass).count(), 2);
    assert_eq!(judge(&judgement(), &stage(50, Vec::new())).kind, VerdictKind::Inconclusive);
}

#[test]
fn what_is_not_judged_says_so() {
    let bad = Sample { failed: 500, ..works(1000) };
    let at_zero = judge(&judgement(), &stage(0, vec![(Sample::default(), works(1000))]));
    assert_eq!((at_zero.kind, &*at_zero.members[0].says), (VerdictKind::Pass, "At 0 % nothing is compared."));
    let off = Judgement { enabled: false, ..judgement() };
    let verdict = judge(&off, &stage(50, vec![(bad, works(1000))]));
    assert_eq!(
        (verdict.kind, &*verdict.notes[0]),
        (VerdictKind::Pass, "The judgement is off: nothing was compared.")
    );
    let mut affinity = stage(50, vec![(works(10), works(1000))]);
    affinity.members[0].by_client = true;
    assert!(judge(&judgement(), &affinity).notes[0].contains("affinity"));
}

#[test]
fn a_verdict_goes_through_json() {
    let verdict = verdict(Sample { failed: 900, ..works(1000) }, works(1000));
    let text = serde_json::to_string(&verdict).unwrap();
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
}

#[test]
fn numbers_of_any_size_are_judged() {
    let buckets = FirstBytes::bounds().len() + 1;
    for all in [0, 1, 1 << 40, u64::MAX] {
        for some in [0, 1, u64::MAX] {
            let first_byte = FirstBytes { counts: vec![some; buckets] };
            let odd = Sample {
                tried: all,
                failed: some,
                served: all,
                ended: some,
                empty: some,
                unanswered: all,
                in_a_row: u32::MAX,
                first_byte,
                ..Sample::default()
            };
            for (new, old) in
                [(odd.clone(), works(1000)), (works(1000), odd.clone()), (odd.clone(), odd.clone())]
            {
                let mut facts = stage(50, vec![(new, old)]);
                facts.members[0].before = Some(odd.clone());
                facts.comparisons = usize::MAX;
                let limited = Judgement { failures_max_per_10000: Some(u32::MAX), ..judgement() };
                let verdict = judge(&limited, &facts);
                assert!(verdict.members[0].findings.iter().all(|f| f.evidence.is_none_or(f64::is_finite)));
                hard_failure(&limited, &facts);
            }
        }
    }
}
