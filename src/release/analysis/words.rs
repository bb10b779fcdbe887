//! Verdicts in plain sentences, for `teal release explain`.

use super::judging::{Beside, Control, Weighed};
use super::{Finding, FirstByteTimes, MemberFacts, Sample, Share, Signal, StageFacts, VerdictKind};
use crate::model::release::{Judgement, Percent};

/// What sentences are about.
pub(super) struct Words<'a> {
    pub(super) judgement: &'a Judgement,
    pub(super) member: &'a MemberFacts,
    pub(super) control: &'a Control,
}

/// A natural logarithm as a power of ten that JSON can hold.
pub(super) fn power_of_ten(logarithm: f64) -> f64 {
    rounded(logarithm / std::f64::consts::LN_10).clamp(0.0, 9999.0)
}

/// To a millionth: more digits say nothing, and do not come back the same from JSON.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// What to know when reading a verdict.
pub(super) fn notes(judgement: &Judgement, stage: &StageFacts, kind: VerdictKind) -> Vec<String> {
    let mut notes = Vec::new();
    if !judgement.enabled {
        notes.push("The judgement is off: nothing was compared.".to_owned());
        return notes;
    }
    if stage.members.is_empty() {
        notes.push("There is no member to judge.".to_owned());
    }
    if kind == VerdictKind::Fail {
        let note = "Connections are dealt out in turn, not at random: clients that come in a fixed rhythm can always \
                    meet the same color. Compare who they are before you blame the color.";
        notes.push(note.to_owned());
    }
    for member in stage.members.iter().filter(|member| member.by_client && kind != VerdictKind::Pass) {
        notes.push(format!(
            "Of {} clients and not connections are split (affinity): one client can make the whole difference, and \
             the rates of error do not hold.",
            member.service
        ));
    }
    notes
}

/// `1,204`
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.25 %`, with more digits the smaller it is.
fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let digits = match percent {
        p if p >= 10.0 || p == 0.0 => 0,
        p if p >= 1.0 => 1,
        p if p >= 0.1 => 2,
        _ => 3,
    };
    format!("{percent:.digits$} %")
}

/// `18 ms`
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

/// `3 of 1,204 (0.25 %)`
fn share(share: Share) -> String {
    format!("{} of {} ({})", number(share.events), number(share.of), percent(share.ratio()))
}

fn connections(count: u64) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{} connections", number(count)) }
}

/// What connections did, for `N of M connections ...`.
fn deed(signal: Signal) -> &'static str {
    match signal {
        Signal::Failures | Signal::Limit => "failed before an answer",
        Signal::Connect => "could not connect to the endpoint they were given first",
        Signal::ResetBefore => "were reset before the first byte",
        Signal::Empty => "were ended by the backend without a byte",
        Signal::Unanswered => "had no answer when the client gave up, or after 3 s",
        Signal::Silent => "ended after 3 s or more in which neither side said anything",
        Signal::ResetAfter => "were reset after the first byte",
        Signal::Early => "were ended by the backend at once, unasked",
        Signal::Stalled => "waited for 5 s until the backend took what the client sent",
        Signal::FirstByte => "were slower to the first byte",
        Signal::Open => "are open",
        Signal::Health => "became unhealthy",
    }
}

impl Words<'_> {
    fn control_name(&self) -> String {
        match self.control.beside {
            Beside::Yes | Beside::Nothing => self.member.from.to_string(),
            Beside::Before => format!("{} before the shift", self.member.from),
        }
    }

    /// What one signal says.
    pub(super) fn finding(&self, weighed: &Weighed, kind: VerdictKind) -> String {
        let (to, control) = (&self.member.to, self.control_name());
        let conclusion = match kind {
            VerdictKind::Pass => "",
            VerdictKind::Inconclusive => " Suspicious, and not certain yet.",
            VerdictKind::Fail => " That is no chance.",
        };
        let numbers = match (weighed.signal, weighed.times) {
            (Signal::FirstByte, Some(times)) => self.slower(weighed, times),
            (Signal::Limit, _) => {
                let limit = self.judgement.failures_max_per_10000.unwrap_or(0);
                let new = share(weighed.new);
                format!("{new} of {to} {}; the limit is {limit} of 10,000.", deed(weighed.signal))
            }
            _ => {
                let (new, old) = (share(weighed.new), share(weighed.old));
                format!("{new} of {to} {}, {old} of {control}.", deed(weighed.signal))
            }
        };
        numbers + conclusion
    }

    fn slower(&self, weighed: &Weighed, times: FirstByteTimes) -> String {
        format!(
            "The first byte of {to} took {} (95 % of them {}), of {control} {} ({}); {} of {to} took more than {}, {} \
             of {control} more than {}.",
            time(times.new_p50),
            time(times.new_p95),
            time(times.old_p50),
            time(times.old_p95),
            share(weighed.new),
            time(times.new_over),
            share(weighed.old),
            time(times.old_over),
            to = self.member.to,
            control = self.control_name(),
        )
    }

    /// How many connections are open: longer ones are no fault by themselves.
    pub(super) fn open(&self) -> Finding {
        let open = |sample: &Sample| Share::new(sample.served.saturating_sub(sample.ended), sample.served);
        let (new, old) = (open(&self.member.new), open(&self.member.old));
        let says = format!(
            "{} of {} since the shift are open, {} of {}. For information.",
            share(new),
            self.member.to,
            share(old),
            self.member.from
        );
        untested(Signal::Open, VerdictKind::Pass, (new, old), says)
    }

    /// How often endpoints became unhealthy.
    pub(super) fn health(&self, kind: VerdictKind) -> Finding {
        let (new, old) = (self.member.new.unhealthy, self.member.old.unhealthy);
        let (to, from) = (&self.member.to, &self.member.from);
        let says = format!("Endpoints of {to} became unhealthy {new} times, of {from} {old} times.");
        untested(Signal::Health, kind, (Share::new(new, new), Share::new(old, old)), says)
    }

    /// Nothing speaks against the new color.
    pub(super) fn pass(&self, findings: &[Finding]) -> String {
        let failures = findings.iter().find(|finding| finding.signal == Signal::Failures);
        let numbers = failures.map_or_else(String::new, |finding| {
            let most = finding.at_most.map(percent).unwrap_or_default();
            let (new, old) = (share(finding.new), share(finding.old));
            format!(
                ": {new} failed, at most {most} of all with 95 % confidence; of {} {old}",
                self.control_name()
            )
        });
        format!("{} is not found worse than {}{numbers}.", self.member.to, self.control_name())
    }

    /// There was nothing to compare, and that is no verdict about the color.
    pub(super) fn not_judged(&self, percent: Percent) -> String {
        if self.judgement.enabled {
            format!("At {percent} nothing is compared.")
        } else {
            "Nothing is compared, as the judgement is off.".to_owned()
        }
    }

    /// `min_connections` is not reached.
    pub(super) fn too_few(&self, missing: u64) -> String {
        let (seen, to) = (connections(self.member.new.tried), &self.member.to);
        format!("{seen} to {to} are too few: {} more are asked for.", number(missing))
    }

    /// No connection at all, and none asked for.
    pub(super) fn nothing_seen(&self) -> String {
        format!("No connection came to {}: nothing is known of it.", self.member.to)
    }

    /// The old color got nothing.
    pub(super) fn no_control(&self) -> String {
        let Sample { tried, .. } = self.member.new;
        let (to, from) = (&self.member.to, &self.member.from);
        format!("{} to {to}, and none to {from} to compare them with.", connections(tried))
    }

    /// The new color has hardly answered.
    pub(super) fn still_waiting(&self) -> String {
        let heard = |sample: &Sample| share(Share::new(sample.first_byte.total(), sample.served));
        let (new, old) = (heard(&self.member.new), heard(&self.control.sample));
        let (to, control) = (&self.member.to, self.control_name());
        format!("{to} has answered {new}, {control} {old}: too many connections are still waiting.")
    }
}

fn untested(signal: Signal, kind: VerdictKind, (new, old): (Share, Share), says: String) -> Finding {
    Finding { signal, kind, new, old, evidence: None, bound: None, at_most: None, times: None, says }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!([0, 999, 1204, 1_000_000].map(number), ["0", "999", "1,204", "1,000,000"]);
        assert_eq!(
            [0.0, 0.00042, 0.0025, 0.05, 0.5].map(percent),
            ["0 %", "0.042 %", "0.25 %", "5.0 %", "50 %"]
        );
        assert_eq!([0.000_25, 0.018, 1.5].map(time), ["0.25 ms", "18 ms", "1.5 s"]);
        assert!((power_of_ten(f64::INFINITY) - 9999.0).abs() < 1e-9);
    }
}
