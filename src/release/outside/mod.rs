//! What a release asks of the outside world, and what it tells it: gates, hooks and notifications.
//!
//! Whoever drives a release calls [`Outside::run_gate`] and [`run_hook`] and hands messages to a [`Notifier`].
//! Nothing here looks at weights or decides what follows; no call lasts longer than its timeout says.

pub mod http;
pub mod notify;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod sign;
pub mod webhook;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::model::release::{Gate, GateCheck, Percent};
use crate::model::{AppName, ColorName, ServiceName};
use crate::state::release::ReleaseId;
use crate::telemetry::names::RELEASE_GATE_RUNS;

pub use self::notify::{Message, Notifier};

/// How long a hook may take: it may stop containers and wait for them.
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);
/// Names of gates that have series of their own; further ones share one, as clients choose the names.
const GATE_LABELS_MAX: usize = 100;
/// The label of those.
const OTHER_GATES: &str = "other";

/// The moment of a release that somebody outside is asked about, or told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The release.
    pub release: ReleaseId,
    /// What is released.
    pub app: AppName,
    /// What people call the new color.
    pub version: String,
    /// The step, counted from 1; for a gate the one that waits for it. 0 before the first shift.
    pub step: usize,
    /// The share of that step.
    pub percent: Percent,
    /// Who moves, in order of name.
    pub members: Vec<AskedMember>,
}

/// A service that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedMember {
    /// Which one.
    pub service: ServiceName,
    /// The old color.
    pub from: ColorName,
    /// The new color.
    pub to: ColorName,
    /// The name that reaches the new color at any weight: `green.servicea.local`.
    pub preview: String,
}

impl Asked {
    /// What a program finds in its environment, names and values: `TEAL_RELEASE`, `TEAL_APP`, `TEAL_VERSION`,
    /// `TEAL_STEP`, `TEAL_PERCENT`, `TEAL_MEMBERS` (service names with spaces between), and for each member
    /// `TEAL_FROM_NAME`, `TEAL_TO_NAME` and `TEAL_PREVIEW_NAME`, with the service's name in upper case and `_`
    /// for hyphens.
    pub fn environment(&self) -> Vec<(String, String)> {
        let names: Vec<_> = self.members.iter().map(|member| member.service.as_str()).collect();
        let mut variables = vec![
            ("TEAL_RELEASE".to_owned(), self.release.to_string()),
            ("TEAL_APP".to_owned(), self.app.to_string()),
            ("TEAL_VERSION".to_owned(), self.version.clone()),
            ("TEAL_STEP".to_owned(), self.step.to_string()),
            ("TEAL_PERCENT".to_owned(), self.percent.get().to_string()),
            ("TEAL_MEMBERS".to_owned(), names.join(" ")),
        ];
        for member in &self.members {
            let name = member.service.as_str().to_ascii_uppercase().replace('-', "_");
            variables.push((format!("TEAL_FROM_{name}"), member.from.to_string()));
            variables.push((format!("TEAL_TO_{name}"), member.to.to_string()));
            variables.push((format!("TEAL_PREVIEW_{name}"), member.preview.clone()));
        }
        variables
    }
}

/// What a gate says. The words are one line that may be shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateOutcome {
    /// Go on.
    Passed,
    /// Somebody looked and said no.
    Failed(String),
    /// Nobody could be asked, or nobody knows.
    Inconclusive(String),
}

impl GateOutcome {
    /// For metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Inconclusive(_) => "inconclusive",
        }
    }
}

/// The gates of a daemon.
#[derive(Debug, Default)]
pub struct Outside {
    /// Gates that have series of their own.
    labels: Mutex<BTreeSet<String>>,
}

impl Outside {
    /// Asks a gate; `gates_dir` is where its program lies. Takes as long as its timeout at most, and for a program
    /// the few seconds more that it may need to be ended.
    pub async fn run_gate(&self, gate: &Gate, asked: &Asked, gates_dir: &Path) -> GateOutcome {
        let outcome = match &gate.check {
            GateCheck::Exec { program } => exec(gates_dir, program, asked, gate.timeout).await,
            GateCheck::Webhook { url, secret_file } => {
                let question = webhook::Question { gate: &gate.name, asked };
                webhook::ask(url, secret_file.as_deref(), &question, gate.timeout).await
            }
            GateCheck::Prometheus { url, query, min, max, on_missing } => {
                let limits = prometheus::Limits {
                    min: min.map(|bound| bound.0),
                    max: max.map(|bound| bound.0),
                    on_missing: *on_missing,
                };
                prometheus::ask(url, query, &asked.members, limits, gate.timeout).await
            }
        };
        let label = self.label(&gate.name);
        metrics::counter!(RELEASE_GATE_RUNS.name, "gate" => label, "result" => outcome.label()).increment(1);
        tracing::info!(release = %asked.release, gate = gate.name, "gate {}: {outcome:?}", outcome.label());
        outcome
    }

    fn label(&self, gate: &str) -> String {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if !labels.contains(gate) {
            if labels.len() >= GATE_LABELS_MAX {
                return OTHER_GATES.to_owned();
            }
            labels.insert(gate.to_owned());
        }
        gate.to_owned()
    }
}

/// Runs a program of the hooks folder, for ten minutes at most.
///
/// # Errors
/// Says in one line why it did not run or did not end well.
pub async fn run_hook(hooks_dir: &Path, program: &str, asked: &Asked) -> Result<(), String> {
    match exec(hooks_dir, program, asked, HOOK_TIMEOUT).await {
        GateOutcome::Passed => Ok(()),
        GateOutcome::Failed(words) | GateOutcome::Inconclusive(words) => Err(words),
    }
}

/// Runs a program of a folder of programs, if nobody but root or this daemon's user can have put it there.
async fn exec(folder: &Path, program: &str, asked: &Asked, timeout: Duration) -> GateOutcome {
    let own = rustix::process::geteuid().as_raw();
    let path = match program::trusted(folder, program, own) {
        Ok(path) => path,
        Err(refusal) => return GateOutcome::Inconclusive(format!("not run: {refusal}")),
    };
    match process::run(&path, &asked.environment(), timeout).await {
        Ok(ran) if ran.ended == process::Ended::Exited(0) => GateOutcome::Passed,
        Ok(ran) => GateOutcome::Failed(format!("{program:?} {ran}")),
        Err(error) => GateOutcome::Inconclusive(format!("{} cannot be run: {error}", path.display())),
    }
}

/// The last line of text that is not empty, as much of it as people read, without what a terminal would act on.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    plain(line)
}

/// Text as one line of bounded length, without what a terminal would act on.
fn plain(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(CHARACTERS_MAX).collect::<String>().trim().to_owned()
}
