//! Reports for people: the source line, a caret, what is wrong and what to write instead.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Label, Severity};
use super::source::{Place, Sources, floor_boundary};

/// How far apart labels may be to be shown together: the renderer works on all that lies between.
const NEAR_OCTETS: usize = 8 * 1024;

/// Whether a report has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportStyle {
    /// No escape codes: for files, pipes and tests.
    Plain,
    /// With colours, for terminals.
    Coloured,
}

/// Renders findings one after the other, each ended by an empty line; nothing when there is none.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, style: ReportStyle) -> String {
    let renderer = match style {
        ReportStyle::Plain => Renderer::plain(),
        ReportStyle::Coloured => Renderer::styled(),
    };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&[group(diagnostic, sources)]));
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(&diagnostic.title));
    for marks in marks_by_file(diagnostic) {
        group = group.element(snippet(&marks, sources));
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    }
}

struct Mark<'a> {
    kind: AnnotationKind,
    label: &'a Label,
}

/// The labels of each file together, the file of the primary one first; a label far from the others is
/// shown on its own.
fn marks_by_file(diagnostic: &Diagnostic) -> Vec<Vec<Mark<'_>>> {
    let mut files = vec![vec![Mark { kind: AnnotationKind::Primary, label: &diagnostic.primary }]];
    for label in &diagnostic.secondary {
        let mark = Mark { kind: AnnotationKind::Context, label };
        match files.iter_mut().find(|marks| are_near(marks[0].label.place, label.place)) {
            Some(marks) => marks.push(mark),
            None => files.push(vec![mark]),
        }
    }
    files
}

fn are_near(one: Place, other: Place) -> bool {
    one.file == other.file && one.start.abs_diff(other.start) <= NEAR_OCTETS
}

/// Only the lines between the first and the last mark are handed to the renderer, since it looks at
/// every line that it gets.
fn snippet<'a>(marks: &[Mark<'a>], sources: &'a Sources) -> Snippet<'a, Annotation<'a>> {
    let file = marks[0].label.place.file;
    let text = sources.text(file);
    let first = marks.iter().map(|mark| mark.label.place.start).min().unwrap_or(0);
    let last = marks.iter().map(|mark| mark.label.place.end).max().unwrap_or(0);
    let window = whole_lines(text, first..last);
    let lines_before = text[..window.start].bytes().filter(|byte| *byte == b'\n').count();
    Snippet::source(&text[window.clone()])
        .line_start(lines_before + 1)
        .path(sources.shown_path(file))
        .annotations(marks.iter().map(|mark| annotation(mark, text, &window)))
}

fn annotation<'a>(mark: &Mark<'a>, text: &str, window: &Range<usize>) -> Annotation<'a> {
    let start = floor_boundary(text, mark.label.place.start).clamp(window.start, window.end);
    let end = floor_boundary(text, mark.label.place.end).clamp(start, window.end);
    mark.kind.span(start - window.start..end - window.start).label(&mark.label.text)
}

fn whole_lines(text: &str, range: Range<usize>) -> Range<usize> {
    let start = floor_boundary(text, range.start);
    let end = floor_boundary(text, range.end).max(start);
    let start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
    start..end
}
