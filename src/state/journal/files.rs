//! The journal's files in the state directory: `journal`, and before it `journal-N`, N being the sequence
//! number of their last record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::replay::{Replay, replay};

/// The file that is appended to.
pub(super) const CURRENT: &str = "journal";
/// Prefix of the files before it.
pub(super) const OLD: &str = "journal-";

/// The journal's files with their names, the oldest first.
///
/// # Errors
/// One cannot be read.
pub fn read_files(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names: Vec<String> = list(folder, OLD)?;
    names.sort_unstable();
    names.push(CURRENT.to_owned());
    let mut files = Vec::new();
    for name in names {
        match fs::read(folder.join(&name)) {
            Ok(bytes) => files.push((name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

pub(super) fn list(folder: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let names = entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

/// Replays the files of a folder and says in words where they are damaged.
///
/// # Errors
/// One cannot be read.
pub fn verify(folder: &Path) -> io::Result<(Replay, Option<String>)> {
    let files = read_files(folder)?;
    let replayed = replay(files.iter().map(|(_, bytes)| &bytes[..]));
    let damage = replayed.damage.as_ref().map(|damage| {
        let name = files.get(damage.file).map_or(CURRENT, |(name, _)| name);
        format!("{}, line {}: {}", folder.join(name).display(), damage.line, damage.flaw)
    });
    Ok((replayed, damage))
}

/// Makes sure that there is room for so many bytes at `at`, where the file system can.
pub(super) fn reserve(file: &File, at: u64, octets: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::KEEP_SIZE, at, octets) {
        Err(errno) if errno != Errno::OPNOTSUPP && errno != Errno::NOSYS => Err(errno.into()),
        _ => Ok(()),
    }
}

pub(super) fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
