//! The cache: what upstreams have answered, for as long as it is good (RFC 2308, RFC 8767, RFC 9520).
//!
//! Pure: `now` is an argument, nothing is sent. Bounded in entries and octets; what was not asked for the
//! longest time leaves first.

mod entry;

use std::time::Instant;

use lru::LruCache;

use super::forward::message::{Answer, Origin, write_reply};
use super::forward::question::{Key, Query};
use super::reply::Rcode;
use crate::model::CacheSettings;
use entry::{Age, Entry, is_bogus};

/// Answers by question.
#[derive(Debug)]
pub struct Cache {
    entries: LruCache<Key, Entry>,
    octets: usize,
    settings: CacheSettings,
}

/// What is known of a remembered answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How many seconds ago it was kept.
    pub seconds: u32,
    /// Who gave it; nobody where it says that no upstream has answered.
    pub origin: Option<Origin>,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A reply is written, from an answer that is so many seconds old.
    Fresh(Rcode, u32),
    /// There is an answer that is over, and asking has just failed: it is to be given.
    Stale(Answer),
    /// Somebody has to be asked.
    Nothing,
}

impl Cache {
    /// An empty one.
    pub fn new(settings: CacheSettings) -> Self {
        Self { entries: LruCache::unbounded(), octets: 0, settings }
    }

    /// Goes on with other bounds; what is over them leaves.
    pub fn set(&mut self, settings: &CacheSettings) {
        self.settings.clone_from(settings);
        self.shrink();
    }

    /// How many answers there are, and their octets.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.octets)
    }

    /// Looks for the answer to `query`, whose key is `key` ([`Key`] as bytes), and writes the reply to `out`.
    pub fn look<Q: AsRef<[u8]>>(
        &mut self,
        (key, query): (&[u8], &Query<Q>),
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Found {
        let Some(entry) = self.entries.get(key) else { return Found::Nothing };
        match entry.age(&self.settings, now) {
            Age::Fresh(age) => {
                let written = write_reply(query, &entry.answer, out);
                entry.count_down(&mut out[written.records], age);
                Found::Fresh(written.rcode, age)
            }
            Age::Stale if entry.stale_until.is_some_and(|until| now < until) => {
                Found::Stale(entry.stale_answer())
            }
            Age::Stale | Age::Over => Found::Nothing,
        }
    }

    /// What is known of the answer that is given to `key` without asking.
    pub fn kept(&self, key: &[u8], now: Instant) -> Option<Kept> {
        let entry = self.entries.peek(key)?;
        let is_given = match entry.age(&self.settings, now) {
            Age::Fresh(_) => true,
            Age::Stale => entry.stale_until.is_some_and(|until| now < until),
            Age::Over => false,
        };
        is_given.then(|| Kept { seconds: entry.kept_seconds(now), origin: entry.answer.origin })
    }

    /// Remembers what was answered to `key`. Where nobody could answer, and there is an answer that may be given
    /// although it is over, that one is returned: clients get it instead, and for a while without asking.
    pub fn keep(&mut self, key: &Key, answer: &Answer, now: Instant) -> Option<Answer> {
        if self.settings.octets_max == 0 {
            return None;
        }
        let entry = Entry::of(key, answer, &self.settings, now);
        if entry.as_ref().is_some_and(Entry::is_failure) && !is_bogus(answer) {
            let until = now + self.settings.failure_ttl;
            let older = self.entries.get_mut(key).filter(|older| !older.is_failure());
            if let Some(older) = older.filter(|older| older.age(&self.settings, now) != Age::Over) {
                older.stale_until = Some(until);
                return Some(older.stale_answer());
            }
        }
        self.forget(key);
        let entry = entry?;
        self.octets += entry.octets(key);
        self.entries.put(key.clone(), entry);
        self.shrink();
        None
    }

    /// Forgets everything about `name` (wire format, lower case) and the names below it. Says how many answers.
    pub fn flush(&mut self, name: &[u8]) -> usize {
        let keys = self.entries.iter().map(|(key, _)| key).filter(|key| is_at_or_below(key.name(), name));
        let keys: Vec<Key> = keys.cloned().collect();
        for key in &keys {
            self.forget(key);
        }
        keys.len()
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.octets -= entry.octets(key);
        }
    }

    fn shrink(&mut self) {
        while self.octets > self.settings.octets_max || self.entries.len() > self.settings.entries_max.get() {
            let Some((key, entry)) = self.entries.pop_lru() else { break };
            self.octets -= entry.octets(&key);
        }
    }
}

/// Whether a name is `top` or ends in it, label by label. Both in wire format and lower case.
fn is_at_or_below(name: &[u8], top: &[u8]) -> bool {
    let mut rest = name;
    loop {
        if rest == top {
            return true;
        }
        match rest.first() {
            Some(octets @ 1..) => rest = rest.get(1 + usize::from(*octets)..).unwrap_or_default(),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
