//! `teal release log`

use hyper::Method;

use super::args::LogArguments;
use super::{refused, socket};
use crate::admin::report::JournalReport;
use crate::cli::client::request;
use crate::cli::exit::Exit;
use crate::cli::journal;
use crate::cli::print::{print, print_json};
use crate::state::journal::{Event, Record};
use crate::state::release::Release;

/// Records that are looked through.
const RECORDS: usize = 10_000;

/// What was done to releases, from the journal.
pub fn log(arguments: &LogArguments) -> Exit {
    let socket = socket(&arguments.daemon);
    let path = format!("/v1/journal?limit={RECORDS}");
    let mut answer: JournalReport = match request(&socket, Method::GET, &path) {
        Ok(answer) => answer,
        Err(error) => return refused(&error),
    };
    if arguments.verify && arguments.json {
        answer.records.clear();
        let _ = print_json(&answer);
        return journal::damage(&answer);
    }
    if arguments.verify {
        return journal::verified(&answer);
    }
    let wanted = arguments.app.as_deref();
    answer.records.retain(|value| {
        let Ok(record) = serde_json::from_value::<Record>(value.clone()) else { return false };
        is_wanted(&record.event, wanted)
    });
    let _ = if arguments.json {
        print_json(&answer.records)
    } else {
        let lines: Vec<String> = answer.records.iter().map(|record| fold(&journal::line(record))).collect();
        print(&lines.concat())
    };
    journal::damage(&answer)
}

/// A line as lines of at most so many columns, broken between words; those after the first are indented.
fn fold(line: &str) -> String {
    const COLUMNS_MAX: usize = 100;
    let (mut text, mut columns) = (String::new(), 0);
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if columns > 0 && columns + 1 + width > COLUMNS_MAX {
            text.push_str("\n   ");
            columns = 3;
        }
        if columns > 0 {
            text.push(' ');
            columns += 1;
        }
        text.push_str(word);
        columns += width;
    }
    text + "\n"
}

fn is_wanted(event: &Event, wanted: Option<&str>) -> bool {
    let is_meant = |release: &Release| {
        wanted.is_none_or(|wanted| wanted == release.id.0 || wanted == release.app().as_str())
    };
    match event {
        Event::Intent { release, .. } | Event::Emergency { release, .. } => {
            release.as_deref().is_some_and(is_meant)
        }
        Event::Release { release, .. } => is_meant(release),
        Event::Freeze { app, .. } => {
            wanted.is_none_or(|wanted| app.as_ref().is_none_or(|app| app.as_str() == wanted))
        }
        Event::Checkpoint { .. } | Event::Applied { .. } | Event::Abandoned { .. } | Event::Ended { .. } => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_fits_the_columns_and_keeps_its_words() {
        let line = "1 2026-11-23T10:00:00Z intent by alice: ".to_owned() + &"a: blue=1 green=0; ".repeat(20);
        let text = fold(&line);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("    ")), "{text}");
        assert!(text.split_whitespace().eq(line.split_whitespace()));
    }
}
