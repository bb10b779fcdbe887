//! `teal reload`

use hyper::Method;

use super::args::ReloadArguments;
use super::client::{default_socket, report, request};
use super::exit::Exit;
use super::print::{print, print_json};
use crate::admin::report::{ReloadReport, ReloadResult};

/// Asks for a reload, waits, prints the result.
pub fn reload(arguments: &ReloadArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    let path = if arguments.allow_removal { "/v1/reload?allow_removal=true" } else { "/v1/reload" };
    let answer: ReloadReport = match request(&socket, Method::POST, path) {
        Ok(answer) => answer,
        Err(error) => return report(&error),
    };
    if arguments.json {
        let _ = print_json(&answer);
    } else {
        print_report(&answer);
    }
    match answer.result {
        ReloadResult::Applied | ReloadResult::Unchanged => Exit::Done,
        ReloadResult::Rejected | ReloadResult::Refused => Exit::Failed,
    }
}

fn print_report(report: &ReloadReport) {
    for warning in &report.warnings {
        eprintln!("{warning}");
    }
    match report.result {
        ReloadResult::Applied => {
            let head = format!("applied on this host: {} changes", report.changes.len());
            let lines =
                std::iter::once(head).chain(report.changes.iter().map(|change| format!("  {change}")));
            let _ = print(&(lines.collect::<Vec<_>>().join("\n") + "\n"));
        }
        ReloadResult::Unchanged => {
            let _ = print("unchanged on this host: the file says what is in effect\n");
        }
        ReloadResult::Rejected | ReloadResult::Refused => {
            eprintln!("{}", report.message.as_deref().unwrap_or_default());
            eprintln!("nothing was changed on this host: the configuration in effect goes on");
        }
    }
}
