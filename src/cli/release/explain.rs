//! `teal release explain` and `simulate`

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::args::{ExplainArguments, SimulateArguments};
use super::{ask, refused, socket};
use crate::cli::exit::Exit;
use crate::cli::print::{print, print_json};
use crate::cli::table::{Align, Table};
use crate::cli::weight::segment;
use crate::release::analysis::{Finding, MemberVerdict, Share, Verdict, VerdictKind, replay};
use crate::release::report::ExplainReport;

/// The numbers behind the last verdict.
pub fn explain(arguments: &ExplainArguments) -> Exit {
    let socket = socket(&arguments.daemon);
    let path = format!("/v1/releases/{}/explain", segment(&arguments.app));
    let answer: ExplainReport = match ask(&socket, &path) {
        Ok(answer) => answer,
        Err(error) => return refused(&error),
    };
    if arguments.json {
        let _ = print_json(&answer);
        return Exit::Done;
    }
    let text = match &answer.verdict {
        None => format!("{} was not judged yet on this host\n", answer.release),
        Some(verdict) => {
            let at = answer.at.map_or_else(String::new, |at| format!(" at {}", time(at)));
            format!("{} step {}{at}, on this host: {}", answer.release, answer.step, self::verdict(verdict))
        }
    };
    let _ = print(&format!("{text}recorded in {}\n", answer.recorded));
    Exit::Done
}

fn time(at: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at)).to_string()
}

fn verdict(verdict: &Verdict) -> String {
    let mut text = format!("{}\n", verdict.kind.label().to_uppercase());
    for member in &verdict.members {
        let _ = writeln!(text, "\n{}: {}: {}", member.service, member.kind, member.says);
        let mut table = Table::new(&[
            ("SIGNAL", Align::Left),
            ("NEW", Align::Right),
            ("OLD", Align::Right),
            ("EVIDENCE", Align::Right),
            ("FAILS AT", Align::Right),
            ("VERDICT", Align::Left),
        ]);
        for finding in &member.findings {
            table.row(row(finding));
        }
        text.push_str(&table.render());
    }
    for note in &verdict.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn row(finding: &Finding) -> [String; 6] {
    let share = |share: Share| format!("{}/{}", share.events, share.of);
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"));
    [
        finding.signal.label().to_owned(),
        share(finding.new),
        share(finding.old),
        number(finding.evidence),
        number(finding.bound),
        finding.kind.to_string(),
    ]
}

/// Judges again what was recorded.
pub fn simulate(arguments: &SimulateArguments) -> Exit {
    let path = match recorded(arguments) {
        Ok(path) => path,
        Err(exit) => return exit,
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("teal: {path} cannot be read: {error}");
            return Exit::Failed;
        }
    };
    let (mut verdicts, mut damaged) = (Vec::new(), Vec::new());
    for looked in replay(text.lines(), None) {
        match looked {
            Ok(replayed) => verdicts.push(replayed),
            Err(line) => damaged.push(line),
        }
    }
    if arguments.json {
        let _ = print_json(&verdicts);
    } else {
        let mut shown = String::new();
        for replayed in &verdicts {
            let says: Vec<String> = replayed.verdict.members.iter().map(MemberVerdict::named).collect();
            let (at, kind) = (time(replayed.time), replayed.verdict.kind);
            let _ = writeln!(
                shown,
                "{at} {} shift {} {kind}: {}",
                replayed.release,
                replayed.stage + 1,
                says.join(" ")
            );
        }
        let _ = print(&shown);
    }
    for line in &damaged {
        eprintln!("warning: {path}: {line}");
    }
    match verdicts.last().map(|replayed| replayed.verdict.kind) {
        Some(VerdictKind::Pass) => Exit::Done,
        Some(VerdictKind::Inconclusive) => Exit::Inconclusive,
        Some(VerdictKind::Fail) | None => Exit::Failed,
    }
}

/// The file that is named, or that of the release that is.
fn recorded(arguments: &SimulateArguments) -> Result<String, Exit> {
    if Path::new(&arguments.what).exists() {
        return Ok(arguments.what.clone());
    }
    let socket = socket(&arguments.daemon);
    let path = format!("/v1/releases/{}/explain", segment(&arguments.what));
    ask::<ExplainReport>(&socket, &path).map(|answer| answer.recorded).map_err(|error| refused(&error))
}
