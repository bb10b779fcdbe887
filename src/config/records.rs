//! `[dns.records]`: records of the operator's own. What needs zones and services to judge is in `rules`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::diagnostic::{Diagnostic, Findings, quote};
use super::draft::RecordDraft;
use super::keys;
use super::scalar::{self, NameKind};
use super::walk::{Placed, Table, Value};
use crate::model::{RecordData, RecordName};

/// Records of one type at one name.
const VALUES_MAX: usize = 16;
/// Octets of one text: several of them still fit one reply over TCP by far.
const TEXT_OCTETS_MAX: usize = 1024;
const NAME: NameKind<RecordName> = NameKind { of: "the record", parse: RecordName::parse };
const TARGET: NameKind<RecordName> = NameKind { of: "the target", parse: RecordName::parse };

/// Reads the table in the order of the file.
pub(super) fn read_all(value: &Value<'_>, findings: &mut Findings) -> Vec<RecordDraft> {
    let Some(records) = value.table(findings) else { return Vec::new() };
    let entries = records.entries("{ a = [\"192.0.2.10\"] }");
    entries.into_iter().filter_map(|(name, value)| read(name, &value, findings)).collect()
}

fn read(name: Placed<&str>, value: &Value<'_>, findings: &mut Findings) -> Option<RecordDraft> {
    let parsed = scalar::name(name, &NAME, findings);
    let table = value.table(findings)?;
    table.check_keys(&keys::RECORD, findings);
    let get = |key| table.get(&keys::RECORD, key);
    let v4 = get("a").map(|value| addresses::<Ipv4Addr>(&value, "an IPv4 address", findings));
    let v6 = get("aaaa").map(|value| addresses::<Ipv6Addr>(&value, "an IPv6 address", findings));
    let texts = get("txt").map(|value| texts(&value, findings));
    let cname = get("cname").map(|value| {
        let text = value.string(findings)?;
        scalar::name(text, &TARGET, findings)
    });
    let others = v4.is_some() || v6.is_some() || texts.is_some();
    if let (Some(value), true) = (get("cname"), others) {
        findings.push(
            Diagnostic::error(
                format!("{} has a `cname` and other records", quote(name.value)),
                value.place(),
                "a name with a CNAME has no other records",
            )
            .help("Leave out either `cname` or the other keys (RFC 1034 §3.6.2)."),
        );
    }
    if cname.is_none() && !others {
        findings.push_some(nothing_at(name, &table));
    }
    let v4 = v4.unwrap_or_default();
    let places = v4.iter().map(|address| (address.value, address.place)).collect();
    let data = match cname {
        Some(target) => RecordData::Alias(target?.value),
        None => RecordData::Records {
            v4: v4.into_iter().map(|address| address.value).collect(),
            v6: v6.unwrap_or_default().into_iter().map(|address| address.value).collect(),
            texts: texts.unwrap_or_default(),
        },
    };
    Some(RecordDraft { name: parsed?, place: value.place(), data, v4: places })
}

fn nothing_at(name: Placed<&str>, table: &Table<'_>) -> Option<Diagnostic> {
    let lacks = |key: &keys::Key| table.lacks(&keys::RECORD, key.name);
    keys::RECORD.keys.iter().all(lacks).then(|| {
        Diagnostic::missing(format!("{} has no records", quote(name.value)), name.place, "needs at least one")
            .help("Write for example `a = [\"192.0.2.10\"]`, or remove it.")
    })
}

fn addresses<T: FromStr + PartialEq + Copy>(
    value: &Value<'_>,
    what: &str,
    findings: &mut Findings,
) -> Vec<Placed<T>> {
    let mut found: Vec<Placed<T>> = Vec::new();
    let items = items(value, findings);
    for text in items {
        let label = match text.value.parse::<T>() {
            Ok(address) if found.iter().any(|known| known.value == address) => "listed twice".to_owned(),
            Ok(address) => {
                found.push(text.map(|_| address));
                continue;
            }
            Err(_) => format!("not {what}"),
        };
        let title = format!("{} cannot be an item of {}", quote(text.value), quote(value.key));
        findings.push(value.with_example(Diagnostic::error(title, text.place, label)));
    }
    found
}

fn texts(value: &Value<'_>, findings: &mut Findings) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in items(value, findings) {
        let (title, label) = if text.value.len() > TEXT_OCTETS_MAX {
            (
                format!("a text has {} octets", text.value.len()),
                format!("at most {TEXT_OCTETS_MAX} are allowed"),
            )
        } else if found.iter().any(|known| known == text.value) {
            (format!("{} is listed twice", quote(text.value)), "listed again here".to_owned())
        } else {
            found.push(text.value.to_owned());
            continue;
        };
        findings.push(Diagnostic::error(title, text.place, label).help("Shorten it, or leave it out."));
    }
    found
}

/// The strings of a list that must not be empty.
fn items<'t>(value: &Value<'t>, findings: &mut Findings) -> Vec<Placed<&'t str>> {
    if value.node().as_array().is_some_and(|items| items.is_empty()) {
        let title = format!("{} is empty", quote(value.key));
        findings.push(value.with_example(Diagnostic::error(title, value.place(), "at least one is needed")));
    }
    value.strings(VALUES_MAX, findings).unwrap_or_default()
}
