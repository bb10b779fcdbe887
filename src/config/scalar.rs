//! Scalars as written to scalars as meant: durations, names, bounded numbers, one word of several.

use std::fmt::Display;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Findings, quote};
use super::keys;
use super::walk::{Placed, Value};
use crate::model::NameError;

/// What a duration may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct DurationBounds {
    pub(super) min: Duration,
    pub(super) max: Duration,
    pub(super) precision: Precision,
}

/// The smallest step of a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Milliseconds,
    /// What DNS and the kernel count in.
    Seconds,
}

impl DurationBounds {
    pub(super) const fn milliseconds(min_ms: u64, max_ms: u64) -> Self {
        Self {
            min: Duration::from_millis(min_ms),
            max: Duration::from_millis(max_ms),
            precision: Precision::Milliseconds,
        }
    }

    pub(super) const fn seconds(min_s: u64, max_s: u64) -> Self {
        Self {
            min: Duration::from_secs(min_s),
            max: Duration::from_secs(max_s),
            precision: Precision::Seconds,
        }
    }

    fn describe(&self) -> String {
        let least = if self.min.is_zero() { String::from("0s") } else { show(self.min) };
        format!("{least} to {}", show(self.max))
    }
}

fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace("days", "d").replace("day", "d")
}

/// A duration: text with a unit.
pub(super) fn duration(
    value: &Value<'_>,
    bounds: &DurationBounds,
    findings: &mut Findings,
) -> Option<Placed<Duration>> {
    let text = duration_text(value, findings)?;
    let parsed = parse_duration(value, text, bounds);
    parsed.map_err(|finding| findings.push(*finding)).ok().map(|duration| text.map(|_| duration))
}

/// A duration that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrOff {
    Off,
    After(Duration),
}

impl OrOff {
    pub(super) fn duration(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(duration) => Some(duration),
        }
    }
}

/// A duration, or `"off"`.
pub(super) fn duration_or_off(
    value: &Value<'_>,
    bounds: &DurationBounds,
    findings: &mut Findings,
) -> Option<OrOff> {
    let text = duration_text(value, findings)?;
    if text.value == "off" {
        return Some(OrOff::Off);
    }
    let parsed = parse_duration(value, text, bounds).map_err(|mut finding| {
        finding.help.get_or_insert_default().push_str(" `\"off\"` switches it off.");
        findings.push(*finding);
    });
    parsed.ok().map(OrOff::After)
}

/// A number is the usual slip: the unit is missing.
fn duration_text<'t>(value: &Value<'t>, findings: &mut Findings) -> Option<Placed<&'t str>> {
    let toml::de::DeValue::Integer(number) = value.node() else {
        return value.string(findings);
    };
    let title = format!("`{}` needs a unit", value.key);
    findings.push(Diagnostic::error(title, value.place(), "a number without a unit").help(format!(
        "Write `{} = \"{}s\"` for seconds; `ms`, `m`, `h` and `d` work too.",
        value.key, number
    )));
    None
}

fn parse_duration(
    value: &Value<'_>,
    text: Placed<&str>,
    bounds: &DurationBounds,
) -> Result<Duration, Box<Diagnostic>> {
    let refuse = |label: &str, help: String| {
        let title = format!("{} cannot be {}", quote(value.key), quote(text.value));
        Err(Box::new(Diagnostic::error(title, text.place, label).help(help)))
    };
    match humantime::parse_duration(text.value) {
        Err(_) => refuse("not a duration", duration_help(value, text.value)),
        Ok(duration) if duration < bounds.min => {
            refuse("too short", format!("Allowed: {}.", bounds.describe()))
        }
        Ok(duration) if duration > bounds.max => {
            refuse("too long", format!("Allowed: {}.", bounds.describe()))
        }
        Ok(duration) if bounds.precision == Precision::Seconds && duration.subsec_nanos() != 0 => {
            let whole = duration.as_secs() + 1;
            refuse(
                "not a whole number of seconds",
                format!("Write for example `{} = \"{whole}s\"`.", value.key),
            )
        }
        Ok(duration) => Ok(duration),
    }
}

fn duration_help(value: &Value<'_>, text: &str) -> String {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("The unit is missing: write `{} = \"{}s\"` for seconds.", value.key, text);
    }
    if text == "off" {
        return format!(
            "This one cannot be switched off. Write for example `{} = {}`.",
            value.key, value.example
        );
    }
    format!(
        "A duration is a number with a unit, `ms`, `s`, `m`, `h` or `d`: for example `{} = {}`.",
        value.key, value.example
    )
}

/// An integer of `min..=max`.
pub(super) fn bounded(value: &Value<'_>, min: u32, max: u32, findings: &mut Findings) -> Option<Placed<u32>> {
    let number = value.integer(findings)?;
    if let Ok(fitting) = u32::try_from(number.value)
        && (min..=max).contains(&fitting)
    {
        return Some(number.map(|_| fitting));
    }
    let title = format!("{} is out of range", quote(value.key));
    let label = format!("{} is not between {min} and {max}", number.value);
    findings.push(value.with_example(Diagnostic::error(title, number.place, label)));
    None
}

/// A port of 1 to 65535.
pub(super) fn port(value: &Value<'_>, findings: &mut Findings) -> Option<Placed<u16>> {
    let port = bounded(value, 1, u32::from(u16::MAX), findings)?;
    u16::try_from(port.value).ok().map(|number| port.map(|_| number))
}

/// One word of several: those that this version has, with their meaning, and those that are planned.
pub(super) struct Words<'a, T> {
    pub(super) now: &'a [(&'a str, T)],
    pub(super) later: &'a [&'a str],
}

/// The meaning of a word.
pub(super) fn word<T: Copy>(value: &Value<'_>, words: &Words<'_, T>, findings: &mut Findings) -> Option<T> {
    let text = value.string(findings)?;
    if let Some((_, meaning)) = words.now.iter().find(|(word, _)| *word == text.value) {
        return Some(*meaning);
    }
    let allowed: Vec<_> = words.now.iter().map(|(word, _)| format!("`{} = \"{word}\"`", value.key)).collect();
    let help = format!("Write {}.", allowed.join(" or "));
    if words.later.contains(&text.value) {
        let title = format!("`{} = \"{}\"` is not available in this version", value.key, text.value);
        return findings.report(Diagnostic::error(title, text.place, "not available yet").help(help));
    }
    let meant = keys::nearest(text.value, words.now.iter().map(|(word, _)| *word));
    let label = meant.map_or_else(|| "unknown word".into(), |word| format!("did you mean `{word}`?"));
    let title = format!("`{}` cannot be {}", value.key, quote(text.value));
    findings.report(Diagnostic::error(title, text.place, label).help(help))
}

/// How names of one kind are made.
pub(super) struct NameKind<T> {
    /// As in "the name of a ...".
    pub(super) of: &'static str,
    pub(super) parse: fn(&str) -> Result<T, NameError>,
}

/// A name of that kind.
pub(super) fn name<T: Display>(
    text: Placed<&str>,
    kind: &NameKind<T>,
    findings: &mut Findings,
) -> Option<Placed<T>> {
    let error = match (kind.parse)(text.value) {
        Ok(name) => return Some(text.map(|_| name)),
        Err(error) => error,
    };
    let what = match error {
        NameError::Empty if !text.value.is_empty() => String::from("has nothing between two dots"),
        error => error.to_string(),
    };
    let title = format!("the name of {} {} {what}", kind.of, quote(text.value));
    let label = if error == NameError::Reserved { "reserved" } else { "not a valid name" };
    findings.report(Diagnostic::error(title, text.place, label).help(name_help(text.value, kind, error)))
}

fn name_help<T: Display>(text: &str, kind: &NameKind<T>, error: NameError) -> String {
    let like = |mended: Option<String>| match mended.filter(|mended| (kind.parse)(mended).is_ok()) {
        Some(mended) => format!("Write for example `{mended}`."),
        None => String::from("A name is made of 1 to 63 letters a to z, digits and hyphens."),
    };
    match error {
        NameError::Reserved => String::from("This name has a meaning of its own in DNS: choose another one."),
        NameError::NoLetter => format!("Give it a letter, for example `port-{text}`."),
        NameError::TooLong { .. } => String::from("Choose a shorter one."),
        NameError::Dot => {
            let label = text.split('.').next().map(str::to_owned);
            format!("The zone is not part of the name. {}", like(label))
        }
        NameError::Empty | NameError::Character(_) | NameError::Hyphen => like(mend(text)),
    }
}

/// A text like the one given, of characters that names may have; nothing where that would be a riddle.
fn mend(text: &str) -> Option<String> {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let mended: String = text.chars().map(keep).collect();
    let mended = mended.trim_matches('-');
    (text.is_ascii() && !mended.is_empty()).then(|| mended.to_owned())
}
