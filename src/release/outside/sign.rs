//! Signatures of what teal posts: those of the Standard Webhooks specification, version 1, for which receivers find
//! libraries in most languages.
//!
//! The signature is HMAC-SHA-256 (RFC 2104, FIPS 198-1) over `ID.TIMESTAMP.BODY`, in Base64 after `v1,`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{Mode, OFlags};
use sha2::Sha256;

/// Header with the ID of a message; the same when the message is sent again.
pub const ID_HEADER: &str = "webhook-id";
/// Header with the time of sending in seconds since 1970; another one when the message is sent again.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// What a key in Base64 begins with.
const BASE64_PREFIX: &str = "whsec_";
const KEY_OCTETS_MIN: usize = 16;
const FILE_OCTETS_MAX: u64 = 4096;
/// What nobody but the owner may do, apart from reading by the group, and others not at all.
const FORBIDDEN: u32 = 0o027;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Relative to what?
    #[error("the secret file {0} is no absolute path")]
    Relative(PathBuf),
    /// It cannot be read.
    #[error("the secret file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Too many may read or write it.
    #[error(
        "the secret file {path} has mode {mode:04o}: run `chmod 0600` (or `0640`) on it, as others may read it"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// No key in it.
    #[error(
        "the secret file {0} has no key: write 16 to 4096 characters, or `whsec_` and at least 16 octets in Base64"
    )]
    Content(PathBuf),
}

/// A key.
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a file that others may not read: the key as it is, without white space at the end, or in Base64 after
    /// `whsec_`.
    ///
    /// # Errors
    /// Others could read it, or there is no key of 16 octets or more in it.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        if !path.is_absolute() {
            return Err(KeyError::Relative(path.to_owned()));
        }
        let unreadable = |source| KeyError::Read { path: path.to_owned(), source };
        // Opening a pipe would wait for its writer otherwise.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?;
        let file = File::from(file);
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        if found.mode() & FORBIDDEN != 0 {
            return Err(KeyError::Mode { path: path.to_owned(), mode: found.mode() & 0o7777 });
        }
        let mut text = Vec::new();
        file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        let fits = text.len() as u64 <= FILE_OCTETS_MAX;
        let key = if fits { Self::parse(text.trim_ascii_end()) } else { None };
        key.ok_or_else(|| KeyError::Content(path.to_owned()))
    }

    /// A key as it is written in a file; nothing when it is too short or no Base64.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let octets = match text.strip_prefix(BASE64_PREFIX.as_bytes()) {
            Some(encoded) => STANDARD.decode(encoded).ok()?,
            None => text.to_vec(),
        };
        (octets.len() >= KEY_OCTETS_MIN).then_some(Self(octets))
    }

    /// The value of [`SIGNATURE_HEADER`] for a message.
    pub fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}
