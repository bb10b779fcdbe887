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
        let lines: Vec<String> = answer.records.iter().map(journal::line).collect();
        print(&lines.concat())
    };
    journal::damage(&answer)
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
