//! A typed cursor over the spanned TOML tree: asks for what should be there and reports what is not,
//! without ever stopping.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Findings, quote};
use super::keys::{self, Schema};
use super::source::Place;

/// A value and where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Placed<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: convert(self.value), place: self.place }
    }
}

/// A table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'t> {
    file: usize,
    /// The whole table, or its header.
    pub(super) place: Place,
    entries: &'t DeTable<'t>,
}

/// A value, with the key it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'t> {
    file: usize,
    pub(super) key: &'t str,
    /// What may be written after the key; empty when nobody knows.
    pub(super) example: &'static str,
    node: &'t Spanned<DeValue<'t>>,
    role: Role,
}

/// Whether a value is all that its key has, or one of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Whole,
    Item,
}

impl<'t> Table<'t> {
    pub(super) fn root(file: usize, entries: &'t DeTable<'t>) -> Self {
        Self { file, place: Place { file, start: 0, end: 0 }, entries }
    }

    /// The value of a key of `schema`, if there is one.
    pub(super) fn get(&self, schema: &Schema, name: &str) -> Option<Value<'t>> {
        let known = schema.key(name)?;
        let node = self.entries.get(name)?;
        Some(Value { file: self.file, key: known.name, example: known.example, node, role: Role::Whole })
    }

    /// The table at a key of `schema`.
    pub(super) fn table(&self, schema: &Schema, name: &str, findings: &mut Findings) -> Option<Table<'t>> {
        self.get(schema, name)?.table(findings)
    }

    /// All entries in the order of the file, for tables whose keys are names; `example` is what may be
    /// written after one.
    pub(super) fn entries(&self, example: &'static str) -> Vec<(Placed<&'t str>, Value<'t>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, node)| {
                let name: &'t str = key.get_ref();
                let value = Value { file: self.file, key: name, example, node, role: Role::Whole };
                (Placed { value: name, place: place(self.file, &key.span()) }, value)
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.place);
        entries
    }

    /// Whether a key is absent, and no unknown one looks as if it were meant for it.
    pub(super) fn lacks(&self, schema: &Schema, name: &str) -> bool {
        let mut unknown = self.entries.keys().filter(|key| schema.key(key.get_ref()).is_none());
        !self.entries.contains_key(name) && !unknown.any(|key| schema.nearest(key.get_ref()) == Some(name))
    }

    /// Reports every key that `schema` does not have.
    pub(super) fn check_keys(&self, schema: &Schema, findings: &mut Findings) {
        self.check_keys_among(schema, &keys::ALL, findings);
    }

    /// The same where a misplaced key may belong to one of `others`.
    pub(super) fn check_keys_among(
        &self,
        schema: &Schema,
        others: &[&'static Schema],
        findings: &mut Findings,
    ) {
        for (key, _) in self.entries("") {
            if schema.key(key.value).is_some() {
                continue;
            }
            findings.push(if schema.later.contains(&key.value) {
                unavailable_key(key, schema)
            } else {
                unknown_key(key, schema, others)
            });
        }
    }
}

fn unavailable_key(key: Placed<&str>, schema: &Schema) -> Diagnostic {
    let title = format!("{} in {} is not available in this version", quote(key.value), schema.name);
    Diagnostic::error(title, key.place, "not available yet")
        .help("Remove it: a key that would do nothing is refused.")
}

fn unknown_key(key: Placed<&str>, schema: &Schema, others: &[&'static Schema]) -> Diagnostic {
    let title = format!("unknown key {} in {}", quote(key.value), schema.name);
    if let Some(meant) = schema.nearest(key.value) {
        return Diagnostic::error(title, key.place, format!("did you mean `{meant}`?")).help(format!(
            "The keys of {} are: {}.",
            schema.name,
            schema.list()
        ));
    }
    let elsewhere = others.iter().find(|other| other.key(key.value).is_some());
    let help = match elsewhere {
        Some(other) => {
            format!(
                "`{}` is a key of {}. The keys of {} are: {}.",
                key.value,
                other.name,
                schema.name,
                schema.list()
            )
        }
        None => format!("The keys of {} are: {}.", schema.name, schema.list()),
    };
    Diagnostic::error(title, key.place, "unknown key").help(help)
}

impl<'t> Value<'t> {
    pub(super) fn place(&self) -> Place {
        place(self.file, &self.node.span())
    }

    pub(super) fn placed<T>(&self, value: T) -> Placed<T> {
        Placed { value, place: self.place() }
    }

    /// What it is, for values that may be of several types.
    pub(super) fn node(&self) -> &'t DeValue<'t> {
        self.node.get_ref()
    }

    pub(super) fn string(&self, findings: &mut Findings) -> Option<Placed<&'t str>> {
        match self.node() {
            DeValue::String(text) => Some(self.placed(text)),
            _ => self.wrong_type("a string", findings),
        }
    }

    /// An integer; one that does not fit is brought to the nearest that does, and so is out of every bound.
    pub(super) fn integer(&self, findings: &mut Findings) -> Option<Placed<i64>> {
        match self.node() {
            DeValue::Integer(number) => {
                let digits = number.as_str();
                let extreme = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
                Some(self.placed(i64::from_str_radix(digits, number.radix()).unwrap_or(extreme)))
            }
            _ => self.wrong_type("an integer", findings),
        }
    }

    /// A number with or without a fraction, which is finite.
    pub(super) fn number(&self, findings: &mut Findings) -> Option<Placed<f64>> {
        let number = match self.node() {
            DeValue::Integer(_) => self.integer(findings)?.value as f64,
            DeValue::Float(number) => number.as_str().replace('_', "").parse().unwrap_or(f64::NAN),
            _ => return self.wrong_type("a number", findings),
        };
        if number.is_finite() {
            return Some(self.placed(number));
        }
        let title = format!("`{}` must be a finite number", self.key);
        findings.report(self.with_example(Diagnostic::error(title, self.place(), "not finite")))
    }

    pub(super) fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        match self.node() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("`true` or `false`", findings),
        }
    }

    pub(super) fn table(&self, findings: &mut Findings) -> Option<Table<'t>> {
        match self.node() {
            DeValue::Table(entries) => Some(Table { file: self.file, place: self.place(), entries }),
            _ => self.wrong_type("a table", findings),
        }
    }

    /// The items of a list of `items_max` at most.
    pub(super) fn list(&self, items_max: usize, findings: &mut Findings) -> Option<Vec<Value<'t>>> {
        let DeValue::Array(items) = self.node() else {
            return self.wrong_type("a list", findings);
        };
        if items.len() > items_max {
            let title = format!("`{}` has {} items, at most {items_max} are allowed", self.key, items.len());
            findings.push(Diagnostic::error(title, self.place(), "too many").help("Leave some out."));
            return None;
        }
        Some(items.iter().map(|node| Value { node, role: Role::Item, ..*self }).collect())
    }

    /// The strings of a list; what is no string is reported and left out.
    pub(super) fn strings(&self, items_max: usize, findings: &mut Findings) -> Option<Vec<Placed<&'t str>>> {
        let items = self.list(items_max, findings)?;
        Some(items.iter().filter_map(|item| item.string(findings)).collect())
    }

    pub(super) fn wrong_type<T>(&self, expected: &str, findings: &mut Findings) -> Option<T> {
        let found = match self.node() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let what = match self.role {
            Role::Whole => quote(self.key),
            Role::Item => format!("an item of {}", quote(self.key)),
        };
        let title = format!("{what} must be {expected}, not {found}");
        findings.push(self.with_example(Diagnostic::error(title, self.place(), found)));
        None
    }

    pub(super) fn with_example(&self, finding: Diagnostic) -> Diagnostic {
        if self.example.is_empty() {
            return finding;
        }
        if is_header(self.example, self.key) {
            return finding.help(format!("Write a section that begins with `{}`.", self.example));
        }
        let is_bare = self.key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let mark = if is_bare { "" } else { "\"" };
        finding.help(format!("Write for example `{mark}{}{mark} = {}`.", self.key, self.example))
    }
}

/// Whether the example is a section's header rather than a value.
fn is_header(example: &str, key: &str) -> bool {
    let header = example.trim_start_matches('[');
    header.len() < example.len()
        && (header.starts_with(key) || header.starts_with("dns.") || header.starts_with("release."))
}

fn place(file: usize, span: &std::ops::Range<usize>) -> Place {
    Place { file, start: span.start, end: span.end }
}
