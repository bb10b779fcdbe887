//! What releases look like to people: at most 100 columns, readable without color.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::admin::report::ReleasesReport;
use crate::cli::table::{Align, Table, fits};
use crate::release::report::{MemberReport, ReleaseReport, SideReport};

/// Closed releases that are listed without their members.
const CLOSED: &str = "closed";

/// All of them.
pub fn render(report: &ReleasesReport) -> String {
    let mut text = String::new();
    for freeze in &report.freezes {
        let (app, at) = (freeze.app.as_deref().unwrap_or("every app"), time(freeze.at));
        let _ = writeln!(text, "FROZEN: {app}, by {} at {at}: {}", freeze.by, freeze.why);
    }
    if report.releases.is_empty() {
        text.push_str("no release is known on this host\n");
    }
    let (ended, live): (Vec<_>, Vec<_>) =
        report.releases.iter().partition(|release| release.phase == CLOSED && report.releases.len() > 1);
    for release in &ended {
        let _ = writeln!(text, "{}", line(release));
    }
    for release in live {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&whole(release));
    }
    let _ = writeln!(text, "\nconfiguration and baseline on this host: {}", report.baseline_hash);
    text
}

fn time(at: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at)).to_string()
}

fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// A release in one line.
pub fn line(release: &ReleaseReport) -> String {
    let named = format!("{} {}", release.app, release.version);
    let mut text = format!("{}  {}  {}", release.release, named.trim_end(), phase(release));
    match &release.hold {
        Some(hold) => {
            let _ = write!(text, ": {}", hold.note);
        }
        None => {
            if let Some((left, oldest)) = release.draining.filter(|(left, _)| *left > 0) {
                let _ = write!(text, ", {left} connections left, the oldest {} old", clock(oldest));
            }
        }
    }
    text
}

fn phase(release: &ReleaseReport) -> String {
    let word = release.phase.to_uppercase().replace('_', " ");
    let ending = release.ending.as_ref().filter(|_| release.phase == CLOSED);
    let ending = ending.map_or_else(String::new, |ending| format!(" ({})", ending.replace('_', " ")));
    match release.step {
        0 => format!("{word}{ending} before step 1 of {}", release.steps),
        step if release.open => format!("{word} step {step}/{} ({} %)", release.steps, release.percent),
        _ => format!("{word}{ending}"),
    }
}

fn whole(release: &ReleaseReport) -> String {
    let mut text = line(release);
    match release.bake_seconds {
        Some(bake) => {
            let _ = write!(text, "  {} of {}", clock(release.phase_seconds), clock(bake));
        }
        None => {
            let _ = write!(text, "  for {}", clock(release.phase_seconds));
        }
    }
    let _ = writeln!(text, "  epoch {}", release.epoch);
    let started = format!("started by {} at {}", release.started_by, time(release.started_at));
    let _ = writeln!(text, "{started}: {}", release.reason);
    if release.stages.1 != release.steps {
        let _ = writeln!(text, "shift {} of {}", release.stages.0, release.stages.1);
    }
    text.push_str(&members(&release.members));
    for member in &release.members {
        if let Some(says) = member.says.as_ref().filter(|_| member.verdict.as_deref() != Some("pass")) {
            let _ = writeln!(text, "{}: {says}", member.service);
        }
    }
    if !release.shared.is_empty() {
        let _ = writeln!(text, "not changed: {}", release.shared.join(", "));
    }
    if release.unrecorded {
        text.push_str(
            "NOT RECORDED: the journal cannot be written, a restart would forget the last change\n",
        );
    }
    if release.hold.is_none() && !release.decided.is_empty() {
        let _ = writeln!(text, "last: {}", release.decided);
    }
    let left = release.seconds_left.map_or_else(String::new, |left| format!(" ({} left)", clock(left)));
    let _ = writeln!(text, "next: {}{left}", release.next);
    text
}

/// What is shown of a member's color.
const SIDE: [(&str, Align); 11] = [
    ("SERVICE", Align::Left),
    ("COLOR", Align::Left),
    ("SET", Align::Right),
    ("NEW", Align::Right),
    ("OPEN", Align::Right),
    ("CONNS", Align::Right),
    ("WORKING", Align::Right),
    ("TRIED", Align::Right),
    ("FAILED", Align::Right),
    ("P95", Align::Right),
    ("VERDICT", Align::Left),
];

fn members(members: &[MemberReport]) -> String {
    let mut table = Table::new(&SIDE);
    let mut without_names = Table::new(&SIDE[1..]);
    for member in members {
        let verdict = member.verdict.as_deref().unwrap_or("-");
        for row in [side(&member.service, &member.to, verdict), side("", &member.from, "control")] {
            table.row(row.clone());
            let [_, rest @ ..] = row;
            without_names.row(rest);
        }
    }
    let table = table.render();
    if fits(&table) { table } else { below_names(members, &without_names.render()) }
}

/// Long names have lines of their own.
fn below_names(members: &[MemberReport], table: &str) -> String {
    let mut lines = table.lines();
    let mut text = format!("  {}\n", lines.next().unwrap_or_default());
    for member in members {
        let _ = writeln!(text, "{}", member.service);
        for line in lines.by_ref().take(2) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

fn side(service: &str, side: &SideReport, verdict: &str) -> [String; 11] {
    let share =
        |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let p95 =
        side.first_byte_p95_seconds.map_or_else(|| "-".to_owned(), |seconds| milliseconds(seconds * 1e3));
    [
        service.to_owned(),
        side.color.clone(),
        format!("{} %", side.percent),
        share(side.new_share),
        share(side.open_share),
        side.open.to_string(),
        format!("{}/{}", side.working, side.endpoints),
        side.tried.to_string(),
        share(side.failed_share),
        p95,
        verdict.to_owned(),
    ]
}

fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 10.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(name: &str) -> SideReport {
        SideReport {
            color: name.to_owned(),
            percent: 50,
            new_share: Some(1.0),
            open_share: Some(1.0),
            open: 12_345,
            working: 10,
            endpoints: 10,
            tried: 1_234_567,
            failed_share: Some(1.0),
            first_byte_p95_seconds: Some(3.0),
        }
    }

    fn member(service: &str) -> MemberReport {
        let verdict = Some("inconclusive".to_owned());
        MemberReport {
            service: service.to_owned(),
            to: color("green"),
            from: color("blue"),
            verdict,
            says: None,
        }
    }

    #[test]
    fn members_fit_into_a_hundred_columns_whatever_they_are_called() {
        let short = members(&[member("a"), member("b")]);
        assert!(fits(&short) && short.lines().nth(1).unwrap().starts_with("a  "), "{short}");
        let long = "x".repeat(63);
        let both = members(&[member(&long), member("b")]);
        assert!(fits(&both), "{both}");
        let lines: Vec<&str> = both.lines().collect();
        assert_eq!((lines.len(), lines[1], lines[4]), (7, long.as_str(), "b"));
        assert!(lines[2].starts_with("  green ") && lines[3].starts_with("  blue "), "{both}");
    }
}
