//! The state directory: locked against a second daemon, written atomically, with a schema version.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of everything in the directory. Readers accept their own and the one before.
const SCHEMA: u32 = 1;

/// An open, locked state directory. The lock goes with the value.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

/// What went wrong with the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or opened.
    #[error(
        "cannot use the state directory {path}: {source}; make it writable for this user or name another with --state-dir"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another daemon uses it.
    #[error(
        "the state directory {path} is in use by another teal; stop that one or name another directory with --state-dir"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file in it cannot be read.
    #[error("cannot read {path}: {source}; mend it or move it away")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file in it is damaged.
    #[error("{path} is damaged: {reason}; mend it or move it away")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file was written by a newer teal.
    #[error("{path} has schema {found}, this teal knows {SCHEMA}: it was written by a newer version")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A file in it cannot be written.
    #[error("cannot write {path}: {source}; {}", advice(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there: until then a restart may forget what was not written"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for the user that runs teal"
        }
        _ => "until it works, a restart may forget what was not written",
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

impl StateDirectory {
    /// Makes the directory if needed (mode 0700) and locks it.
    ///
    /// # Errors
    /// It cannot be made or opened, or another daemon has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Open { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or was written by a newer version.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let path = self.path.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        let damaged =
            |error: serde_json::Error| StateError::Damaged { path: path.clone(), reason: error.to_string() };
        let Schema { schema } = serde_json::from_str(&text).map_err(damaged)?;
        if schema > SCHEMA {
            return Err(StateError::Newer { path, found: schema });
        }
        let versioned: Versioned<T> = serde_json::from_str(&text).map_err(damaged)?;
        Ok(Some(versioned.content))
    }

    /// Replaces a file: after a crash it is there in its old or its new form.
    ///
    /// # Errors
    /// It cannot be written; the old form is still there.
    pub fn write<T: Serialize>(&self, name: &str, content: T) -> Result<(), StateError> {
        let path = self.path.join(name);
        let failed = |source| StateError::Write { path: path.clone(), source };
        let text =
            serde_json::to_vec_pretty(&Versioned { schema: SCHEMA, content }).map_err(io::Error::other);
        let text = text.map_err(failed)?;
        let temporary = self.path.join(format!(".{name}.new"));
        let written = write_synced(&temporary, &text).and_then(|()| fs::rename(&temporary, &path));
        if let Err(source) = written {
            // Half a file must not use up the space that is missing.
            let _ = fs::remove_file(&temporary);
            return Err(failed(source));
        }
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Content {
        number: u32,
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&folder.path().join("deep/state")).unwrap();
        assert_eq!(state.read::<Content>("x.json").unwrap(), None);
        state.write("x.json", Content { number: 7 }).unwrap();
        assert_eq!(state.read::<Content>("x.json").unwrap(), Some(Content { number: 7 }));
    }

    #[test]
    fn a_second_daemon_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDirectory::open(folder.path()).unwrap();
        assert!(matches!(StateDirectory::open(folder.path()), Err(StateError::Locked { .. })));
        drop(first);
        StateDirectory::open(folder.path()).unwrap();
    }

    #[test]
    fn damage_and_newer_schemas_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path()).unwrap();
        fs::write(folder.path().join("x.json"), "{").unwrap();
        assert!(matches!(state.read::<Content>("x.json"), Err(StateError::Damaged { .. })));
        fs::write(folder.path().join("x.json"), r#"{"schema": 2, "other": 1}"#).unwrap();
        assert!(matches!(state.read::<Content>("x.json"), Err(StateError::Newer { found: 2, .. })));
    }
}
