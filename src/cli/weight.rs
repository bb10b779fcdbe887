//! `teal weight`

use std::path::Path;

use hyper::Method;

use super::args::WeightArguments;
use super::client::{ClientError, default_socket, report, request, request_with};
use super::exit::Exit;
use super::print::print;
use super::save::{Prepared, prepare};
use crate::admin::report::{ChangeReport, ReloadReport, ReloadResult, SourceReport};
use crate::admin::weights::WeightsRequest;

/// Asks the daemon for an override, or for its end, and saves it if wanted.
pub fn weight(arguments: &WeightArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    if let Some(color) = repeated(&arguments.weights) {
        eprintln!("teal: {color} has two weights: give it one");
        return Exit::Usage;
    }
    // Everything that can fail about saving fails here, before anything is changed.
    let prepared = match arguments.save.then(|| prepare_save(&socket, arguments)).transpose() {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let colors = arguments.weights.iter().map(|(color, weight)| (color.clone(), i64::from(*weight)));
    let (why, emergency) = (arguments.why.clone(), arguments.emergency);
    let body = WeightsRequest { colors: colors.collect(), why, hint: hint(), emergency };
    let path = format!("/v1/services/{}/weights", segment(&arguments.service));
    let method = if arguments.reset { Method::DELETE } else { Method::POST };
    let answer: ChangeReport = match request_with(&socket, method, &path, &body) {
        Ok(answer) => answer,
        Err(error) => return report(&error),
    };
    let exit = print_changes(&answer);
    match prepared {
        Some((prepared, source)) => save(&socket, prepared, &source, &answer),
        None => exit,
    }
}

fn repeated(weights: &[(String, u16)]) -> Option<&str> {
    let colors = || weights.iter().map(|(color, _)| color.as_str());
    colors()
        .enumerate()
        .find(|(index, color)| colors().take(*index).any(|known| known == *color))
        .map(|(_, c)| c)
}

/// The file with the new weights, written beside it.
fn prepare_save(socket: &Path, arguments: &WeightArguments) -> Result<(Prepared, SourceReport), Exit> {
    let path = format!("/v1/services/{}/source", segment(&arguments.service));
    let mut source: SourceReport =
        request(socket, Method::GET, &path).map_err(|error: ClientError| report(&error))?;
    for (color, weight) in &arguments.weights {
        // An unknown color is refused by the daemon, which knows the others.
        if let Some(known) = source.weights.get_mut(color) {
            *known = *weight;
        }
    }
    let prepared = prepare(&source.path, &source.service, &source.weights).map_err(|error| {
        eprintln!("teal: {error}; nothing was changed on this host");
        Exit::Failed
    })?;
    Ok((prepared, source))
}

fn save(socket: &Path, prepared: Prepared, source: &SourceReport, answer: &ChangeReport) -> Exit {
    let file = source.path.display();
    let not_saved = |why: &str| {
        eprintln!("teal: {file} was not saved: {why}; the weights are in effect as an override on this host");
        Exit::Failed
    };
    if answer.weights != source.weights {
        return not_saved("somebody else changed the weights meanwhile");
    }
    if let Err(error) = prepared.commit() {
        return not_saved(&error.to_string());
    }
    match request::<ReloadReport>(socket, Method::POST, "/v1/reload") {
        Ok(reload) if matches!(reload.result, ReloadResult::Applied | ReloadResult::Unchanged) => {
            let lines: Vec<String> = source.lines.values().map(ToString::to_string).collect();
            let _ = print(&format!("saved in {file}, lines {}\n", lines.join(", ")));
            Exit::Done
        }
        Ok(reload) => {
            let message = reload.message.unwrap_or_default();
            eprintln!("teal: {file} is saved, but its reload failed on this host: {message}");
            Exit::Failed
        }
        Err(error) => report(&error),
    }
}

/// Prints what became of a change.
pub fn print_changes(answer: &ChangeReport) -> Exit {
    if answer.changes.is_empty() {
        let _ = print("nothing to change on this host: it is so already\n");
    }
    let lines: Vec<String> =
        answer.changes.iter().map(|change| format!("changed on this host: {change}\n")).collect();
    let _ = print(&lines.concat());
    for warning in &answer.warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(why) = &answer.unrecorded {
        eprintln!("warning: NOT RECORDED yet, a restart would forget it: {why}");
    }
    Exit::Done
}

/// Whom this acts for, as far as anybody can say.
pub fn hint() -> Option<String> {
    std::env::var("SUDO_USER").ok()
}

/// A name as a part of a path: what is no letter, digit, dot, hyphen or underscore is escaped (RFC 3986 §2.1).
pub fn segment(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'.' | b'-' | b'_' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}
