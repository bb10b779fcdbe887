//! The last good configuration, kept for a start at which the one on disk is broken.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{SourceFile, Sources};
use crate::state::{StateDirectory, StateError};

const FILE: &str = "last-good.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The configuration that it was read from: another one's must not stand in for this.
    config: PathBuf,
    files: Vec<KeptFile>,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    text: String,
}

/// Keeps what just took effect.
///
/// # Errors
/// It cannot be written.
pub fn keep(directory: &StateDirectory, config: &Path, sources: &Sources) -> Result<(), StateError> {
    let files =
        sources.files.iter().map(|file| KeptFile { path: file.path.clone(), text: file.text.clone() });
    directory.write(FILE, Kept { config: config.to_owned(), files: files.collect() })
}

/// What was kept for this configuration; `None` when there is nothing.
///
/// # Errors
/// It cannot be read.
pub fn read(directory: &StateDirectory, config: &Path) -> Result<Option<Sources>, StateError> {
    let kept = directory.read::<Kept>(FILE)?.filter(|kept| kept.config == config);
    Ok(kept.map(|kept| {
        let files = kept.files.into_iter().map(|file| SourceFile { path: file.path, text: file.text });
        Sources { files: files.collect() }
    }))
}
