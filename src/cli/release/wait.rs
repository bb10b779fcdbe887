//! `teal release wait`

use std::time::{Duration, Instant};

use super::args::{WaitArguments, WaitFor};
use super::{refused, releases, show, socket};
use crate::cli::exit::Exit;
use crate::cli::print::print;
use crate::release::report::ReleaseReport;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Waits until a release is so far, and says each change.
pub fn wait(arguments: &WaitArguments) -> Exit {
    let socket = socket(&arguments.daemon);
    let end = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // Another release of the app may follow: this one is meant.
    let mut target = arguments.app.clone();
    let mut said = String::new();
    loop {
        let answer = match releases(&socket, Some(&target)) {
            Ok(answer) => answer,
            Err(error) => return refused(&error),
        };
        let Some(release) = answer.releases.first() else { return Exit::Failed };
        target.clone_from(&release.release);
        let line = show::line(release);
        if line != said {
            let _ = print(&format!("on this host: {line}\n"));
            said = line;
        }
        if let Some(exit) = over(release, arguments) {
            return exit;
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            eprintln!("teal: the release is not so far on this host, and --timeout is over");
            return Exit::TimedOut;
        }
        std::thread::sleep(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN)));
    }
}

/// Whether there is nothing more to wait for.
fn over(release: &ReleaseReport, arguments: &WaitArguments) -> Option<Exit> {
    if reached(release, arguments.state) {
        return Some(Exit::Done);
    }
    match state_exit(release) {
        Exit::Holding | Exit::Inconclusive if arguments.through_holds => None,
        // It goes on by itself.
        Exit::Done => None,
        Exit::AwaitingConfirm if arguments.state == WaitFor::RolledBack => None,
        Exit::RolledBack
            if release.phase != "closed"
                && matches!(arguments.state, WaitFor::RolledBack | WaitFor::Drained) =>
        {
            None
        }
        exit => Some(exit),
    }
}

fn reached(release: &ReleaseReport, state: WaitFor) -> bool {
    let phase = release.phase.as_str();
    // One that is rolled back is closed at once, and only then may the next one start.
    let is_over = matches!(phase, "confirmed" | "closed");
    let kept = release.ending.as_deref() == Some("confirmed");
    match state {
        WaitFor::Preview => release.stages.0 > 0,
        WaitFor::Awaiting => phase == "awaiting_confirm" || kept,
        WaitFor::Confirmed => is_over && kept,
        WaitFor::RolledBack => is_over && !kept,
        WaitFor::Drained => is_over,
    }
}

/// The state of a release as an exit code; 0 where it goes on by itself, or is confirmed.
pub fn state_exit(release: &ReleaseReport) -> Exit {
    let is_inconclusive = release.hold.as_ref().is_some_and(|hold| hold.reason == "inconclusive");
    match release.phase.as_str() {
        "holding" if is_inconclusive => Exit::Inconclusive,
        "holding" => Exit::Holding,
        "awaiting_confirm" => Exit::AwaitingConfirm,
        "rolling_back" | "rolled_back" => Exit::RolledBack,
        "closed" if release.ending.as_deref() != Some("confirmed") => Exit::RolledBack,
        _ => Exit::Done,
    }
}
