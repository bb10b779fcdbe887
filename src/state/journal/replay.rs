//! From the journal's bytes to the state that they say, as far as they can be trusted.

use super::record::{Event, Flaw, NOTHING_BEFORE, Record, decode};
use crate::state::overrides::{Cause, Edit, Overrides};
use crate::state::release::Release;
use crate::state::releases::Releases;

/// The end of a chain of records, and what they add up to. The running daemon and the replay use the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Sequence number and hash of the last record.
    head: Option<(u64, String)>,
    overrides: Overrides,
    releases: Releases,
    /// The intent that is neither applied nor abandoned.
    open: Option<(u64, Intended)>,
}

/// What an intent is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Intended {
    edits: Vec<Edit>,
    cause: Cause,
    release: Option<Box<Release>>,
}

impl Chain {
    /// What was applied.
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Releases and freezes.
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// The sequence number of the last record; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.head.as_ref().map_or(0, |(sequence, _)| *sequence)
    }

    /// The hash of the last record.
    pub fn hash(&self) -> &str {
        self.head.as_ref().map_or(NOTHING_BEFORE, |(_, hash)| hash)
    }

    /// The sequence number of an intent of which nobody knows yet whether it was applied.
    pub fn open_intent(&self) -> Option<u64> {
        self.open.as_ref().map(|(sequence, _)| *sequence)
    }

    /// Gives up the open intent, as nobody can say any more what became of it.
    pub fn forget_open_intent(&mut self) {
        self.open = None;
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It does not follow; nothing has changed then.
    pub fn follow(&mut self, record: &Record, hash: String) -> Result<(), Flaw> {
        let begins = matches!(record.event, Event::Checkpoint { .. });
        if let Some((sequence, head)) = &self.head {
            if record.sequence != sequence + 1 || record.previous != *head {
                return Err(Flaw::Gap(*sequence));
            }
        } else if !begins {
            return Err(Flaw::Beginning);
        }
        self.take(record)?;
        self.head = Some((record.sequence, hash));
        Ok(())
    }

    fn take(&mut self, record: &Record) -> Result<(), Flaw> {
        match (&record.event, &self.open) {
            (Event::Checkpoint { overrides, releases, .. }, None) => {
                (self.overrides, self.releases) = (overrides.clone(), releases.clone());
            }
            (Event::Intent { edits, cause, release }, None) => {
                let (edits, cause, release) = (edits.clone(), cause.clone(), release.clone());
                self.open = Some((record.sequence, Intended { edits, cause, release }));
            }
            (Event::Applied { intent }, Some((open, _))) if intent == open => {
                if let Some((_, Intended { edits, cause, release })) = self.open.take() {
                    self.carry_out(&edits, &cause, release.as_deref());
                }
            }
            (Event::Abandoned { intent }, Some((open, ..))) if intent == open => self.open = None,
            (Event::Ended { edits, cause }, None) => self.carry_out(edits, cause, None),
            (Event::Emergency { edits, cause, release }, None) => {
                self.carry_out(edits, cause, release.as_deref());
            }
            (Event::Release { release, cause }, None) => self.carry_out(&[], cause, Some(release)),
            (Event::Freeze { app, frozen, cause }, None) => {
                self.releases.set_frozen(app.as_ref(), frozen.then(|| cause.clone()));
            }
            _ => return Err(Flaw::Order),
        }
        Ok(())
    }

    fn carry_out(&mut self, edits: &[Edit], cause: &Cause, release: Option<&Release>) {
        self.overrides.apply(edits, cause);
        if let Some(release) = release {
            self.releases.note(release.clone());
        }
    }
}

/// Where the journal cannot be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Index of the file, the oldest first.
    pub file: usize,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What the files of a journal say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// The last verified state.
    pub chain: Chain,
    /// Records that were verified.
    pub records: usize,
    /// The first thing that is wrong, if anything is.
    pub damage: Option<Damage>,
    /// Bytes of the last file that are whole records.
    pub whole_octets: usize,
    /// Bytes after them: a record that was never written to its end.
    pub torn_octets: usize,
}

/// Replays files, the oldest first. A half line at the end of the last one is dropped. The state is that of
/// the newest file whose beginning can be verified, up to the first damage in it.
pub fn replay<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Replay {
    let mut all = Replay::default();
    let files: Vec<&[u8]> = files.into_iter().collect();
    for (file, bytes) in files.iter().enumerate() {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        (all.whole_octets, all.torn_octets) = (whole, bytes.len() - whole);
        let is_last = file + 1 == files.len();
        let fresh = all.damage.is_some();
        let mut chain = if fresh { Chain::default() } else { all.chain.clone() };
        let (count, flaw) = replay_lines(&mut chain, &bytes[..whole]);
        all.records += count;
        if count > 0 {
            all.chain = chain;
        }
        let torn = (!is_last && all.torn_octets > 0).then(|| Flaw::Unreadable("it is cut off".to_owned()));
        if let (None, Some(flaw)) = (&all.damage, flaw.or(torn)) {
            all.damage = Some(Damage { file, line: count + 1, flaw });
        }
    }
    all
}

fn replay_lines(chain: &mut Chain, whole: &[u8]) -> (usize, Option<Flaw>) {
    let mut count = 0;
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        let line = &line[..line.len() - 1];
        let followed = decode(line).and_then(|(record, hash)| chain.follow(&record, hash));
        if let Err(flaw) = followed {
            return (count, Some(flaw));
        }
        count += 1;
    }
    (count, None)
}
