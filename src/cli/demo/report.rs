//! The end of the demo: what was asked, what was seen, and the verdict.

use super::cast::{Member, PerSide};
use super::measure::Fault;
use super::paint::{Line, Style};
use super::step::{Outcome, milliseconds};
use super::together::Together;
use crate::cli::table::{Align, Table};

/// Everything that the demo found out.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Of each step.
    pub outcomes: Vec<Outcome>,
    /// Preview names and what they answered before their release.
    pub previews: Vec<(String, String)>,
    /// The steps of the release of both services.
    pub together: Vec<Together>,
    /// Of what was done between steps.
    pub faults: Vec<Fault>,
}

impl Findings {
    /// Whether every step was exact and no connection failed.
    pub fn is_exact(&self) -> bool {
        self.faults().next().is_none()
    }

    fn faults(&self) -> impl Iterator<Item = (Option<usize>, &Fault)> {
        let of_steps = self
            .outcomes
            .iter()
            .flat_map(|outcome| outcome.faults.iter().map(|fault| (Some(outcome.plan.number), fault)));
        let of_both = self.together.iter().flat_map(|step| &step.faults).map(|fault| (None, fault));
        of_steps.chain(of_both).chain(self.faults.iter().map(|fault| (None, fault)))
    }

    /// The whole report.
    pub fn report(&self) -> Vec<Line> {
        let mut lines = vec![Line::new(Style::Bold, "What was asked, and what was seen (blue:green):")];
        lines.extend(table(&self.outcomes).lines().map(Line::plain));
        lines.push(Line::default());
        let others: u64 = self.outcomes.iter().map(|outcome| outcome.released().of_others()).sum();
        if others > 0 {
            lines.push(Line::plain(format!(
                "N and DECIDED include {others} connections of others; SEEN does not."
            )));
            lines.push(Line::default());
        }
        lines.extend(answers(&self.outcomes));
        lines.extend(self.together.iter().map(Together::line));
        for (name, got) in &self.previews {
            lines.push(Line::plain(format!("{name:<24} {got:<28} at weight 0")));
        }
        lines.push(Line::default());
        if self.is_exact() {
            lines.push(Line::new(Style::Green, "everything exact, no connection failed"));
        }
        for (step, fault) in self.faults() {
            let place = step.map_or_else(|| "both, or preview".to_owned(), |step| format!("step {step}"));
            lines.push(Line::new(Style::Red, format!("NOT EXACT: {place}: {fault}")));
        }
        lines
    }
}

fn pair<T: std::fmt::Display>([blue, green]: PerSide<T>) -> String {
    format!("{blue}:{green}")
}

/// Two rows a step: the service that is being released first.
fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new(&[
        ("#", Align::Right),
        ("SERVICE", Align::Left),
        ("ASKED", Align::Right),
        ("N", Align::Right),
        ("EXPECTED", Align::Right),
        ("DECIDED", Align::Right),
        ("SEEN", Align::Right),
        ("OFF/BOUND", Align::Right),
        ("FAIL", Align::Right),
        ("CHANGE", Align::Right),
    ]);
    for outcome in outcomes {
        let order = if outcome.plan.member == Member::A { [0, 1] } else { [1, 0] };
        for (row, index) in order.into_iter().enumerate() {
            let count = &outcome.counts[index];
            let once = |text: String| if row == 0 { text } else { String::new() };
            table.row([
                once(outcome.plan.number.to_string()),
                count.member.name().to_owned(),
                pair(count.weights),
                count.total().to_string(),
                pair(count.expected()),
                pair(count.decided),
                pair(count.answered),
                format!("{:.2}/{:.2}", count.off(), count.bound()),
                once(outcome.answers.failed.to_string()),
                once(outcome.in_effect.map_or_else(|| "-".to_owned(), milliseconds)),
            ]);
        }
    }
    table.render()
}

/// What clients got while all connections went the same way: before, between and after the releases.
fn answers(outcomes: &[Outcome]) -> Vec<Line> {
    let mut lines = Vec::new();
    for outcome in outcomes {
        let (plan, answers) = (outcome.plan, &outcome.answers);
        let when = match (plan.member, plan.percent) {
            (Member::B, 0) => "before the releases".to_owned(),
            (member, 100) => format!("after {}'s release", member.name()),
            _ => continue,
        };
        for (text, times) in &answers.texts {
            lines.push(Line::plain(format!("{when:<24} {text:<28} {times} of {}", plan.load.connections)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::paint::Palette;
    use super::super::step::tests::outcome;
    use super::*;

    fn text(findings: &Findings) -> String {
        let lines = findings.report();
        lines.iter().map(|line| line.render(Palette::Plain, usize::MAX) + "\n").collect()
    }

    #[test]
    fn exact_steps_make_an_exact_report() {
        let findings = Findings { outcomes: vec![outcome([77, 26])], ..Default::default() };
        assert!(findings.is_exact());
        assert_eq!(
            text(&findings),
            "What was asked, and what was seen (blue:green):\n\
             #  SERVICE   ASKED    N     EXPECTED  DECIDED   SEEN  OFF/BOUND  FAIL  CHANGE\n\
             2  serviceb  75:25  103  77.25:25.75    77:26  77:26  0.25/0.50     0  1.4 ms\n\
            \x20  servicea  100:0  103        103:0    103:0  103:0  0.00/0.00\n\
             \n\n\
             everything exact, no connection failed\n"
        );
    }

    #[test]
    fn one_fault_anywhere_ends_the_claim() {
        let inexact = Findings { outcomes: vec![outcome([77, 26]), outcome([76, 27])], ..Default::default() };
        let preview = Fault::Preview { name: "x".into(), got: "a".into(), expected: "b".into() };
        let preview = Findings { faults: vec![preview], ..Default::default() };
        for findings in [inexact, preview] {
            assert!(!findings.is_exact());
            let text = text(&findings);
            assert!(text.contains("NOT EXACT") && !text.contains("everything exact"), "{text}");
        }
    }
}
