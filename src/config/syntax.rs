//! From text to a spanned TOML tree, with every syntax error that the parser can tell.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Basis, Diagnostic, Findings, quote};
use super::source::{Place, Sources, floor_boundary};

/// Repeated keys of one file that are reported at most: each costs another look at the whole text.
const REPEATED_KEYS_MAX: usize = 20;
/// What the parser says about a key that is there twice.
const REPEATED_KEY: &str = "duplicate key";
/// Stands in for a repeated key while its first place is looked for.
const STAND_IN: &str = "teal_repeated_key";

/// The tree of one file.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    pub(super) file: usize,
    pub(super) root: Spanned<DeTable<'t>>,
    /// Where syntax errors are, after which parts of the file may be missing from the tree.
    damage: Vec<Place>,
    /// A list or table begins before this and never ends, so that nothing after it means what it says.
    doubtful_from: Option<usize>,
}

impl Tree<'_> {
    /// Whether the tree holds everything that is in the file.
    pub(super) fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether something written at this place is what it looks like.
    fn can_be_trusted_at(&self, place: Place, text: &str) -> bool {
        if self.doubtful_from.is_some_and(|from| place.start >= from) {
            return false;
        }
        let next = self.damage.partition_point(|damage| damage.start < place.start);
        let neighbours = [next.checked_sub(1), Some(next)];
        let mut neighbours = neighbours.into_iter().flatten().filter_map(|index| self.damage.get(index));
        !neighbours.any(|damage| same_line(text, damage.start, place.start))
    }
}

fn same_line(text: &str, one: usize, other: usize) -> bool {
    text.get(one.min(other)..one.max(other)).is_some_and(|between| !between.contains('\n'))
}

/// Parses one file; what is wrong with it is reported, what could be read is in the tree.
pub(super) fn parse<'t>(file: usize, text: &'t str, findings: &mut Findings) -> Tree<'t> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut damage = Vec::new();
    for error in errors.iter().filter(|error| error.message() != REPEATED_KEY) {
        let span = error.span().unwrap_or(text.len()..text.len());
        damage.push((visible(file, text, &span), error.message()));
    }
    damage.sort_by_key(|(place, _)| *place);
    for (place, message) in telling(text, &damage) {
        let opened = damage.first().filter(|_| is_unclosed_value(message));
        let opened = opened.and_then(|(first, _)| opening(root.get_ref(), first.start));
        let opened = opened.map(|start| Place { file, start, end: start + 1 });
        findings.push(syntax_error(message, place).also_if_known(opened, "opened here"));
    }
    let unclosed = damage.iter().any(|(_, message)| is_unclosed_value(message));
    let doubtful_from = damage.first().filter(|_| unclosed).map(|(place, _)| place.start);
    let damage = damage.into_iter().map(|(place, _)| place).collect();
    if errors.iter().any(|error| error.message() == REPEATED_KEY) {
        report_repeated_keys(file, text, findings);
    }
    Tree { file, root, damage, doubtful_from }
}

/// Takes back what was said about damaged files and may not be true: findings on a line with a syntax
/// error, and things missed.
pub(super) fn forget_doubtful(trees: &[Tree<'_>], sources: &Sources, findings: &mut Findings) {
    for tree in trees.iter().filter(|tree| !tree.is_whole()) {
        let text = sources.text(tree.file);
        findings.retain(|finding| {
            let place = finding.primary.place;
            place.file != tree.file
                || match finding.basis {
                    Basis::Syntax => true,
                    Basis::Written => tree.can_be_trusted_at(place, text),
                    Basis::Missing => false,
                }
        });
    }
}

/// The errors that tell something: the first one of each line; and where a list or table is never
/// closed, all that comes after is read as part of it, so only the first one and the end count.
fn telling<'e>(text: &str, errors: &[(Place, &'e str)]) -> Vec<(Place, &'e str)> {
    let unclosed = errors.iter().any(|(_, message)| is_unclosed_value(message));
    let mut told: Vec<(Place, &'e str)> = Vec::new();
    for (place, message) in errors {
        let keep = match told.last() {
            None => true,
            Some(_) if unclosed => is_unclosed_value(message),
            Some((last, _)) => !same_line(text, last.start, place.start),
        };
        if keep {
            told.push((*place, *message));
        }
    }
    told
}

fn is_unclosed_value(message: &str) -> bool {
    message.starts_with("unclosed array") || message.starts_with("unclosed inline table")
}

fn syntax_error(message: &str, place: Place) -> Diagnostic {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let nothing_there = place.start == place.end;
    let (what, label) = match expected {
        "literal string" if nothing_there => ("a value is missing", "expected a value".to_owned()),
        "literal string" => (what, "expected text in quotes".to_owned()),
        "" | "nothing" => (what, "not understood".to_owned()),
        expected => (what, format!("expected {expected}")),
    };
    let finding = Diagnostic {
        basis: Basis::Syntax,
        ..Diagnostic::error(format!("TOML syntax: {what}"), place, label)
    };
    let message = if nothing_there { what } else { message };
    match help(message) {
        Some(help) => finding.help(help),
        None => finding,
    }
}

fn help(message: &str) -> Option<&'static str> {
    const QUOTES: &str = "Text, addresses and durations are written in quotes, for example `ttl = \"30s\"`.";
    const HELPS: [(&str, &str); 9] = [
        ("missing key for inline table", "Write `key = value`. Or a brace before this is not closed."),
        ("string values must be quoted", QUOTES),
        ("invalid float", QUOTES),
        ("invalid integer", QUOTES),
        ("invalid basic string", "A text ends with the quote that it began with, on the same line."),
        ("unclosed", "What was opened must be closed: quotes, brackets and braces come in pairs."),
        ("missing comma", "Items are separated by commas. Or a bracket before this is not closed."),
        ("a value is missing", "Write a value after `=`, or remove the key."),
        ("key with no value", "Write `key = value`."),
    ];
    HELPS.iter().find(|(part, _)| message.contains(part)).map(|(_, help)| *help)
}

/// A place on which a caret can stand.
fn visible(file: usize, text: &str, span: &Range<usize>) -> Place {
    let start = floor_boundary(text, span.start);
    let end = floor_boundary(text, span.end).max(start);
    Place { file, start, end }
}

/// The parser tells where a key is repeated, but not where it was first. So each one is renamed, which
/// makes it a neighbour of the first one in the tree, until none is left.
fn report_repeated_keys(file: usize, text: &str, findings: &mut Findings) {
    let mut renamed = text.to_owned();
    let mut changes = Changes::default();
    for round in 0..REPEATED_KEYS_MAX {
        let (_, errors) = DeTable::parse_recoverable(&renamed);
        let Some(span) =
            errors.iter().find(|error| error.message() == REPEATED_KEY).and_then(toml::de::Error::span)
        else {
            return;
        };
        let Some(name) = renamed.get(span.clone()).and_then(key_name) else { return };
        let stand_in = format!("{STAND_IN}_{round}");
        renamed.replace_range(span.clone(), &stand_in);
        let (root, _) = DeTable::parse_recoverable(&renamed);
        let again = changes.original(&span);
        let first = neighbour(root.get_ref(), &stand_in, &name).map(|first| {
            // The first place is before the second one, so this renaming has not moved it.
            visible(file, text, &changes.original(&first))
        });
        changes.record(&span, stand_in.len());
        findings.push(
            Diagnostic::error(
                format!("{} is defined twice", quote(&name)),
                visible(file, text, &again),
                "defined again here",
            )
            .also_if_known(first, "first defined here")
            .help("Keep one of the two; a service, an app or a color may also get another name."),
        );
    }
}

/// How far renaming has moved the text.
#[derive(Default)]
struct Changes(Vec<(usize, isize)>);

impl Changes {
    fn record(&mut self, span: &Range<usize>, replaced_by: usize) {
        self.0.push((span.start, replaced_by.cast_signed() - span.len().cast_signed()));
    }

    fn original(&self, span: &Range<usize>) -> Range<usize> {
        let mut range = span.clone();
        for (start, moved) in self.0.iter().rev() {
            if range.start > *start {
                range = range.start.saturating_add_signed(-moved)..range.end.saturating_add_signed(-moved);
            }
        }
        range
    }
}

/// Where the innermost list or inline table begins that is open at `at`.
fn opening(table: &DeTable<'_>, at: usize) -> Option<usize> {
    table.values().find_map(|value| opening_within(value, at))
}

fn opening_within(value: &Spanned<DeValue<'_>>, at: usize) -> Option<usize> {
    let (start, end) = (value.span().start, value.span().end);
    let is_open = start < at && at <= end;
    match value.get_ref() {
        DeValue::Table(table) => opening(table, at).or(is_open.then_some(start)),
        DeValue::Array(items) => {
            items.iter().find_map(|item| opening_within(item, at)).or(is_open.then_some(start))
        }
        _ => None,
    }
}

/// The name of a key that may be written in quotes.
fn key_name(written: &str) -> Option<String> {
    let line = format!("{written} = 0");
    let table = DeTable::parse(&line).ok()?;
    table.get_ref().keys().next().map(|key| key.get_ref().to_string())
}

/// Where `name` is, in the table that also holds `stand_in`.
fn neighbour(table: &DeTable<'_>, stand_in: &str, name: &str) -> Option<Range<usize>> {
    if table.contains_key(stand_in) {
        return table.iter().find(|(key, _)| key.get_ref() == name).map(|(key, _)| key.span());
    }
    table.values().find_map(|value| neighbour_within(value.get_ref(), stand_in, name))
}

fn neighbour_within(value: &DeValue<'_>, stand_in: &str, name: &str) -> Option<Range<usize>> {
    match value {
        DeValue::Table(table) => neighbour(table, stand_in, name),
        DeValue::Array(items) => {
            items.iter().find_map(|item| neighbour_within(item.get_ref(), stand_in, name))
        }
        _ => None,
    }
}
