//! What the terminal shows at one moment: commands to try, what has happened, and the live table.

use super::backends::Backends;
use super::cast::{Member, PerSide, Side};
use super::measure::{Count, Meter, Reading};
use super::paint::{Line, Style};
use super::traffic::Tally;

/// Columns of a bar.
const BAR: usize = 14;

/// Counters at the beginning of a step.
#[derive(Debug, Clone)]
pub struct Base {
    /// `servicea` and `serviceb`.
    pub readings: [Reading; 2],
    /// What each instance had served, by member and side.
    pub served: [PerSide<Vec<u64>>; 2],
}

impl Base {
    /// What backends of a side have served since.
    pub fn served_since(&self, backends: &Backends, member: Member, side: Side) -> Vec<u64> {
        let before = &self.served[member as usize][side as usize];
        let now = backends.served(member, side);
        now.iter().zip(before).map(|(now, before)| now.wrapping_sub(*before)).collect()
    }
}

/// The step that is shown.
#[derive(Debug, Clone)]
pub struct Scene {
    /// What goes on, in words.
    pub title: String,
    /// Connections that the step asks for.
    pub connections: u32,
    /// What clients got.
    pub tally: Tally,
    /// Where counting began.
    pub base: Base,
}

/// The table of a scene, and what clients got last.
pub fn table(scene: &Scene, meter: &Meter, backends: &Backends) -> Vec<Line> {
    let mut lines = vec![
        Line::new(Style::Bold, scene.title.clone()),
        Line::new(
            Style::Dim,
            "SERVICE   COLOR  WEIGHT                   SHARE  EXPECTED  DECIDED  INSTANCES",
        ),
    ];
    for member in [Member::B, Member::A] {
        let Some(now) = meter.read(member) else { continue };
        let base = scene.base.readings[member as usize];
        let count = Count::between(member, (base, now), [0; 2], [0; 2]);
        for side in Side::ALL {
            lines.push(row(&count, side, &scene.base.served_since(backends, member, side)));
        }
    }
    let answers = scene.tally.answers();
    let failed = if answers.failed == 0 { Style::Plain } else { Style::Red };
    lines.push(
        Line::plain(format!("{} of {} answered, ", answers.total(), scene.connections))
            .with(failed, format!("{} failed", answers.failed))
            .with(Style::Plain, "; the last answer: ")
            .with(Style::Bold, answers.last),
    );
    lines
}

fn row(count: &Count, side: Side, instances: &[u64]) -> Line {
    let index = side as usize;
    let share = if count.total() == 0 { 0.0 } else { count.decided[index] as f64 / count.total() as f64 };
    let filled = filled_columns(count.decided[index], count.total());
    let name = if side == Side::Blue { count.member.name() } else { "" };
    let instances: Vec<String> = instances.iter().map(ToString::to_string).collect();
    Line::plain(format!("{name:<8}  "))
        .with(Style::of(side), format!("{:<5}", side.name()))
        .with(Style::Plain, format!("  {:>6}  ", count.weights[index]))
        .with(Style::of(side), "█".repeat(filled))
        .with(Style::Dim, "░".repeat(BAR - filled))
        .with(
            Style::Plain,
            format!(
                "  {:>5.1}%  {:>8.2}  {:>7}  {}",
                share * 100.0,
                count.expected()[index],
                count.decided[index],
                instances.join(" ")
            ),
        )
}

/// Columns of the bar for a part of a total, rounded; something is never shown as nothing.
fn filled_columns(part: u64, total: u64) -> usize {
    if part == 0 {
        return 0;
    }
    let columns = (2 * part * BAR as u64 + total) / (2 * total);
    usize::try_from(columns).map_or(BAR, |columns| columns.clamp(1, BAR))
}

/// Puts the parts together in so many rows: when there are too few, the oldest events go first, and
/// then everything that is not the head's first lines or the table.
pub fn compose(head: &[Line], events: &[Line], foot: &[Line], rows: usize) -> Vec<Line> {
    let foot_shown = &foot[..foot.len().min(rows)];
    let head_rows = rows.saturating_sub(foot_shown.len() + 1).min(head.len());
    let events_rows = rows.saturating_sub(foot_shown.len() + head_rows + 2).min(events.len());
    let mut lines = head[..head_rows].to_vec();
    let between = |lines: &mut Vec<Line>| {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
    };
    if events_rows > 0 {
        between(&mut lines);
        lines.extend_from_slice(&events[events.len() - events_rows..]);
    }
    between(&mut lines);
    lines.extend_from_slice(foot_shown);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::paint::Palette;
    use super::super::step::tests::outcome;
    use super::*;

    #[test]
    fn a_row_fits_80_columns() {
        let outcome = outcome([77, 26]);
        let line = row(&outcome.counts[1], Side::Green, &[13, 13]);
        assert_eq!(
            line.render(Palette::Plain, usize::MAX),
            "          green      25  ████░░░░░░░░░░   25.2%     25.75       26  13 13"
        );
        let line = row(&outcome.counts[0], Side::Blue, &[134, 134, 134]);
        let line = line.render(Palette::Plain, usize::MAX);
        assert!(line.chars().count() <= 80, "{line}");
    }

    #[test]
    fn a_few_are_never_shown_as_none_nor_all() {
        assert_eq!([0, 1, 500, 1000].map(|part| filled_columns(part, 1000)), [0, 1, 7, BAR]);
    }

    #[test]
    fn a_frame_never_has_more_lines_than_rows() {
        let lines = |count| vec![Line::plain("x"); count];
        for rows in 0..40 {
            let frame = compose(&lines(7), &lines(10), &lines(7), rows);
            assert!(frame.len() <= rows, "{} lines in {rows} rows", frame.len());
        }
        assert_eq!(compose(&lines(7), &lines(10), &lines(7), 40).len(), 7 + 1 + 10 + 1 + 7);
    }
}
