//! `teal journal`

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use hyper::Method;
use serde_json::Value;

use super::args::{JournalArguments, JournalVerb};
use super::client::{default_socket, report, request, request_with};
use super::exit::Exit;
use super::print::{print, print_json};
use super::weight::{hint, print_changes};
use crate::admin::journal::AcceptRequest;
use crate::admin::report::{ChangeReport, JournalReport};
use crate::model::AppName;
use crate::state::journal::{Event, Record};

/// Shows the last records, or accepts a damaged journal.
pub fn journal(arguments: &JournalArguments) -> Exit {
    if let Some(JournalVerb::Accept(accept)) = &arguments.verb {
        let socket = accept.daemon.socket.clone().unwrap_or_else(default_socket);
        let body = AcceptRequest { why: accept.why.clone(), hint: hint() };
        return match request_with::<ChangeReport>(&socket, Method::POST, "/v1/journal/accept", &body) {
            Ok(answer) => print_changes(&answer),
            Err(error) => report(&error),
        };
    }
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    let path = format!("/v1/journal?limit={}", arguments.limit);
    let answer: JournalReport = match request(&socket, Method::GET, &path) {
        Ok(answer) => answer,
        Err(error) => return report(&error),
    };
    if arguments.json {
        let _ = print_json(&answer);
    } else if arguments.verify {
        return verified(&answer);
    } else {
        let lines: Vec<String> = answer.records.iter().map(line).collect();
        let _ = print(&lines.concat());
    }
    damage(&answer)
}

/// Says how much of the journal was verified.
pub fn verified(answer: &JournalReport) -> Exit {
    let JournalReport { verified, sequence, hash, .. } = answer;
    let _ = print(&format!("{verified} records verified on this host, head {sequence} {hash}\n"));
    damage(answer)
}

/// Says what is damaged, if anything is.
pub fn damage(answer: &JournalReport) -> Exit {
    match &answer.damage {
        Some(damage) => {
            eprintln!("teal: the journal is damaged: {damage}");
            Exit::Failed
        }
        None => Exit::Done,
    }
}

/// A record for people; one that this version cannot read is shown as it is.
pub fn line(value: &Value) -> String {
    let Ok(record) = serde_json::from_value::<Record>(value.clone()) else { return format!("{value}\n") };
    let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(record.at));
    let mut text = format!("{} {at} {}", record.sequence, record.event.kind());
    match &record.event {
        Event::Intent { edits, cause, .. }
        | Event::Ended { edits, cause }
        | Event::Emergency { edits, cause, .. } => {
            let edits: Vec<String> = edits.iter().map(ToString::to_string).collect();
            let _ = write!(text, " by {}: {} because {}", cause.actor, edits.join("; "), cause.why);
            if let Event::Intent { release: Some(release), .. }
            | Event::Emergency { release: Some(release), .. } = &record.event
            {
                let _ = write!(text, " ({} {})", release.id, release.phase);
            }
        }
        Event::Release { release, cause } => {
            let _ = write!(text, " {} {} by {}: {}", release.id, release.phase, cause.actor, cause.why);
        }
        Event::Freeze { app, frozen, cause } => {
            let (word, app) = (if *frozen { "freeze" } else { "unfreeze" }, app.as_ref());
            let app = app.map_or("every app", AppName::as_str);
            let _ = write!(text, " {word} {app} by {} because {}", cause.actor, cause.why);
        }
        Event::Applied { intent } | Event::Abandoned { intent } => {
            let _ = write!(text, " {intent}");
        }
        Event::Checkpoint { overrides, accepted, .. } => {
            let _ = write!(text, " of {} services", overrides.services().count());
            if let Some(cause) = accepted {
                let _ = write!(text, ", damage accepted by {} because {}", cause.actor, cause.why);
            }
        }
    }
    text + "\n"
}
