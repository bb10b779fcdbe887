//! `[dns.cache]`: bounds of what is remembered of upstreams' answers.

use std::num::NonZeroUsize;

use super::diagnostic::{Diagnostic, Findings};
use super::keys;
use super::scalar::{self, DurationBounds};
use super::walk::Table;
use crate::model::CacheSettings;

const OCTETS_MAX: u32 = 1 << 30;
const ENTRIES_MAX: u32 = 10_000_000;
const TTL: DurationBounds = DurationBounds::seconds(0, 7 * 86_400);
/// RFC 9520 §3.2.
const FAILURE_TTL: DurationBounds = DurationBounds::seconds(1, 300);
/// RFC 8767 §5 suggests one to three days at most.
const STALE: DurationBounds = DurationBounds::seconds(0, 3 * 86_400);

/// Reads the section into `cache`.
pub(super) fn read(table: &Table<'_>, cache: &mut CacheSettings, findings: &mut Findings) {
    table.check_keys(&keys::CACHE, findings);
    let get = |name| table.get(&keys::CACHE, name);
    let number = |name, min, max, findings: &mut Findings| {
        let number = get(name).and_then(|value| scalar::bounded(&value, min, max, findings))?;
        usize::try_from(number.value).ok()
    };
    let time = |name, bounds, findings: &mut Findings| {
        get(name).and_then(|value| scalar::duration(&value, bounds, findings))
    };
    if let Some(octets) = number("max_bytes", 0, OCTETS_MAX, findings) {
        cache.octets_max = octets;
    }
    if let Some(entries) = number("max_entries", 1, ENTRIES_MAX, findings).and_then(NonZeroUsize::new) {
        cache.entries_max = entries;
    }
    let (least, most) = (time("min_ttl", &TTL, findings), time("max_ttl", &TTL, findings));
    cache.ttl_min = least.map_or(cache.ttl_min, |ttl| ttl.value);
    cache.ttl_max = most.map_or(cache.ttl_max, |ttl| ttl.value);
    if let Some(negative) = time("max_negative_ttl", &TTL, findings) {
        cache.negative_ttl_max = negative.value;
    }
    if let Some(failure) = time("failure_ttl", &FAILURE_TTL, findings) {
        cache.failure_ttl = failure.value;
    }
    if let Some(stale) = time("serve_stale", &STALE, findings) {
        cache.stale_max = stale.value;
    }
    if let Some(wrong) = most.or(least).filter(|_| cache.ttl_min > cache.ttl_max) {
        findings.push(
            Diagnostic::error("`max_ttl` is shorter than `min_ttl`", wrong.place, "cannot both hold")
                .help("Make `max_ttl` longer, or leave one of the two out."),
        );
    }
}
