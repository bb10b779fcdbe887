//! One table of a release file: reads each key over its default, and reports what is wrong with it.

use std::time::Duration;

use super::keys;
use crate::config::diagnostic::{Diagnostic, Findings, quote};
use crate::config::keys::Schema;
use crate::config::scalar::{self, DurationBounds, Words};
use crate::config::walk::{Placed, Table, Value};

/// Octets of a text that people read.
const TEXT_OCTETS_MAX: usize = 500;
/// Octets of an address or a query.
const LONG_TEXT_OCTETS_MAX: usize = 4096;
/// Octets of the name of a gate or a program.
const NAME_OCTETS_MAX: usize = 63;

/// A table and its keys.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    pub(super) table: Table<'t>,
    schema: &'static Schema,
}

impl<'t> Section<'t> {
    /// Reports every key that `schema` does not have.
    pub(super) fn open(table: Table<'t>, schema: &'static Schema, findings: &mut Findings) -> Self {
        table.check_keys_among(schema, &keys::ALL, findings);
        Self { table, schema }
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        self.table.get(self.schema, key)
    }

    /// The table at a key, opened.
    pub(super) fn section(
        &self,
        key: &str,
        schema: &'static Schema,
        findings: &mut Findings,
    ) -> Option<Section<'t>> {
        let table = self.get(key)?.table(findings)?;
        Some(Section::open(table, schema, findings))
    }

    /// The tables of a list at a key; none when it is absent.
    pub(super) fn sections(
        &self,
        key: &str,
        schema: &'static Schema,
        items_max: usize,
        findings: &mut Findings,
    ) -> Vec<Section<'t>> {
        let items = self.get(key).and_then(|value| value.list(items_max, findings)).unwrap_or_default();
        let tables: Vec<_> = items.iter().filter_map(|item| item.table(findings)).collect();
        tables.into_iter().map(|table| Section::open(table, schema, findings)).collect()
    }

    pub(super) fn duration(
        &self,
        key: &str,
        bounds: &DurationBounds,
        into: &mut Duration,
        findings: &mut Findings,
    ) {
        let read = self.get(key).and_then(|value| scalar::duration(&value, bounds, findings));
        *into = read.map_or(*into, |read| read.value);
    }

    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        into: &mut T,
        findings: &mut Findings,
    ) {
        let words = Words { now: words, later: &[] };
        let read = self.get(key).and_then(|value| scalar::word(&value, &words, findings));
        *into = read.unwrap_or(*into);
    }

    pub(super) fn count(&self, key: &str, max: u32, into: &mut u32, findings: &mut Findings) {
        let least = u32::from(key != "min_connections");
        let read = self.get(key).and_then(|value| scalar::bounded(&value, least, max, findings));
        *into = read.map_or(*into, |read| read.value);
    }

    pub(super) fn boolean(&self, key: &str, into: &mut bool, findings: &mut Findings) {
        let read = self.get(key).and_then(|value| value.boolean(findings));
        *into = read.unwrap_or(*into);
    }

    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<Placed<&'t str>> {
        checked(&self.get(key)?, TEXT_OCTETS_MAX, findings)
    }

    /// The same for what machines read.
    pub(super) fn long_text(&self, key: &str, findings: &mut Findings) -> Option<Placed<&'t str>> {
        checked(&self.get(key)?, LONG_TEXT_OCTETS_MAX, findings)
    }

    /// An address that begins with `http://` or `https://`.
    pub(super) fn url(&self, key: &str, findings: &mut Findings) -> Option<String> {
        let value = self.get(key)?;
        let text = checked(&value, LONG_TEXT_OCTETS_MAX, findings)?;
        let rest = text.value.strip_prefix("http://").or_else(|| text.value.strip_prefix("https://"));
        let has_host =
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['));
        if has_host && text.value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(text.value.to_owned());
        }
        let title = format!("`{key}` cannot be {}", quote(text.value));
        let label = "not an address that begins with `http://` or `https://`";
        findings.report(value.with_example(Diagnostic::error(title, text.place, label)))
    }

    /// A path from the root.
    pub(super) fn path(&self, key: &str, findings: &mut Findings) -> Option<std::path::PathBuf> {
        let value = self.get(key)?;
        let text = checked(&value, LONG_TEXT_OCTETS_MAX, findings)?;
        if text.value.starts_with('/') {
            return Some(text.value.into());
        }
        let title = format!("`{key}` cannot be {}", quote(text.value));
        let finding = Diagnostic::error(title, text.place, "not a path from the root");
        findings.report(value.with_example(finding))
    }

    /// Names of a list.
    pub(super) fn names(&self, key: &str, max: usize, findings: &mut Findings) -> Vec<Placed<&'t str>> {
        let items = self.get(key).and_then(|value| value.list(max, findings)).unwrap_or_default();
        items.iter().filter_map(|item| name(item, findings)).collect()
    }

    /// Says that a key is missing, unless an unknown one looks as if it were meant for it.
    pub(super) fn missing(&self, key: &str, title: &str, label: &str, findings: &mut Findings) {
        if !self.table.lacks(self.schema, key) {
            return;
        }
        let example = self.schema.key(key).map_or("", |key| key.example);
        let finding = Diagnostic::missing(title, self.table.place, label);
        findings.push(finding.help(format!("Write for example `{key} = {example}`.")));
    }
}

/// A text that is neither empty nor too long, without control characters.
fn checked<'t>(value: &Value<'t>, octets_max: usize, findings: &mut Findings) -> Option<Placed<&'t str>> {
    let text = value.string(findings)?;
    let label = if text.value.is_empty() {
        "empty".to_owned()
    } else if text.value.len() > octets_max {
        format!("longer than {octets_max} octets")
    } else if text.value.chars().any(char::is_control) {
        "has a control character, such as a line break".to_owned()
    } else {
        return Some(text);
    };
    let title = format!("`{}` cannot be {}", value.key, quote(text.value));
    findings.report(value.with_example(Diagnostic::error(title, text.place, label)))
}

/// The name of a gate or of a program in its folder.
pub(super) fn name<'t>(value: &Value<'t>, findings: &mut Findings) -> Option<Placed<&'t str>> {
    let text = value.string(findings)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=NAME_OCTETS_MAX).contains(&text.value.len());
    if fits && text.value.bytes().all(is_plain) && !text.value.starts_with(['.', '-']) {
        return Some(text);
    }
    let title = format!("`{}` cannot be {}", value.key, quote(text.value));
    let finding = Diagnostic::error(title, text.place, "not a name").help(format!(
        "A name has 1 to {NAME_OCTETS_MAX} letters, digits, `-`, `_` and `.`, and no path: programs lie in a folder of their own."
    ));
    findings.report(finding)
}
