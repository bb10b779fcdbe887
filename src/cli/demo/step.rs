//! The steps: what each asks for, and what it gave.

use std::time::Duration;

use super::cast::{Member, PerSide, Side};
use super::measure::{Count, Fault, Span};
use super::paint::{Line, Style};
use super::traffic::{Answers, Load};

/// Shares of green that a release goes through, in percent.
pub const PERCENTS: [u16; 4] = [0, 25, 50, 100];
/// Steps in all.
pub const STEPS: usize = 2 * PERCENTS.len();

/// What a step asks for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// From 1.
    pub number: usize,
    /// The service that is being released.
    pub member: Member,
    /// Green's share, in percent.
    pub percent: u16,
    /// Its connections.
    pub load: Load,
}

impl Plan {
    /// The released service's weights.
    pub fn weights(&self) -> PerSide<u16> {
        [100 - self.percent, self.percent]
    }

    /// What is about to happen.
    pub fn next(&self) -> String {
        let [blue, green] = self.weights();
        format!("{} at blue {blue}, green {green}", self.member.name())
    }

    /// What happens.
    pub fn title(&self) -> String {
        format!("step {} of {STEPS}: {}; {} connections", self.number, self.next(), self.load.connections)
    }
}

/// What a step gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was asked.
    pub plan: Plan,
    /// From the rename until the weights were in effect; absent where nothing changed.
    pub in_effect: Option<Duration>,
    /// `servicea` and `serviceb`.
    pub counts: [Count; 2],
    /// What clients got.
    pub answers: Answers,
    /// What is not as promised.
    pub faults: Vec<Fault>,
}

/// Something that happened, in a line of its own.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where lines may be long.
    pub long: Line,
    /// At most 80 columns.
    pub short: Line,
}

impl Outcome {
    /// The count of the service that is being released.
    pub fn released(&self) -> &Count {
        &self.counts[self.plan.member as usize]
    }

    /// The line that sums the step up.
    pub fn event(&self) -> Event {
        let (plan, count) = (self.plan, self.released());
        let verdict = self.verdict();
        let head = format!("{}/{STEPS} {} {}%: ", plan.number, plan.member.name(), plan.percent);
        let off = format!("off {:.2} of {:.2}", count.off(), count.bound());
        let time = self.in_effect.map(milliseconds);
        let with_time =
            |before: &str| time.as_ref().map_or_else(String::new, |time| format!("{before}{time}"));
        let short = counted(Line::plain(head.clone()), count)
            .with(Style::Plain, format!("; {off}{}; ", with_time("; ")))
            .with(verdict.0, verdict.1.clone());
        let texts = self.answers.texts.iter().map(|(text, times)| format!("{text:?} {times}"));
        let mut long = counted(Line::plain(format!("step {head}")), count).with(
            Style::Plain,
            format!(
                " ({off}); answers: {}; {} failed{}; ",
                texts.collect::<Vec<_>>().join(", "),
                self.answers.failed,
                with_time("; in effect after ")
            ),
        );
        if count.of_others() > 0 {
            long = long.with(Style::Plain, format!("{} connections of others; ", count.of_others()));
        }
        if count.span == Span::Within && count.bound() > 0.0 {
            long = long.with(Style::Dim, "others connected since the change; ");
        }
        Event { long: long.with(verdict.0, verdict.1), short }
    }

    fn verdict(&self) -> (Style, String) {
        match self.faults.first() {
            None => (Style::Green, "exact".to_owned()),
            Some(fault) => (Style::Red, format!("NOT EXACT: {fault}")),
        }
    }
}

fn counted(mut line: Line, count: &Count) -> Line {
    for side in Side::ALL {
        let joint = if side == Side::Blue { ", " } else { "" };
        line = line
            .with(Style::of(side), side.name())
            .with(Style::Plain, format!(" {}{joint}", count.decided[side as usize]));
    }
    line.with(Style::Plain, format!(" of {}", count.total()))
}

/// Milliseconds with one decimal.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
pub mod tests {
    use super::super::paint::Palette;
    use super::*;

    /// A step at 25 % of `serviceb` in which it was decided so.
    pub fn outcome(decided: PerSide<u64>) -> Outcome {
        let load = Load { connections: 103, spread: Duration::ZERO };
        let count = |member, weights, decided| Count {
            member,
            weights,
            decided,
            places: decided.iter().sum(),
            answered: decided,
            served: decided,
            span: Span::SinceChange,
        };
        let counts = [count(Member::A, [100, 0], [103, 0]), count(Member::B, [75, 25], decided)];
        let texts = [("Hello world!", decided[0]), ("Welcome to the world!", decided[1])];
        let texts = texts.map(|(text, times)| (text.to_owned(), times)).into();
        let answers = Answers { texts, last: "Hello world!".into(), failed: 0, failure: None };
        let faults = counts.iter().flat_map(Count::faults).collect();
        let plan = Plan { number: 2, member: Member::B, percent: 25, load };
        Outcome { plan, in_effect: Some(Duration::from_micros(1449)), counts, answers, faults }
    }

    #[test]
    fn an_exact_step_is_summed_up_in_one_line() {
        let event = outcome([77, 26]).event();
        assert_eq!(
            event.long.render(Palette::Plain, usize::MAX),
            "step 2/8 serviceb 25%: blue 77, green 26 of 103 (off 0.25 of 0.50); answers: \"Hello world!\" 77, \
             \"Welcome to the world!\" 26; 0 failed; in effect after 1.4 ms; exact"
        );
        assert_eq!(
            event.short.render(Palette::Plain, usize::MAX),
            "2/8 serviceb 25%: blue 77, green 26 of 103; off 0.25 of 0.50; 1.4 ms; exact"
        );
    }

    #[test]
    fn a_step_that_is_not_exact_says_why() {
        let line = outcome([78, 25]).event().long.render(Palette::Plain, usize::MAX);
        assert!(line.ends_with("; NOT EXACT: serviceb blue got 78, not within 0.50 of 77.25"), "{line}");
    }
}
