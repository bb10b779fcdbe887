//! Which program a name may mean: a file of one folder that nobody but root, or the daemon itself, can change.
//!
//! A release file comes from a client, who may name a program and never bring one. So all that leads to the program
//! must be in the hands of somebody who could do the same without teal.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

const ROOT: u32 = 0;
/// Write permission of group and others, inode(7).
const WRITABLE: u32 = 0o022;
/// In a folder with it, entries can be removed and renamed by their owners only.
const STICKY: u32 = 0o1000;
const EXECUTABLE: u32 = 0o111;

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A path, or nothing.
    #[error("{0:?} is no name of a program: write the name of a file in the folder, without a path")]
    Name(String),
    /// The configuration names a folder by a relative path.
    #[error("the folder {0} is no absolute path")]
    Relative(PathBuf),
    /// It cannot be looked at, most likely as it is not there.
    #[error("{path}: {source}")]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Whoever can change what a link points to is not known here.
    #[error("{0} is a symbolic link: put the program itself there, or name the real folder")]
    Link(PathBuf),
    /// No program.
    #[error("{0} is no file that can be executed: run `chmod +x` on it")]
    Kind(PathBuf),
    /// Somebody else owns it.
    #[error(
        "{path} belongs to user {owner}, who could make this daemon run anything: it must belong to root, or to \
         the daemon's own user when that is not root"
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// Others than the owner may write it.
    #[error("{path} has mode {mode:04o}: run `chmod go-w` on it, as only its owner may write it")]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// The path of a program, where `own` is the daemon's effective user.
///
/// # Errors
/// The name is a path, there is no such program, or somebody who is neither root nor `own` could have written it or
/// any folder on the way to it.
pub fn trusted(folder: &Path, name: &str, own: u32) -> Result<PathBuf, Refusal> {
    let is_file_name = Path::new(name).components().eq([Component::Normal(name.as_ref())]);
    if !is_file_name || name.contains(['/', '\0']) {
        return Err(Refusal::Name(name.to_owned()));
    }
    if !folder.is_absolute() {
        return Err(Refusal::Relative(folder.to_owned()));
    }
    let mut above = PathBuf::new();
    for part in folder.components() {
        above.push(part);
        let found = look(&above, own)?;
        // A folder that anybody may write to is safe to pass with the sticky bit, but none to take programs from.
        let is_passed = above.as_path() != folder && found.mode() & STICKY != 0;
        if !is_passed {
            refuse_writable(&above, &found)?;
        }
    }
    let path = folder.join(name);
    let found = look(&path, own)?;
    refuse_writable(&path, &found)?;
    if !found.is_file() || found.mode() & EXECUTABLE == 0 {
        return Err(Refusal::Kind(path));
    }
    Ok(path)
}

fn look(path: &Path, own: u32) -> Result<Metadata, Refusal> {
    let found = std::fs::symlink_metadata(path)
        .map_err(|source| Refusal::Missing { path: path.to_owned(), source })?;
    if found.is_symlink() {
        return Err(Refusal::Link(path.to_owned()));
    }
    if found.uid() != ROOT && found.uid() != own {
        return Err(Refusal::Owner { path: path.to_owned(), owner: found.uid() });
    }
    Ok(found)
}

fn refuse_writable(path: &Path, found: &Metadata) -> Result<(), Refusal> {
    if found.mode() & WRITABLE == 0 {
        return Ok(());
    }
    Err(Refusal::Writable { path: path.to_owned(), mode: found.mode() & 0o7777 })
}
