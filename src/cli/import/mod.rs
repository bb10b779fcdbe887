//! `teal import-compose`: compose templates with the labels of Alibaba Cloud's container service to a configuration.
//!
//! Reads the files and prints; what decides is `compose` (templates as written), `label`, `plan` (old and new) and
//! `write`, all pure.

mod compose;
mod label;
mod plan;
mod write;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::exit::Exit;
use super::local_args::ImportArguments;
use super::print::print;
use crate::config::{self, ReportStyle, Sources};
use crate::model::AppName;

/// Bytes of a template at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the command line says beside the templates.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of the app.
    pub app: AppName,
    /// Addresses by the service's name in its template.
    pub endpoints: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses outside, by the service's name.
    pub expose: BTreeMap<String, SocketAddr>,
}

/// What is to be told, each line once, in the order in which it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What keeps the templates from being imported.
    pub errors: Vec<String>,
    /// Lines for people.
    pub lines: Vec<String>,
}

impl Report {
    fn error(&mut self, words: impl Into<String>) {
        let words = words.into();
        if !self.errors.contains(&words) {
            self.errors.push(words);
        }
    }

    /// Adds a line, in which names of a template may be anything.
    fn tell(&mut self, line: &str) {
        let line = plain(line);
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    fn warning(&mut self, words: impl Display) {
        self.tell(&format!("warning: {words}"));
    }

    fn note(&mut self, words: impl Display) {
        self.tell(&format!("note: {words}"));
    }

    fn ignored(&mut self, service: &str, label: &str, why: &str) {
        self.tell(&format!("ignored: {service}: `{label}`: {why}"));
    }
}

/// Text of a template as a part of one line: nothing in it may end the line, or be heard by a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The pure front door: the text of one template, or of the old and the new one, to that of a configuration that
/// `teal check` takes.
///
/// # Errors
/// Something cannot be imported: the report's errors say what.
pub fn import(templates: &[&str], options: &Options) -> Result<(String, Report), Report> {
    let mut report = Report::default();
    let mut parsed = Vec::new();
    for (text, which) in templates.iter().zip(["first", "second"]) {
        match compose::parse(text) {
            Ok(template) => parsed.push(template),
            Err(words) => report.error(format!("the {which} template: {words}")),
        }
    }
    if parsed.len() == templates.len() {
        let plan = plan::plan(&parsed, &mut report);
        for job in &plan.jobs {
            report.note(format!(
                "{job}: a job, as it has no route and nobody links to it: no name, no address"
            ));
        }
        let text = write::configuration(&plan, options, &mut report);
        if report.errors.is_empty() {
            let sources = Sources::single("imported.toml", text.as_str());
            if let Err(rejected) = config::load(&sources) {
                let words = config::render(&rejected.diagnostics, &sources, ReportStyle::Plain);
                report.error(format!("what came of it is no valid configuration:\n{words}"));
            } else {
                return Ok((text, report));
            }
        }
    }
    Err(report)
}

/// Prints a configuration, and on the standard error what somebody has to know about it.
pub fn run(arguments: &ImportArguments) -> Exit {
    let files = [Some(&arguments.old), arguments.new.as_ref()];
    let texts: Result<Vec<_>, _> = files.into_iter().flatten().map(|path| read(path)).collect();
    let texts = match texts {
        Ok(texts) => texts,
        Err(words) => {
            eprintln!("teal: {words}");
            return Exit::Failed;
        }
    };
    let options = Options {
        app: arguments.app.clone(),
        endpoints: arguments.endpoints.iter().cloned().collect(),
        expose: arguments.expose.iter().cloned().collect(),
    };
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let (text, report) = match import(&texts, &options) {
        Ok((text, report)) => (Some(text), report),
        Err(report) => (None, report),
    };
    report.lines.iter().for_each(|line| eprintln!("{line}"));
    report.errors.iter().for_each(|error| eprintln!("error: {}", error.trim_end()));
    let Some(text) = text else { return Exit::Failed };
    match print(&text) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is longer than 1 MiB: it is no compose template", path.display()));
    }
    Ok(text)
}
