//! `teal drain`

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Method;

use super::args::DrainArguments;
use super::client::{default_socket, report, request};
use super::endpoint::set;
use super::exit::Exit;
use super::print::print;
use super::weight::{hint, segment};
use crate::admin::endpoints::EndpointRequest;
use crate::admin::report::{DrainReport, DrainsReport};
use crate::state::Admission;

/// Between two looks at what is left.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Takes a color or an endpoint out of use where a reason is given, then waits if wanted.
pub fn drain(arguments: &DrainArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    if let (Some(why), Some(color)) = (&arguments.why, &arguments.color) {
        let request = EndpointRequest {
            color: color.clone(),
            address: arguments.endpoint.clone(),
            to: Admission::Disabled,
            why: why.clone(),
            hint: hint(),
            emergency: arguments.emergency,
        };
        let exit = set(&socket, &arguments.service, &request);
        if exit != Exit::Done {
            return exit;
        }
    }
    if arguments.wait { wait(&socket, arguments) } else { Exit::Done }
}

/// Shows what is left until nothing is, or the time is over.
fn wait(socket: &Path, arguments: &DrainArguments) -> Exit {
    let path = path(arguments);
    let end = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut display = Display::new();
    loop {
        let drains: DrainsReport = match request(socket, Method::GET, &path) {
            Ok(drains) => drains,
            Err(error) => {
                display.finish();
                return report(&error);
            }
        };
        if drains.drains.is_empty() {
            display.finish();
            if let Some(warning) = drains.warning {
                eprintln!("warning: {warning}");
            }
            let _ = print("no connection is left to drain on this host\n");
            return Exit::Done;
        }
        display.show(&line(&drains.drains));
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            display.finish();
            eprintln!("teal: it still drains on this host, and --timeout is over");
            return Exit::TimedOut;
        }
        std::thread::sleep(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN)));
    }
}

fn path(arguments: &DrainArguments) -> String {
    let given = [("color", &arguments.color), ("endpoint", &arguments.endpoint)];
    let named = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let all = std::iter::once(("service", &arguments.service)).chain(named);
    let pairs: Vec<String> = all.map(|(name, value)| format!("{name}={}", segment(value))).collect();
    format!("/v1/drains?{}", pairs.join("&"))
}

/// How many connections are left, how old the oldest is, and when the last of them are closed.
fn line(drains: &[DrainReport]) -> String {
    let left: usize = drains.iter().map(|drain| drain.left).sum();
    let connections = if left == 1 { "connection is" } else { "connections are" };
    let oldest = drains.iter().filter_map(|drain| drain.oldest_seconds).max();
    let oldest = oldest.map_or_else(String::new, |age| format!(", the oldest {} old", seconds(age)));
    let by_weight = drains.iter().any(|drain| drain.closed_in_seconds.is_none());
    let end = match drains.iter().filter_map(|drain| drain.closed_in_seconds).max() {
        Some(0) => "; the rest is being closed".to_owned(),
        Some(left) => format!("; the rest is closed in {}", seconds(left)),
        None => String::new(),
    };
    let end = if by_weight { "; those of weight 0 end by themselves" } else { &end };
    format!("{left} {connections} left on this host{oldest}{end}")
}

/// For people.
pub fn seconds(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// One line that is written anew on a terminal; elsewhere a line for each change.
struct Display {
    live: bool,
    last: Option<String>,
}

impl Display {
    fn new() -> Self {
        Self { live: std::io::stdout().is_terminal(), last: None }
    }

    fn show(&mut self, line: &str) {
        if self.live {
            let _ = print(&format!("\r{line}\x1b[K"));
        } else if self.last.as_deref() != Some(count(line)) {
            let _ = print(&format!("{line}\n"));
        }
        self.last = Some(count(line).to_owned());
    }

    /// Leaves the line that is written anew.
    fn finish(&self) {
        if self.live && self.last.is_some() {
            let _ = print("\n");
        }
    }
}

/// The number that a line begins with: times alone are no news.
fn count(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(left: usize, oldest_seconds: u64, closed_in_seconds: Option<u64>) -> DrainReport {
        DrainReport {
            service: "a".to_owned(),
            port: 80,
            color: "blue".to_owned(),
            endpoint: ([10, 0, 0, 1], 80).into(),
            why: "disabled".to_owned(),
            left,
            oldest_seconds: Some(oldest_seconds),
            closed_in_seconds,
        }
    }

    #[test]
    fn the_line_sums_up_what_is_left() {
        let both = [report(2, 5, Some(60)), report(1, 90, Some(30))];
        let expected = "3 connections are left on this host, the oldest 1m 30s old; the rest is closed in 1m";
        assert_eq!(line(&both), expected);
        let expected = "1 connection is left on this host, the oldest 7s old; the rest is being closed";
        assert_eq!(line(&[report(1, 7, Some(0))]), expected);
        let weight = line(&[report(1, 7, None), report(1, 8, Some(3))]);
        assert!(weight.ends_with("those of weight 0 end by themselves"), "{weight}");
    }
}
