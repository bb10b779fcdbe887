//! One remembered answer: how long it may be given, and with which TTLs.

use std::time::{Duration, Instant};

use super::super::chase::TYPE_ANY;
use super::super::forward::message::Answer;
use super::super::forward::question::Key;
use super::super::reply::{ExtendedError, OPTION_EXTENDED_ERROR};
use super::super::wire::read_u16;
use crate::model::CacheSettings;
use crate::state::records::TYPE_SOA;

const NO_ERROR: u16 = 0;
const SERV_FAIL: u16 = 2;
const NX_DOMAIN: u16 = 3;
/// EDE codes that say that an answer was forged or cannot be proven (RFC 8914 §4.6 to §4.13): an older answer is
/// no better.
const BOGUS: std::ops::RangeInclusive<u16> = 5..=12;
/// TTL of an answer that is over (RFC 8767 §4).
pub const STALE_TTL: u32 = 30;
/// What an entry takes besides its octets: its key's and its own place in the table, allocations.
const OVERHEAD_OCTETS: usize = 256;

/// A remembered answer.
#[derive(Debug)]
pub struct Entry {
    /// As it came, with TTLs as long as they may be kept.
    pub answer: Answer,
    /// Where TTLs stand in the answer's records.
    ttl_at: Box<[u16]>,
    kept_at: Instant,
    /// How long it is good.
    ttl: Duration,
    /// Until when an answer that is over is given without asking, after asking failed.
    pub stale_until: Option<Instant>,
}

/// What an entry is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It is so many seconds old and good.
    Fresh(u32),
    /// It is over, and may be given where nothing better is to be had.
    Stale,
    /// It is over.
    Over,
}

impl Entry {
    /// What is to be remembered of an answer to `key`, if anything.
    pub fn of(key: &Key, answer: &Answer, settings: &CacheSettings, now: Instant) -> Option<Self> {
        if answer.truncated || !matches!(answer.rcode, NO_ERROR | NX_DOMAIN | SERV_FAIL) {
            return None;
        }
        // The clients that wait get it with the TTLs that it came with.
        let mut answer = answer.clone();
        let (ttl, ttl_at) = match answer.rcode {
            SERV_FAIL => (seconds(settings.failure_ttl), Box::default()),
            _ => keep_records(key, &mut answer, settings)?,
        };
        let ttl = Duration::from_secs(ttl.into());
        (!ttl.is_zero()).then_some(Self { answer, ttl_at, kept_at: now, ttl, stale_until: None })
    }

    /// What it is worth by now.
    pub fn age(&self, settings: &CacheSettings, now: Instant) -> Age {
        let age = now.saturating_duration_since(self.kept_at);
        if age < self.ttl {
            Age::Fresh(seconds(age))
        } else if !self.is_failure() && age < self.ttl + settings.stale_max {
            Age::Stale
        } else {
            Age::Over
        }
    }

    /// How many seconds ago it was kept.
    pub fn kept_seconds(&self, now: Instant) -> u32 {
        seconds(now.saturating_duration_since(self.kept_at))
    }

    /// Whether it says that nobody could answer.
    pub fn is_failure(&self) -> bool {
        self.answer.rcode == SERV_FAIL
    }

    /// Octets of memory, nearly.
    pub fn octets(&self, key: &Key) -> usize {
        let Answer { records, errors, .. } = &self.answer;
        key.octets() + records.len() + errors.len() + size_of_val(&*self.ttl_at) + OVERHEAD_OCTETS
    }

    /// Takes `age` seconds off the TTLs in the records of a reply, or the first of them.
    pub fn count_down(&self, records: &mut [u8], age: u32) {
        self.each_ttl(records, |ttl| ttl.saturating_sub(age));
    }

    /// The answer as it may be given when it is over.
    pub fn stale_answer(&self) -> Answer {
        let mut answer = self.answer.clone();
        self.each_ttl(&mut answer.records, |_| STALE_TTL);
        let error = match answer.rcode {
            NX_DOMAIN => ExtendedError::StaleNxDomain,
            _ => ExtendedError::StaleAnswer,
        };
        answer.errors = error.option().into();
        answer
    }

    fn each_ttl(&self, records: &mut [u8], change: impl Fn(u32) -> u32) {
        for at in self.ttl_at.iter().copied().map(usize::from) {
            // Records that did not fit into a reply are not there.
            let Some(octets) = records.get_mut(at..at + 4) else { break };
            let ttl = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
            octets.copy_from_slice(&change(ttl).to_be_bytes());
        }
    }
}

/// Whether a failure is the word of somebody who checked signatures.
pub fn is_bogus(answer: &Answer) -> bool {
    let mut rest = &*answer.errors;
    while let (Some(OPTION_EXTENDED_ERROR), Some(octets)) = (read_u16(rest, 0), read_u16(rest, 2)) {
        if read_u16(rest, 4).is_some_and(|code| BOGUS.contains(&code)) {
            return true;
        }
        rest = rest.get(4 + usize::from(octets)..).unwrap_or_default();
    }
    false
}

/// Bounds the TTLs of the records, and says how long they are good together and where the TTLs stand.
/// `None` for what must not be kept: no TTL, or "nothing" without an SOA (RFC 2308 §5).
fn keep_records(key: &Key, answer: &mut Answer, settings: &CacheSettings) -> Option<(u32, Box<[u16]>)> {
    let (ttl_min, ttl_max) = (seconds(settings.ttl_min), seconds(settings.ttl_max));
    let mut ttl_at = Vec::new();
    let mut least = ttl_max;
    let (mut has_wanted, mut negative) = (false, None);
    for record in answer.each_record() {
        let record = record?;
        ttl_at.push(u16::try_from(record.ttl_at).ok()?);
        least = least.min(valid(record.ttl).clamp(ttl_min, ttl_max));
        has_wanted |= record.section == 0 && (record.kind == key.kind() || key.kind() == TYPE_ANY);
        if record.section == 1 && record.kind == TYPE_SOA {
            let minimum = record.rdata.last_chunk().map(|octets| u32::from_be_bytes(*octets))?;
            negative =
                Some(minimum.min(valid(record.ttl)).max(ttl_min).min(seconds(settings.negative_ttl_max)));
        }
    }
    let is_negative = answer.rcode == NX_DOMAIN || !has_wanted;
    let bound = if is_negative { negative?.min(least) } else { least };
    // Nothing may outlive what it came with, and an SOA of a negative answer says how long that is.
    let shown_max = if is_negative { bound } else { ttl_max };
    for at in ttl_at.iter().copied().map(usize::from) {
        let octets = answer.records.get_mut(at..at + 4)?;
        let ttl = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
        octets.copy_from_slice(&valid(ttl).clamp(ttl_min.min(shown_max), shown_max).to_be_bytes());
    }
    Some((bound, ttl_at.into()))
}

/// A TTL with its highest bit set means 0 (RFC 2181 §8).
fn valid(ttl: u32) -> u32 {
    if ttl > u32::MAX / 2 { 0 } else { ttl }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX / 2)
}
