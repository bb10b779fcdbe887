//! The verdict: what is compared, how much error is permitted, and what follows.

use super::evidence::{Comparison, over_limit};
use super::first_byte;
use super::words::{self, Words};
use super::{
    Finding, FirstByteTimes, MemberFacts, MemberVerdict, Sample, Share, Signal, StageFacts, Verdict,
    VerdictKind,
};
use crate::model::release::Judgement;

/// What part of releases of an equally good color may fail by the tests: with [`super::hard::PERMITTED`] one in a
/// thousand.
const PERMITTED: f64 = 0.000_9;
/// The same for being suspicious, which only keeps a verdict from being pass.
const SUSPICIOUS: f64 = 0.02;
/// Tests of one member: [`COUNTED`], the first byte and the limit.
const TESTS: usize = COUNTED.len() + 2;
/// Fewer connections than one in 2,000 more are never held against the new color.
const EXCESS_MIN: f64 = 0.000_5;
/// So many times more than in the old color endpoints may become unhealthy in a stage that passes.
const FLAPS_MAX: u64 = 1;

/// How many there are, and of how many.
type Count = fn(&Sample) -> (u64, u64);

/// Signals that count connections.
const COUNTED: [(Signal, Count); 9] = [
    (Signal::Failures, |sample| (sample.failures(), sample.tried)),
    (Signal::Connect, |sample| (sample.failed, sample.tried)),
    (Signal::ResetBefore, |sample| (sample.reset_before, sample.ended)),
    (Signal::Empty, |sample| (sample.empty, sample.ended)),
    (Signal::Unanswered, |sample| (sample.not_answered(), sample.served)),
    (Signal::Silent, |sample| (sample.silent, sample.ended)),
    (Signal::ResetAfter, |sample| (sample.reset_after, sample.ended)),
    (Signal::Early, |sample| (sample.early, sample.ended)),
    (Signal::Stalled, |sample| (sample.stalled, sample.served)),
];

/// Evidence that makes a failure, and that keeps from passing, as natural logarithms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) fails: f64,
    suspicious: f64,
}

impl Bounds {
    /// The permitted error divided among all tests of the release.
    pub(super) fn of(stage: &StageFacts) -> Self {
        let tests = stage.comparisons.max(1) as f64 * TESTS as f64;
        Self { fails: (tests / PERMITTED).ln(), suspicious: (tests / SUSPICIOUS).ln() }
    }

    fn kind(self, evidence: f64) -> VerdictKind {
        match evidence {
            evidence if evidence >= self.fails => VerdictKind::Fail,
            evidence if evidence >= self.suspicious => VerdictKind::Inconclusive,
            _ => VerdictKind::Pass,
        }
    }
}

/// One signal's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    pub(super) signal: Signal,
    pub(super) new: Share,
    pub(super) old: Share,
    /// As a natural logarithm.
    pub(super) evidence: f64,
    pub(super) times: Option<FirstByteTimes>,
}

/// What the new color is compared with.
pub(super) struct Control {
    pub(super) sample: Sample,
    pub(super) beside: Beside,
}

/// Whether the control ran beside the new color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// It did.
    Yes,
    /// Most of it was counted before the shift.
    Before,
    /// There is none.
    Nothing,
}

impl Control {
    /// The old color beside the new one; where that has less than a tenth of what is to be judged, with what it did
    /// before the shift.
    pub(super) fn of(member: &MemberFacts, needed: u64) -> Self {
        let wanted = member.new.tried.min(needed.max(1)) / 10;
        let before = member.before.as_ref().filter(|before| before.tried > member.old.tried);
        match before {
            Some(before) if member.old.tried <= wanted => {
                Self { sample: member.old.plus(before), beside: Beside::Before }
            }
            _ => {
                let beside = if member.old.tried == 0 { Beside::Nothing } else { Beside::Yes };
                Self { sample: member.old.clone(), beside }
            }
        }
    }
}

/// All numbers of a member.
pub(super) fn weigh(judgement: &Judgement, new: &Sample, old: &Sample) -> Vec<Weighed> {
    let mut weighed = Vec::with_capacity(TESTS);
    for (signal, count) in COUNTED {
        let share = |(events, of)| Share::new(events, of);
        let (new, old) = (share(count(new)), share(count(old)));
        let is_large = new.ratio() - old.ratio() >= EXCESS_MIN;
        let comparison = is_large.then(|| Comparison::of(new.of, old.of)).flatten();
        let evidence = comparison.map_or(0.0, |comparison| comparison.evidence(new.events, old.events));
        weighed.push(Weighed { signal, new, old, evidence, times: None });
    }
    if let Some(slower) = first_byte::compare(judgement, &new.first_byte, &old.first_byte) {
        let (signal, times) = (Signal::FirstByte, Some(slower.times));
        weighed.push(Weighed { signal, new: slower.new, old: slower.old, evidence: slower.evidence, times });
    }
    if let Some(limit) = judgement.failures_max_per_10000 {
        let (new, old) = (Share::new(new.failures(), new.tried), Share::new(old.failures(), old.tried));
        let evidence = over_limit(new, f64::from(limit.min(10_000)) / 10_000.0);
        weighed.push(Weighed { signal: Signal::Limit, new, old, evidence, times: None });
    }
    weighed
}

/// The verdict about a stage, from what is known of it now. May be asked for as often as one likes.
///
/// At most one in a thousand releases of a color that is as good as the old one ever gets `fail`, over all stages,
/// members, signals and looks; docs/judgement.md says under which conditions.
pub fn judge(judgement: &Judgement, stage: &StageFacts) -> Verdict {
    let bounds = Bounds::of(stage);
    let members: Vec<_> =
        stage.members.iter().map(|member| of_member(judgement, bounds, (stage, member))).collect();
    let kind = members.iter().map(|member| member.kind).max().unwrap_or(VerdictKind::Inconclusive);
    let missing = members.iter().map(|member| member.missing).max().unwrap_or(0);
    let notes = words::notes(judgement, stage, kind);
    Verdict { kind, missing, members, notes }
}

fn of_member(
    judgement: &Judgement,
    bounds: Bounds,
    (stage, member): (&StageFacts, &MemberFacts),
) -> MemberVerdict {
    let is_judged = judgement.enabled && stage.percent.get() > 0;
    let needed = if is_judged { stage.min_connections } else { 0 };
    let connections = member.new.tried;
    let missing = needed.saturating_sub(connections);
    let control = Control::of(member, needed);
    let words = Words { judgement, member, control: &control };
    let mut findings = Vec::new();
    if is_judged {
        let weighed = weigh(judgement, &member.new, &control.sample);
        findings.extend(weighed.into_iter().map(|weighed| finding(&words, bounds, weighed)));
        findings.push(words.open());
        findings.push(words.health(flaps(member)));
    }
    let worst = findings.iter().map(|finding| finding.kind).max().unwrap_or(VerdictKind::Pass);
    let lacks = lacks(&words, (is_judged, missing));
    let kind = if worst == VerdictKind::Pass && lacks.is_some() { VerdictKind::Inconclusive } else { worst };
    let says = match (worst, lacks) {
        (VerdictKind::Fail, _) | (VerdictKind::Inconclusive, None) => said_by_worst(&findings, worst),
        (_, Some(lacks)) => lacks,
        (VerdictKind::Pass, None) if is_judged => words.pass(&findings),
        (VerdictKind::Pass, None) => words.not_judged(stage.percent),
    };
    MemberVerdict { service: member.service.clone(), kind, connections, needed, missing, says, findings }
}

/// The sentence with the most evidence of those that are as bad as the worst.
fn said_by_worst(findings: &[Finding], worst: VerdictKind) -> String {
    let evidence = |finding: &&Finding| finding.evidence.unwrap_or(0.0);
    let worst = findings.iter().filter(|finding| finding.kind == worst);
    let most = worst.reduce(|most, next| if evidence(&next) > evidence(&most) { next } else { most });
    most.map_or_else(String::new, |finding| finding.says.clone())
}

fn finding(words: &Words<'_>, bounds: Bounds, weighed: Weighed) -> Finding {
    let kind = bounds.kind(weighed.evidence);
    let counts = matches!(weighed.signal, Signal::Failures | Signal::Limit);
    Finding {
        signal: weighed.signal,
        kind,
        new: weighed.new,
        old: weighed.old,
        evidence: Some(words::power_of_ten(weighed.evidence)),
        bound: Some(words::power_of_ten(bounds.fails)),
        at_most: counts.then(|| words::rounded(super::evidence::at_most(weighed.new))),
        times: weighed.times,
        says: words.finding(&weighed, kind),
    }
}

fn flaps(member: &MemberFacts) -> VerdictKind {
    let is_more = member.new.unhealthy > member.old.unhealthy.saturating_add(FLAPS_MAX);
    if is_more { VerdictKind::Inconclusive } else { VerdictKind::Pass }
}

/// Why nothing can be said yet, if so.
fn lacks(words: &Words<'_>, (is_judged, missing): (bool, u64)) -> Option<String> {
    if !is_judged {
        return None;
    }
    let (new, old) = (&words.member.new, &words.control.sample);
    if missing > 0 {
        return Some(words.too_few(missing));
    }
    if new.tried == 0 {
        return Some(words.nothing_seen());
    }
    if words.control.beside == Beside::Nothing {
        return Some(words.no_control());
    }
    // Connections whose answer is still to come prove nothing.
    let heard = |sample: &Sample| Share::new(sample.first_byte.total(), sample.served).ratio();
    (heard(new) * 2.0 < heard(old)).then(|| words.still_waiting())
}
