//! One record of the journal, and its line.
//!
//! A line is a JSON object whose last member is `hash`: the SHA-256, in hex, of the line as it would be
//! without that member. So the hash is over bytes, not over what a reader makes of them, and a line can be
//! checked with `sha256sum`. `previous` is the hash of the record before it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::AppName;
use crate::state::overrides::{Cause, Edit, Overrides, hex};
use crate::state::release::Release;
use crate::state::releases::Releases;

/// Version of the records; readers refuse newer ones.
pub const SCHEMA: u32 = 1;
/// `previous` of the very first record.
pub const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;
/// What stands between the hashed part of a line and its hash.
const BEFORE_HASH: &str = ",\"hash\":\"";
/// What stands after it.
const AFTER_HASH: &str = "\"}";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// Counts from 1, without gaps, over all files.
    pub sequence: u64,
    /// When it was written, in seconds since 1970.
    pub at: u64,
    /// Hash of the record before.
    pub previous: String,
    /// What it says.
    #[serde(flatten)]
    pub event: Event,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// Everything that is set, at the beginning of a file.
    Checkpoint {
        /// All of it.
        overrides: Overrides,
        /// Releases and freezes.
        #[serde(default)]
        releases: Releases,
        /// Who accepted the loss of damaged records, when that is why the file begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accepted: Option<Cause>,
    },
    /// Something is about to change.
    Intent {
        /// What.
        edits: Vec<Edit>,
        /// Who, when and why.
        cause: Cause,
        /// The release that wants it, as it is once that is applied.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<Box<Release>>,
    },
    /// A release goes on without changing weights.
    Release {
        /// As it is now.
        release: Box<Release>,
        /// Who, when and why.
        cause: Cause,
    },
    /// Releases may not shift, or may again.
    Freeze {
        /// Of this app; of every one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        app: Option<AppName>,
        /// Whether they may not.
        frozen: bool,
        /// Who, when and why.
        cause: Cause,
    },
    /// An intent took effect.
    Applied {
        /// The sequence number of the intent.
        intent: u64,
    },
    /// An intent never took effect, as the daemon ended before.
    Abandoned {
        /// The sequence number of the intent.
        intent: u64,
    },
    /// The configuration ended overrides; written after the fact, which repeats itself at a start.
    Ended {
        /// What.
        edits: Vec<Edit>,
        /// The configuration.
        cause: Cause,
    },
    /// Something was changed while the journal could not be written.
    Emergency {
        /// What.
        edits: Vec<Edit>,
        /// Who, when and why.
        cause: Cause,
        /// The release that wanted it, as it is since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<Box<Release>>,
    },
}

impl Event {
    /// Its name in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "checkpoint",
            Self::Intent { .. } => "intent",
            Self::Release { .. } => "release",
            Self::Freeze { .. } => "freeze",
            Self::Applied { .. } => "applied",
            Self::Abandoned { .. } => "abandoned",
            Self::Ended { .. } => "ended",
            Self::Emergency { .. } => "emergency",
        }
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is no record at all.
    #[error("it is no record: {0}")]
    Unreadable(String),
    /// Its hash is not that of its bytes.
    #[error("its hash does not match: something changed it after it was written")]
    Hash,
    /// It does not follow the one before.
    #[error("it does not follow record {0}: something is missing or was put in between")]
    Gap(u64),
    /// A file that begins in the middle.
    #[error("the file does not begin with a checkpoint")]
    Beginning,
    /// It speaks of an intent that is not open, or opens one while another is.
    #[error("it does not fit the records before it")]
    Order,
    /// A newer teal wrote it.
    #[error("it has schema {0}, this teal knows {SCHEMA}: it was written by a newer version")]
    Newer(u32),
}

/// All that a newer record is read for.
#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

fn hash_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The line of a record, with its newline, and its hash.
///
/// # Errors
/// Never for records that this version makes; serialization reports its failures.
pub fn encode(record: &Record) -> Result<(String, String), serde_json::Error> {
    let mut line = serde_json::to_string(record)?;
    let hash = hash_of(line.as_bytes());
    line.pop();
    line.push_str(BEFORE_HASH);
    line.push_str(&hash);
    line.push_str(AFTER_HASH);
    line.push('\n');
    Ok((line, hash))
}

/// The record of a line without its newline, and its hash.
///
/// # Errors
/// What is wrong with it.
pub fn decode(line: &[u8]) -> Result<(Record, String), Flaw> {
    let text = std::str::from_utf8(line).map_err(|error| Flaw::Unreadable(error.to_string()))?;
    let no_hash = || Flaw::Unreadable("it does not end with a hash".to_owned());
    let (body, hash) =
        text.strip_suffix(AFTER_HASH).and_then(|text| text.rsplit_once(BEFORE_HASH)).ok_or_else(no_hash)?;
    if hash.len() != HASH_DIGITS {
        return Err(no_hash());
    }
    let body = format!("{body}}}");
    if hash_of(body.as_bytes()) != hash {
        return Err(Flaw::Hash);
    }
    let unreadable = |error: serde_json::Error| Flaw::Unreadable(error.to_string());
    let Schema { schema } = serde_json::from_str(&body).map_err(unreadable)?;
    if schema > SCHEMA {
        return Err(Flaw::Newer(schema));
    }
    Ok((serde_json::from_str(&body).map_err(unreadable)?, hash.to_owned()))
}
