//! Reads a configuration, a file or a folder, whole or not at all.
//!
//! Called by `daemon` at start and at each reload, and by `teal check`. Never parses, never watches.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::OFlags;

use crate::config::{SourceFile, Sources};

/// The file of a folder that holds everything but further services and apps.
pub const MAIN_FILE: &str = "teal.toml";
/// The folder for further services and apps.
pub const PARTS_FOLDER: &str = "conf.d";
/// Bytes in one file at most.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files in `conf.d` at most.
const FILES_MAX: usize = 10_000;
/// Tries to see a file, or a folder's list of files, that does not change while it is read.
const TRIES: u32 = 5;
/// Between such tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Why a configuration could not be read. The operator is at fault, or somebody who writes the file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing is there.
    #[error("{} does not exist: create it, or name another file or folder with --config", path.display())]
    NotFound {
        /// What was asked for.
        path: PathBuf,
    },
    /// A folder that holds no `teal.toml`.
    #[error("{} does not exist: a configuration folder needs the file {MAIN_FILE}; {hint}", path.display())]
    NoMainFile {
        /// Where it was looked for.
        path: PathBuf,
        /// What the folder holds instead, and what to do.
        hint: &'static str,
    },
    /// This user may not read it.
    #[error(
        "permission denied reading {}: {blocker}, and teal runs as {user}; give that user the right to read it, \
         for example by its group", path.display()
    )]
    Denied {
        /// What was to be read.
        path: PathBuf,
        /// The file or folder that refuses, with its owner and mode.
        blocker: String,
        /// Who tried.
        user: String,
    },
    /// A folder, socket, pipe or device where a file is expected.
    #[error("{} is no regular file: put a TOML file there", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Bytes that are no text.
    #[error("{} is not UTF-8: the byte at offset {offset} is invalid; save it as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Of the first invalid byte, from 0.
        offset: usize,
    },
    /// Larger than any configuration should be.
    #[error(
        "{} is larger than {} MiB: is it a TOML file? Split it into files in {PARTS_FOLDER}",
        path.display(), FILE_BYTES_MAX >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// More files than any configuration should have.
    #[error("{} holds more than {FILES_MAX} files: join some", folder.display())]
    TooMany {
        /// The folder.
        folder: PathBuf,
    },
    /// Somebody changes it faster than it can be read.
    #[error("{} changed while it was read, {TRIES} times: write a copy and rename it into place", path.display())]
    Unstable {
        /// The file or folder.
        path: PathBuf,
    },
    /// A writer has written to it and has not closed it yet.
    #[error(
        "{} is being written: a program has changed it and still has it open (waited {waited:?}); try again \
         when it is done, or write a copy and rename it into place", path.display()
    )]
    BeingWritten {
        /// The file.
        path: PathBuf,
        /// How long the writer was given.
        waited: Duration,
    },
    /// Anything else that the system says.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReadError {
    fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => {
                let blocker = describe_blocker(&path);
                Self::Denied { path, blocker, user: describe_user(Uid::effective()) }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// Reads the file `config`, or of the folder `config` first `teal.toml` and then `conf.d/*.toml` in
/// order of name. Blocks for as long as the disk does.
///
/// A file that changes while it is read is read again, a few times.
///
/// # Errors
/// The first file that cannot be read, and why.
pub fn read(config: &Path) -> Result<Sources, ReadError> {
    for _ in 0..TRIES {
        let paths = list(config)?;
        match read_each(&paths) {
            // A file of the list that has gone meanwhile: the list is outdated, not the operator wrong.
            Err(ReadError::NotFound { .. }) if list(config)? != paths => {}
            Err(error) => return Err(error),
            Ok(files) if list(config)? == paths => return Ok(Sources { files }),
            Ok(_) => {}
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
    Err(ReadError::Unstable { path: config.to_owned() })
}

/// The files that [`read`] would read, in that order.
///
/// # Errors
/// There is nothing, no main file, too much, or the folder cannot be read.
pub(super) fn list(config: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if !fs::metadata(config).map_err(|error| ReadError::of(config, error))?.is_dir() {
        return Ok(vec![config.to_owned()]);
    }
    let main = config.join(MAIN_FILE);
    let parts = list_parts(&config.join(PARTS_FOLDER))?;
    match fs::metadata(&main) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hint = if parts.is_empty() {
                "create it there, or name a file with --config"
            } else {
                "it may be empty beside the files in conf.d"
            };
            return Err(ReadError::NoMainFile { path: main, hint });
        }
        Err(error) => return Err(ReadError::of(&main, error)),
        Ok(_) => {}
    }
    Ok([main].into_iter().chain(parts).collect())
}

/// The configuration files of `conf.d`, sorted; none if there is no such folder.
pub(super) fn list_parts(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| ReadError::of(folder, error))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| ReadError::of(folder, error))?;
        if is_part(entry.file_name().as_encoded_bytes()) {
            paths.push(entry.path());
        }
        if paths.len() > FILES_MAX {
            return Err(ReadError::TooMany { folder: folder.to_owned() });
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a file of that name in `conf.d` is configuration: hidden files, backups (`a.toml~`,
/// `#a.toml#`) and everything else that does not end in `.toml` are not.
pub(super) fn is_part(name: &[u8]) -> bool {
    name.ends_with(b".toml") && !name.starts_with(b".") && !name.starts_with(b"#")
}

fn read_each(paths: &[PathBuf]) -> Result<Vec<SourceFile>, ReadError> {
    paths.iter().map(|path| Ok(SourceFile { path: path.clone(), text: read_stable(path)? })).collect()
}

fn read_stable(path: &Path) -> Result<String, ReadError> {
    for _ in 0..TRIES {
        if let Some(bytes) = read_once(path)? {
            return String::from_utf8(bytes).map_err(|error| ReadError::NotUtf8 {
                path: path.to_owned(),
                offset: error.utf8_error().valid_up_to(),
            });
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
    Err(ReadError::Unstable { path: path.to_owned() })
}

/// The content, or nothing when it changed meanwhile.
fn read_once(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let failed = |error| ReadError::of(path, error);
    // Without NONBLOCK, opening a named pipe would hang.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(nonblock).open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    if !before.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    (&file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    // That another file was renamed over it meanwhile does not matter: this one is whole.
    let after = file.metadata().map_err(failed)?;
    let unchanged =
        Stamp::of(&before).has_content_of(Stamp::of(&after)) && bytes.len() as u64 == before.len();
    Ok(unchanged.then_some(bytes))
}

/// What differs between two looks at a path when the file was replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file that was looked at.
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether nobody wrote between two looks at one file. Its status may have changed, for example
    /// because it was removed.
    fn has_content_of(self, other: Self) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }
}

/// The file, or the nearest folder above it that can be looked at: that one refuses.
fn describe_blocker(path: &Path) -> String {
    for path in path.ancestors() {
        if let Ok(meta) = fs::metadata(path) {
            let user = User::from_uid(Uid::from_raw(meta.uid())).ok().flatten();
            let user = user.map_or_else(|| meta.uid().to_string(), |user| user.name);
            let group = Group::from_gid(Gid::from_raw(meta.gid())).ok().flatten();
            let group = group.map_or_else(|| meta.gid().to_string(), |group| group.name);
            return format!(
                "{} belongs to {user}:{group} and has mode {:04o}",
                path.display(),
                meta.mode() & 0o7777
            );
        }
    }
    "no folder above it can be read".to_owned()
}

fn describe_user(uid: Uid) -> String {
    match User::from_uid(uid).ok().flatten() {
        Some(user) => format!("user {} (uid {uid})", user.name),
        None => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let folder = folder(&[("x.toml", "a = 1\n")]);
        let sources = read(&folder.path().join("x.toml")).unwrap();
        assert_eq!(
            sources.files,
            [SourceFile { path: folder.path().join("x.toml"), text: "a = 1\n".to_owned() }]
        );
    }

    #[test]
    fn a_folder_is_its_main_file_and_its_parts_in_order_without_backups() {
        let folder = folder(&[
            ("teal.toml", "main"),
            ("other.toml", "not read"),
            ("conf.d/b.toml", "b"),
            ("conf.d/a.toml", "a"),
            ("conf.d/.hidden.toml", "-"),
            ("conf.d/a.toml~", "-"),
            ("conf.d/#a.toml#", "-"),
            ("conf.d/#a.toml", "-"),
            ("conf.d/.a.toml.swp", "-"),
            ("conf.d/readme.md", "-"),
        ]);
        let sources = read(folder.path()).unwrap();
        let texts: Vec<_> = sources.files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["main", "a", "b"]);
    }

    #[test]
    fn a_folder_without_its_main_file_says_which_file_is_missing() {
        let message = read(folder(&[("conf.d/a.toml", "a")]).path()).unwrap_err().to_string();
        assert!(message.contains("needs the file teal.toml; it may be empty"), "{message}");
        let message = read(folder(&[]).path()).unwrap_err().to_string();
        assert!(message.contains("create it there"), "{message}");
    }

    #[test]
    fn what_is_no_text_is_named_with_its_offset() {
        let folder = folder(&[]);
        fs::write(folder.path().join("x.toml"), b"ok = 1\n\xff").unwrap();
        let error = read(&folder.path().join("x.toml")).unwrap_err();
        assert!(matches!(error, ReadError::NotUtf8 { offset: 7, .. }), "{error}");
    }

    #[test]
    fn what_is_missing_too_large_or_no_file_is_refused_without_hanging() {
        let folder = folder(&[("conf.d/a.toml", "a")]);
        let path = folder.path().join("x.toml");
        assert!(matches!(read(&path).unwrap_err(), ReadError::NotFound { .. }));
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(read(&path).unwrap_err(), ReadError::TooLarge { .. }));
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(read(&path).unwrap_err(), ReadError::NotAFile { .. }));
    }

    #[test]
    fn a_denial_names_the_user_the_owner_and_the_mode() {
        let folder = folder(&[("x.toml", "a = 1\n")]);
        let path = folder.path().join("x.toml");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let error = ReadError::of(&path, io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(error.contains("mode 0600") && error.contains("uid"), "{error}");
        assert!(describe_blocker(&path.join("below")).contains("x.toml belongs to"));
    }
}
