//! A finding about a configuration, and the pile on which all of them are collected.

use super::source::{Place, Sources};

/// Findings reported at most; the rest is counted.
const FINDINGS_MAX: usize = 1000;
/// Characters of the operator's own text that a message repeats at most.
const QUOTED_CHARS_MAX: usize = 60;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, but probably does not say what was meant.
    Warning,
}

/// A place and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// A few words.
    pub text: String,
}

/// Whether a finding is about something written, or about something that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    Written,
    /// The text is no TOML here.
    Syntax,
    /// In a file with syntax errors it may be there after all, so such findings are left out.
    Missing,
}

/// A finding: what is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// The place that is wrong.
    pub primary: Label,
    /// Other places that have to do with it, perhaps in another file.
    pub secondary: Vec<Label>,
    /// What to write instead.
    pub help: Option<String>,
    pub(super) basis: Basis,
}

impl Diagnostic {
    pub(super) fn error(title: impl Into<String>, place: Place, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            primary: Label { place, text: label.into() },
            secondary: Vec::new(),
            help: None,
            basis: Basis::Written,
        }
    }

    pub(super) fn warning(title: impl Into<String>, place: Place, label: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(title, place, label) }
    }

    /// An error about something that is not there.
    pub(super) fn missing(title: impl Into<String>, place: Place, label: impl Into<String>) -> Self {
        Self { basis: Basis::Missing, ..Self::error(title, place, label) }
    }

    pub(super) fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.secondary.push(Label { place, text: label.into() });
        self
    }

    pub(super) fn also_if_known(self, place: Option<Place>, label: impl Into<String>) -> Self {
        match place {
            Some(place) => self.also(place, label),
            None => self,
        }
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// `file:line:column: error: title`, for logs and status.
    pub fn one_line(&self, sources: &Sources) -> String {
        let path = sources.shown_path(self.primary.place.file);
        let position = sources.position(self.primary.place);
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{path}:{}:{}: {severity}: {}", position.line, position.column, self.title)
    }
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Diagnostic) {
        self.list.push(finding);
    }

    /// Pushes a finding where a value was expected that there is none of.
    pub(super) fn report<T>(&mut self, finding: Diagnostic) -> Option<T> {
        self.push(finding);
        None
    }

    pub(super) fn push_some(&mut self, finding: Option<Diagnostic>) {
        self.list.extend(finding);
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.list.retain(keep);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All findings in the order of the files; beyond a bound, a last one tells how many more there are.
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut list = self.list;
        list.sort_by(|a, b| (a.primary.place, &a.title).cmp(&(b.primary.place, &b.title)));
        if list.len() > FINDINGS_MAX {
            let more = list.split_off(FINDINGS_MAX);
            let worst = more.iter().map(|finding| finding.severity).min().unwrap_or(Severity::Error);
            let place = more.first().map(|finding| finding.primary.place).unwrap_or_default();
            let mut last =
                Diagnostic::error(format!("{} more findings", more.len()), place, "the next one is here");
            last.severity = worst;
            list.push(last.help("Correct the ones above and check again."));
        }
        list
    }
}

/// The operator's text between backticks, without control characters and not too long.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(escape_what_disturbs).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Quotes and backslashes are harmless inside backticks; line breaks and terminal codes are not.
fn escape_what_disturbs(character: char) -> Vec<char> {
    if matches!(character, '"' | '\'' | '\\') { vec![character] } else { character.escape_debug().collect() }
}
