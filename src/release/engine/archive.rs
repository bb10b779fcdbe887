//! Files with what was seen of releases, so that a verdict can be explained and replayed: one for each release in
//! `releases/` of the state directory.
//!
//! They are for people. When the disk takes no more, nothing else suffers.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::release::analysis::Recorded;
use crate::state::release::ReleaseId;

/// Files that are kept; the oldest go.
const FILES_MAX: usize = 20;
/// Bytes that a file may have.
const OCTETS_MAX: u64 = 64 << 20;

/// The folder.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// In this state directory.
    pub fn new(state: &Path) -> Self {
        let folder = state.join("releases");
        // Shown to people, who are somewhere else.
        Self { folder: std::path::absolute(&folder).unwrap_or(folder) }
    }

    /// The file of a release.
    pub fn path(&self, release: &ReleaseId) -> PathBuf {
        self.folder.join(format!("{release}.jsonl"))
    }

    /// Adds a look.
    pub async fn append(&self, recorded: Recorded) {
        let (archive, release) = (self.clone(), recorded.release.clone());
        let written = tokio::task::spawn_blocking(move || archive.write(&recorded)).await;
        if let Ok(Err(error)) = written {
            tracing::debug!(%release, error, "what was seen is not recorded");
        }
    }

    fn write(&self, recorded: &Recorded) -> Result<(), String> {
        let line = recorded.to_line()?;
        let path = self.path(&recorded.release);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        if !path.exists() {
            fs::create_dir_all(&self.folder).map_err(failed)?;
            self.remove_oldest();
        }
        let mut file =
            OpenOptions::new().create(true).append(true).mode(0o640).open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() + line.len() as u64 > OCTETS_MAX {
            return Err(format!("{} is full", path.display()));
        }
        file.write_all(line.as_bytes()).map_err(failed)
    }

    fn remove_oldest(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let of = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
        let mut files: Vec<_> = entries.flatten().filter_map(of).collect();
        files.sort();
        for (_, path) in files.iter().take((files.len() + 1).saturating_sub(FILES_MAX)) {
            // One too many does no harm; the next time it goes.
            let _ = fs::remove_file(path);
        }
    }
}
