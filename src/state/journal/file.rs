//! The open journal: appends records to the disk itself, begins files, remembers what the disk would not take.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{CURRENT, OLD, list, reserve, verify, write_synced};
use super::record::{Event, Record, SCHEMA, encode};
use super::replay::{Chain, Replay};
use crate::state::fault;
use crate::state::overrides::Cause;
use crate::state::release::Release;
use crate::state::releases::Releases;

/// Prefix of files whose damage was accepted; the last ones are kept for whoever wants to know.
const DAMAGED: &str = "damaged-";
/// Where the next file is made.
const FRESH: &str = ".journal.new";
/// Bytes after the checkpoint at which the next file begins.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;
/// Old files that are kept.
const OLD_FILES_MAX: usize = 4;
/// Bytes that the record may have which says that an intent was applied. Its room is taken together with the
/// intent's, so that a full disk refuses a change instead of leaving it half recorded.
const APPLIED_OCTETS: u64 = 512;
/// Bytes that the records of a rollback may have, besides the release in them.
const ROLLBACK_OCTETS: u64 = 8 * 1024;
/// Records of a rollback that have the release in them: the intent, the end, and one more for a hold before.
const ROLLBACK_RECORDS: u64 = 4;
/// Records that may wait for a disk that works.
const OWED_MAX: usize = 1000;

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be trusted.
    #[error("the journal is damaged: {0}; nothing is changed until `teal journal accept -m WHY`")]
    Damaged(String),
    /// The disk.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Too much waits for the disk already.
    #[error("{OWED_MAX} changes wait for being recorded: mend the journal's disk first")]
    TooManyOwed,
    /// A record that does not fit: a bug of teal.
    #[error("the record does not fit the journal: {0}")]
    Unfit(String),
}

/// Bytes to set aside behind a record, so that a full disk never keeps an open release from being rolled back: a
/// rollback alone may use them.
fn room_for_rollback(event: &Event, releases: &Releases) -> u64 {
    let of = |release: &Release| {
        let octets = serde_json::to_vec(release).map_or(0, |text| text.len() as u64);
        ROLLBACK_RECORDS * octets + ROLLBACK_OCTETS
    };
    let named = match event {
        Event::Intent { release, .. } => release.as_deref(),
        Event::Release { release, .. } => Some(&**release),
        Event::Applied { .. } | Event::Abandoned { .. } => return 0,
        _ => None,
    };
    if named.is_some_and(|release| !release.is_open()) {
        return 0;
    }
    let others = releases.open().filter(|open| named.is_none_or(|release| release.id != open.id));
    named.map_or(0, of) + others.map(|release| of(release)).sum::<u64>()
}

/// The open journal. There is one in a process.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    chain: Chain,
    /// The file called `journal` when it was last seen to be good; absent when there is none.
    octets: Option<u64>,
    /// Bytes of its first record.
    checkpoint_octets: u64,
    /// Absent until the first record, and after a failure.
    file: Option<File>,
    damage: Option<String>,
    owed: VecDeque<Event>,
}

impl Journal {
    /// Replays what is in `folder`. What was not written to its end is removed; what is damaged keeps the
    /// journal from being written until somebody accepts it.
    pub fn open(folder: &Path) -> Self {
        let mut journal = Self {
            folder: folder.to_owned(),
            chain: Chain::default(),
            octets: None,
            checkpoint_octets: 0,
            file: None,
            damage: None,
            owed: VecDeque::new(),
        };
        match verify(folder) {
            Ok((replayed, damage)) => {
                if damage.is_none() {
                    journal.drop_torn(&replayed);
                }
                journal.chain = replayed.chain;
                journal.damage = damage;
            }
            Err(error) => journal.damage = Some(format!("it cannot be read: {error}")),
        }
        let (sequence, hash) = (journal.chain.sequence(), journal.chain.hash());
        if let Some(damage) = &journal.damage {
            tracing::error!(
                sequence,
                hash,
                "the journal is damaged: {damage}; the last verified weights are in effect"
            );
        } else if sequence > 0 {
            tracing::info!(sequence, hash, "the journal is whole");
        }
        journal
    }

    fn drop_torn(&mut self, replayed: &Replay) {
        let whole = replayed.whole_octets as u64;
        let current = self.path(CURRENT);
        let last = if current.exists() {
            self.octets = (whole > 0).then_some(whole);
            current
        } else {
            let mut old = list(&self.folder, OLD).unwrap_or_default();
            old.sort_unstable();
            let Some(name) = old.pop() else { return };
            self.path(&name)
        };
        if replayed.torn_octets > 0 {
            let (path, octets) = (last.display().to_string(), replayed.torn_octets);
            tracing::warn!(
                path,
                octets,
                "the journal's last record was never written to its end: it is dropped"
            );
            // When this fails, the next record does it.
            let _ = OpenOptions::new().write(true).open(&last).and_then(|file| {
                file.set_len(whole)?;
                file.sync_all()
            });
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What was applied, and the head.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Why it cannot be trusted, if so.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// How many records wait for a disk that works.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Writes what is owed and then this record, to the disk itself, and returns its sequence number.
    ///
    /// # Errors
    /// Why it is not recorded.
    pub fn record(&mut self, event: Event, at: u64) -> Result<u64, JournalError> {
        self.settle(at)?;
        self.append(event, at)
    }

    /// Keeps a record in memory for when it can be written.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn owe(&mut self, event: Event) -> Result<(), JournalError> {
        if self.owed.len() >= OWED_MAX {
            return Err(JournalError::TooManyOwed);
        }
        self.owed.push_back(event);
        Ok(())
    }

    /// Writes what is owed; returns how many records that were.
    ///
    /// # Errors
    /// Why some is still owed.
    pub fn settle(&mut self, at: u64) -> Result<usize, JournalError> {
        let mut count = 0;
        while let Some(event) = self.owed.front().cloned() {
            self.append(event, at)?;
            self.owed.pop_front();
            count += 1;
        }
        Ok(count)
    }

    /// Begins anew after the last verified record. The damaged files are moved aside.
    ///
    /// # Errors
    /// The disk; the journal is as damaged as before then.
    pub fn accept(&mut self, cause: Cause, at: u64) -> Result<(), JournalError> {
        let Some(damage) = self.damage.take() else { return Ok(()) };
        self.chain.forget_open_intent();
        let accepted = self.begin_file(Some(cause), at);
        if accepted.is_err() {
            self.damage = Some(damage);
        }
        accepted
    }

    /// Gives the damaged current file a second name, by which it is found when the next one has taken its
    /// place. Until then it stays where it is: a crash must not make it look as if there were no journal.
    fn keep_evidence(&self) -> io::Result<()> {
        for name in list(&self.folder, DAMAGED)? {
            fs::remove_file(self.path(&name))?;
        }
        match fs::hard_link(self.path(CURRENT), self.path(&format!("{DAMAGED}{CURRENT}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The files before a damaged one do not lead to the one that begins anew.
    fn move_old_aside(&self) -> io::Result<()> {
        for name in list(&self.folder, OLD)? {
            fs::rename(self.path(&name), self.path(&format!("{DAMAGED}{name}")))?;
        }
        Ok(())
    }

    fn next(&self, event: Event, at: u64) -> Record {
        Record {
            schema: SCHEMA,
            sequence: self.chain.sequence() + 1,
            at,
            previous: self.chain.hash().to_owned(),
            event,
        }
    }

    fn append(&mut self, event: Event, at: u64) -> Result<u64, JournalError> {
        if let Some(damage) = &self.damage {
            return Err(JournalError::Damaged(damage.clone()));
        }
        self.notice_strangers();
        let is_long = self.octets.is_some_and(|octets| octets > self.checkpoint_octets + FILE_OCTETS_MAX);
        if self.octets.is_none() {
            self.begin_file(None, at)?;
        } else if is_long && self.chain.open_intent().is_none() {
            // A disk without room for another file may have room for this record, as a rollback has.
            self.begin_file(None, at)
                .or_else(|error| if self.octets.is_none() { Err(error) } else { Ok(()) })?;
        }
        let record = self.next(event, at);
        let (line, chain) = self.encode(&record)?;
        let before = self.octets.unwrap_or_default();
        let applied = if self.chain.open_intent().is_none() { APPLIED_OCTETS } else { 0 };
        let reserved = applied + room_for_rollback(&record.event, self.chain.releases());
        let written = self.reopened(before).and_then(|mut file| {
            reserve(&file, before, line.len() as u64 + reserved)?;
            fault::point();
            file.write_all(line.as_bytes())?;
            fault::point();
            file.sync_data()?;
            fault::point();
            Ok(file)
        });
        match written {
            Ok(file) => self.file = Some(file),
            Err(source) => {
                // What was half-written must not stand before the next record; `reopened` tries again.
                let cut = OpenOptions::new().write(true).open(self.path(CURRENT));
                let _ = cut.and_then(|file| file.set_len(before));
                return Err(JournalError::Write { path: self.path(CURRENT), source });
            }
        }
        self.octets = Some(before + line.len() as u64);
        self.chain = chain;
        let (sequence, hash, kind) = (self.chain.sequence(), self.chain.hash(), record.event.kind());
        if matches!(record.event, Event::Intent { .. }) {
            // The hash of the record that follows at once is over this one's.
            tracing::debug!(sequence, hash, kind, "journal");
        } else {
            tracing::info!(sequence, hash, kind, "journal");
        }
        Ok(sequence)
    }

    fn encode(&self, record: &Record) -> Result<(String, Chain), JournalError> {
        let (line, hash) = encode(record).map_err(|error| JournalError::Unfit(error.to_string()))?;
        let mut chain = self.chain.clone();
        chain.follow(record, hash).map_err(|flaw| JournalError::Unfit(flaw.to_string()))?;
        Ok((line, chain))
    }

    /// The open file, or after a failure the file as it was when it was last good.
    fn reopened(&mut self, octets: u64) -> io::Result<File> {
        if let Some(file) = self.file.take() {
            return Ok(file);
        }
        let file = OpenOptions::new().append(true).open(self.path(CURRENT))?;
        let length = file.metadata()?.len();
        if length < octets {
            return Err(io::Error::other("it is shorter than it was: somebody else wrote to it"));
        }
        if length > octets {
            file.set_len(octets)?;
            file.sync_all()?;
        }
        Ok(file)
    }

    /// A file that somebody removed is begun anew, the chain going on; one that somebody changed is damage.
    fn notice_strangers(&mut self) {
        let (Some(octets), Some(Ok(found))) = (self.octets, self.file.as_ref().map(File::metadata)) else {
            return;
        };
        if found.nlink() == 0 || !self.path(CURRENT).exists() {
            tracing::error!("somebody removed the journal: it goes on in a new file");
            (self.octets, self.file) = (None, None);
        } else if found.len() != octets {
            let path = self.path(CURRENT);
            tracing::error!(path = %path.display(), "somebody else wrote to the journal: it goes on in a new file");
            (self.octets, self.file) = (None, None);
        }
    }

    /// Begins a file with a checkpoint; what was there becomes an old one, or evidence when its damage is
    /// accepted.
    fn begin_file(&mut self, accepted: Option<Cause>, at: u64) -> Result<(), JournalError> {
        let (overrides, releases) = (self.chain.overrides().clone(), self.chain.releases().clone());
        let is_accepted = accepted.is_some();
        let record = self.next(Event::Checkpoint { overrides, releases, accepted }, at);
        let (line, chain) = self.encode(&record)?;
        let (fresh, current) = (self.path(FRESH), self.path(CURRENT));
        let failed = |source| JournalError::Write { path: current.clone(), source };
        let written = write_synced(&fresh, line.as_bytes());
        if let Err(source) = written {
            // Half a file must not use up the space that is missing.
            let _ = fs::remove_file(&fresh);
            return Err(failed(source));
        }
        if is_accepted {
            self.keep_evidence().map_err(failed)?;
        } else if fs::metadata(&current).is_ok_and(|found| found.len() > 0) {
            let old = self.path(&format!("{OLD}{:020}", self.chain.sequence()));
            fs::rename(&current, old).map_err(failed)?;
        }
        (self.octets, self.file) = (None, None);
        fs::rename(&fresh, &current).map_err(failed)?;
        self.octets = Some(line.len() as u64);
        self.checkpoint_octets = line.len() as u64;
        self.chain = chain;
        if is_accepted {
            self.move_old_aside().map_err(failed)?;
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        self.remove_oldest();
        Ok(())
    }

    fn remove_oldest(&self) {
        let mut old = list(&self.folder, OLD).unwrap_or_default();
        old.sort_unstable();
        for name in old.iter().take(old.len().saturating_sub(OLD_FILES_MAX)) {
            // One too many does no harm; the next time it goes.
            let _ = fs::remove_file(self.path(name));
        }
    }
}
