//! When a change is complete: pure, without clock or file system.
//!
//! Facts about names come in, and the answer to "may it be read now?" goes out. A file is read when
//! nobody is in the middle of writing it, and nothing has changed for the settle time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long a file that has gone may take to come back before its absence is a change of its own:
/// editors and `rm; cp` take it away first.
const ABSENCE: Duration = Duration::from_millis(500);
/// After so long without a write, a file with content that may have been complete from the start (a
/// link, or found in a new folder) is taken to be complete.
const QUIET: Duration = Duration::from_millis(200);
/// The same for a file without content.
const QUIET_EMPTY: Duration = Duration::from_secs(5);
/// A writer that has not closed the file for so long is worth a word to the operator.
const SLOW: Duration = Duration::from_secs(10);

/// Changes that were seen and not yet reported. `K` identifies a name or a file.
#[derive(Debug)]
pub(super) struct Pending<K> {
    changed: Option<Instant>,
    gone: HashMap<K, Instant>,
    main_gone: Option<Instant>,
    writing: HashMap<K, Writing>,
    /// Grows with every fact: equal at two moments means that nothing happened between them.
    generation: u64,
    /// Grows with every fact but arrivals of whole files: equal at two moments means that whoever read
    /// between them read whole files.
    disturbances: u64,
}

#[derive(Debug, Clone, Copy)]
struct Writing {
    since: Instant,
    certainty: Certainty,
    told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// A write was seen, its close was not.
    Written,
    /// There was no write yet: perhaps nobody will write. Worth a look at that time.
    Unsure(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

/// Whether a change is to be reported now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Now,
    NotNow,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self {
            changed: None,
            gone: HashMap::new(),
            main_gone: None,
            writing: HashMap::new(),
            generation: 0,
            disturbances: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Pending<K> {
    /// `key` is complete: it was renamed, linked or closed, or its rights changed.
    pub(super) fn arrived(&mut self, key: &K, now: Instant) {
        self.writing.remove(key);
        self.gone.remove(key);
        self.touch(now);
    }

    /// The rights or times of `key` changed; a writer of it, if any, is still at work.
    pub(super) fn touch(&mut self, now: Instant) {
        self.changed = Some(now);
        self.generation += 1;
    }

    /// `key` has come to be, empty or not, and a writer may have it open.
    pub(super) fn created(&mut self, key: K, now: Instant) {
        self.gone.remove(&key);
        self.disturb();
        self.writing.entry(key).or_insert(Writing {
            since: now,
            certainty: Certainty::Unsure(now + QUIET),
            told: Told::No,
        });
    }

    /// Somebody wrote to `key`.
    pub(super) fn modified(&mut self, key: K, now: Instant) {
        self.disturb();
        let fresh = Writing { since: now, certainty: Certainty::Written, told: Told::No };
        self.writing.entry(key).or_insert(fresh).certainty = Certainty::Written;
    }

    /// `key` was removed or renamed away.
    pub(super) fn removed(&mut self, key: K, now: Instant) {
        self.writing.remove(&key);
        self.gone.insert(key, now);
        self.disturb();
        self.touch(now);
    }

    /// Facts were lost: any writer may have finished unseen.
    pub(super) fn lost(&mut self, now: Instant) {
        for writing in self.writing.values_mut() {
            *writing = Writing { since: now, certainty: Certainty::Unsure(now + QUIET), told: writing.told };
        }
        self.disturb();
        self.touch(now);
    }

    /// The main file is not there. Its return makes a fact of its own.
    pub(super) fn main_missing(&mut self, now: Instant) {
        self.main_gone.get_or_insert(now);
    }

    /// The main file is there.
    pub(super) fn main_present(&mut self) {
        self.main_gone = None;
    }

    /// Forgets what is watched no longer.
    pub(super) fn retain(&mut self, watched: impl Fn(&K) -> bool) {
        self.writing.retain(|key, _| watched(key));
        self.gone.retain(|key, _| watched(key));
    }

    /// Files of which it is not sure that somebody writes them, and whose time to be looked at has come.
    pub(super) fn unsure(&self, now: Instant) -> Vec<K> {
        let due =
            |writing: &Writing| matches!(writing.certainty, Certainty::Unsure(look_at) if look_at <= now);
        self.writing.iter().filter(|(_, writing)| due(writing)).map(|(key, _)| key.clone()).collect()
    }

    /// An unsure file was looked at: it holds so many bytes.
    pub(super) fn looked(&mut self, key: &K, bytes: u64, now: Instant) {
        let Some(writing) = self.writing.get_mut(key) else { return };
        if bytes > 0 || now >= writing.since + QUIET_EMPTY {
            self.arrived(key, now);
        } else {
            writing.certainty = Certainty::Unsure(now + QUIET);
        }
    }

    /// A file that is being written.
    pub(super) fn being_written(&self) -> Option<&K> {
        self.writing.keys().next()
    }

    /// A file that has been open for writing for long, each one once.
    pub(super) fn slow(&mut self, now: Instant) -> Option<K> {
        let (key, writing) = self.writing.iter_mut().find(|(_, writing)| is_slow(writing, now))?;
        writing.told = Told::Yes;
        Some(key.clone())
    }

    /// Grows with every fact.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Grows with every fact but arrivals of whole files.
    pub(super) fn disturbances(&self) -> u64 {
        self.disturbances
    }

    fn disturb(&mut self) {
        self.disturbances += 1;
        self.generation += 1;
    }

    /// When to ask again although no fact has come in.
    pub(super) fn wake_at(&self, settle: Duration) -> Option<Instant> {
        if self.writing.is_empty() {
            return self.due(settle);
        }
        let each = self.writing.values().flat_map(|writing| {
            let look_at = match writing.certainty {
                Certainty::Unsure(look_at) => Some(look_at),
                Certainty::Written => None,
            };
            let slow_at = (writing.told == Told::No).then_some(writing.since + SLOW);
            look_at.into_iter().chain(slow_at)
        });
        each.min()
    }

    /// Whether to report a change now. One report covers all that has happened.
    pub(super) fn report(&mut self, now: Instant, settle: Duration) -> Report {
        if !self.writing.is_empty() || self.due(settle).is_none_or(|due| now < due) {
            return Report::NotNow;
        }
        self.changed = None;
        self.gone.clear();
        Report::Now
    }

    fn due(&self, settle: Duration) -> Option<Instant> {
        let settled = self.changed? + settle;
        let missed = self.gone.values().chain(&self.main_gone).max().map(|gone| *gone + ABSENCE);
        Some(missed.map_or(settled, |missed| settled.max(missed)))
    }
}

fn is_slow(writing: &Writing, now: Instant) -> bool {
    writing.told == Told::No && now >= writing.since + SLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_SETTLE: Duration = Duration::ZERO;
    const MS: Duration = Duration::from_millis(1);

    fn start() -> (Pending<&'static str>, Instant) {
        (Pending::default(), Instant::now())
    }

    #[test]
    fn a_write_waits_for_its_close_whatever_else_happens() {
        let (mut pending, now) = start();
        pending.modified("a", now);
        pending.arrived(&"b", now);
        pending.touch(now);
        assert_eq!(pending.report(now + SLOW, NO_SETTLE), Report::NotNow);
        assert_eq!(pending.being_written(), Some(&"a"));
        pending.arrived(&"a", now + SLOW);
        assert_eq!(pending.report(now + SLOW, NO_SETTLE), Report::Now);
        assert_eq!(pending.report(now + SLOW, NO_SETTLE), Report::NotNow, "reported once");
    }

    #[test]
    fn a_burst_is_reported_once_after_the_last_change_has_settled() {
        let (mut pending, now) = start();
        let settle = 100 * MS;
        for step in 0..50 {
            pending.arrived(&"a", now + step * 90 * MS);
            assert_eq!(pending.report(now + step * 90 * MS, settle), Report::NotNow);
        }
        let last = now + 49 * 90 * MS;
        assert_eq!(pending.wake_at(settle), Some(last + settle));
        assert_eq!(pending.report(last + settle / 2, settle), Report::NotNow);
        assert_eq!(pending.report(last + settle, settle), Report::Now);
    }

    #[test]
    fn a_file_that_comes_back_is_reported_at_once_and_one_that_does_not_after_a_while() {
        let (mut pending, now) = start();
        pending.removed("a", now);
        pending.main_missing(now);
        assert_eq!(pending.report(now + ABSENCE / 2, NO_SETTLE), Report::NotNow);
        pending.main_present();
        pending.arrived(&"a", now + MS);
        assert_eq!(pending.report(now + MS, NO_SETTLE), Report::Now);
        pending.removed("a", now);
        pending.main_missing(now);
        assert_eq!(pending.wake_at(NO_SETTLE), Some(now + ABSENCE));
        assert_eq!(pending.report(now + ABSENCE, NO_SETTLE), Report::Now);
        assert_eq!(pending.wake_at(NO_SETTLE), None, "its absence is reported once");
    }

    #[test]
    fn a_new_file_nobody_writes_to_is_complete_once_quiet() {
        let (mut pending, now) = start();
        pending.created("a", now);
        assert!(pending.unsure(now).is_empty());
        assert_eq!(pending.unsure(now + QUIET), ["a"]);
        pending.looked(&"a", 0, now + QUIET);
        assert_eq!(pending.report(now + QUIET, NO_SETTLE), Report::NotNow, "empty: its writer is slow");
        pending.looked(&"a", 9, now + 2 * QUIET);
        assert_eq!(pending.report(now + 2 * QUIET, NO_SETTLE), Report::Now);
        pending.created("a", now);
        pending.modified("a", now);
        assert!(pending.unsure(now + QUIET_EMPTY).is_empty(), "a write makes it sure");
    }

    #[test]
    fn after_lost_facts_a_writer_is_not_waited_for_in_vain() {
        let (mut pending, now) = start();
        pending.modified("a", now);
        pending.lost(now);
        for key in pending.unsure(now + QUIET) {
            pending.looked(&key, 9, now + QUIET);
        }
        assert_eq!(pending.report(now + QUIET, NO_SETTLE), Report::Now);
    }

    #[test]
    fn a_slow_writer_is_told_about_once() {
        let (mut pending, now) = start();
        pending.modified("a", now);
        assert_eq!((pending.slow(now), pending.wake_at(NO_SETTLE)), (None, Some(now + SLOW)));
        assert_eq!((pending.slow(now + SLOW), pending.slow(now + SLOW)), (Some("a"), None));
        assert_eq!(pending.wake_at(NO_SETTLE), None);
    }
}
