//! `teal release`, `teal freeze` and `teal unfreeze`

pub mod args;
mod confirm;
mod explain;
mod log;
mod show;
mod spec;
mod wait;

use std::path::{Path, PathBuf};

use hyper::Method;
use serde::de::DeserializeOwned;

use self::args::{FreezeArguments, ReleaseArguments, ReleaseVerb, StatusArguments};
use super::args::DaemonArguments;
use super::client::{ClientError, default_socket, report, request, request_with};
use super::exit::Exit;
use super::print::{print, print_json};
use super::weight::{hint, segment};
use crate::admin::releases::{FreezeRequest, VerbRequest};
use crate::admin::report::ReleasesReport;
use crate::release::report::ReleaseReport;

/// Does what was asked for.
pub fn release(arguments: &ReleaseArguments) -> Exit {
    match &arguments.verb {
        ReleaseVerb::Plan(plan) => spec::plan(plan),
        ReleaseVerb::Start(start) => spec::start(start),
        ReleaseVerb::Status(status) => self::status(status),
        ReleaseVerb::Next(next) => {
            let common = &next.common;
            let request = VerbRequest { skip_checks: next.skip_checks, ..because(common.why.as_deref()) };
            say(&socket(&common.daemon), (&common.app, "next"), &request, common.json)
        }
        ReleaseVerb::Set(set) => {
            let (service, percent) = set.share.clone();
            let wish =
                VerbRequest { service: Some(service), percent: Some(percent), ..because(set.why.as_deref()) };
            say(&socket(&set.daemon), (&set.app, "set"), &wish, set.json)
        }
        ReleaseVerb::Hold(verb) => plain(verb, "hold"),
        ReleaseVerb::Resume(verb) => plain(verb, "resume"),
        ReleaseVerb::Adopt(verb) => plain(verb, "adopt"),
        ReleaseVerb::Discard(verb) => plain(verb, "discard"),
        ReleaseVerb::Confirm(confirm) => confirm::confirm(confirm),
        ReleaseVerb::Rollback(back) => back_to(back, "rollback"),
        ReleaseVerb::Undo(back) => back_to(back, "undo"),
        ReleaseVerb::Wait(wait) => wait::wait(wait),
        ReleaseVerb::Explain(explain) => explain::explain(explain),
        ReleaseVerb::Simulate(simulate) => explain::simulate(simulate),
        ReleaseVerb::Log(log) => log::log(log),
        ReleaseVerb::Abort(_) => not_a_word(
            "abort",
            "`teal release hold APP` stays where it is, `teal release rollback APP -m WHY` goes back",
        ),
        ReleaseVerb::Promote(_) => not_a_word(
            "promote",
            "`teal release next APP` skips the rest of a bake, `teal release confirm APP -m WHY` keeps the new color",
        ),
    }
}

/// Its meaning differs from system to system, so it has none here.
fn not_a_word(word: &str, instead: &str) -> Exit {
    eprintln!("teal: there is no `{word}`: {instead}");
    Exit::Usage
}

fn socket(daemon: &DaemonArguments) -> PathBuf {
    daemon.socket.clone().unwrap_or_else(default_socket)
}

fn because(why: Option<&str>) -> VerbRequest {
    VerbRequest { why: why.unwrap_or_default().to_owned(), hint: hint(), ..VerbRequest::default() }
}

fn plain(verb: &args::VerbArguments, word: &str) -> Exit {
    say(&socket(&verb.daemon), (&verb.app, word), &because(verb.why.as_deref()), verb.json)
}

fn back_to(back: &args::BackArguments, word: &str) -> Exit {
    let request = VerbRequest { force: back.force, ..because(Some(&back.why)) };
    say(&socket(&back.daemon), (&back.app, word), &request, back.json)
}

/// The exit code of a refusal, which it prints.
fn refused(error: &ClientError) -> Exit {
    let exit = report(error);
    match error {
        ClientError::Refused { status: 409, .. } => Exit::Conflict,
        ClientError::Refused { status: 423, .. } => Exit::Frozen,
        _ => exit,
    }
}

/// Says a word about a release and shows what became of it.
fn say(socket: &Path, (app, verb): (&str, &str), request: &VerbRequest, json: bool) -> Exit {
    let path = format!("/v1/releases/{}/{verb}", segment(app));
    match request_with::<ReleaseReport>(socket, Method::POST, &path, request) {
        Ok(release) => became(&release, json),
        Err(error) => refused(&error),
    }
}

/// Prints what became of a release.
fn became(release: &ReleaseReport, json: bool) -> Exit {
    let _ =
        if json { print_json(release) } else { print(&format!("on this host: {}\n", show::line(release))) };
    if release.unrecorded {
        eprintln!("warning: NOT RECORDED yet, a restart would forget it");
    }
    Exit::Done
}

/// The releases of an app, or all.
fn releases(socket: &Path, app: Option<&str>) -> Result<ReleasesReport, ClientError> {
    let path = match app {
        Some(app) => format!("/v1/releases?release={}", segment(app)),
        None => "/v1/releases".to_owned(),
    };
    request(socket, Method::GET, &path)
}

fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    request(socket, Method::GET, path)
}

fn status(arguments: &StatusArguments) -> Exit {
    let socket = socket(&arguments.daemon);
    loop {
        let answer = match releases(&socket, arguments.app.as_deref()) {
            Ok(answer) => answer,
            Err(error) => return refused(&error),
        };
        let text = if arguments.json { String::new() } else { show::render(&answer) };
        if !arguments.watch {
            let _ = if arguments.json { print_json(&answer) } else { print(&text) };
            let state = answer.releases.first().filter(|_| arguments.exit_code);
            return state.map_or(Exit::Done, wait::state_exit);
        }
        if print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))).is_err() {
            return Exit::Done;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// Freezes shifts, or lets them go on.
pub fn freeze(arguments: &FreezeArguments, frozen: bool) -> Exit {
    let socket = socket(&arguments.daemon);
    let (app, why) = (arguments.app.clone(), arguments.why.clone());
    let body = FreezeRequest { app, frozen, why, hint: hint() };
    match request_with::<bool>(&socket, Method::POST, "/v1/freezes", &body) {
        Ok(changed) => {
            let what = arguments.app.as_deref().unwrap_or("every app");
            let words = match (frozen, changed) {
                (true, true) => "are frozen",
                (true, false) => "are frozen already",
                (false, true) => "are not frozen any more",
                (false, false) => "were not frozen",
            };
            let _ = print(&format!("on this host shifts of {what} {words}\n"));
            Exit::Done
        }
        Err(error) => refused(&error),
    }
}
