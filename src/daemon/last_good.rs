//! The last good configuration, kept for a start at which the one on disk is broken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{SourceFile, Sources};
use crate::state::{Problems, StateDirectory, StateError};

const FILE: &str = "last-good.json";
/// The subject of its problem.
const SUBJECT: &str = "state: last good configuration";

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// The configuration that it was read from: another one's must not stand in for this.
    config: PathBuf,
    files: Vec<KeptFile>,
}

#[derive(Clone, Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    text: String,
}

/// Keeps what took effect. A disk that fails is a problem to show, and is tried again.
pub struct LastGood {
    directory: Arc<StateDirectory>,
    problems: Problems,
    /// The configuration's file or folder.
    config: PathBuf,
    /// What could not be written.
    unsaved: Option<Kept>,
}

impl LastGood {
    /// Keeps configurations read from `config`, an absolute path, in `directory`.
    pub fn new(directory: Arc<StateDirectory>, config: PathBuf, problems: Problems) -> Self {
        Self { directory, problems, config, unsaved: None }
    }

    /// Keeps what just took effect.
    pub fn keep(&mut self, sources: Sources) {
        let kept = |file: SourceFile| KeptFile { path: file.path, text: file.text };
        let files = sources.files.into_iter().map(kept).collect();
        self.unsaved = Some(Kept { config: self.config.clone(), files });
        self.retry();
    }

    /// Tries again what could not be written; call it about every second.
    pub fn retry(&mut self) {
        let Some(kept) = self.unsaved.take() else { return };
        match self.directory.write(FILE, &kept) {
            Ok(()) => self.problems.clear(SUBJECT),
            Err(error) => {
                self.problems.set(SUBJECT, error.to_string());
                self.unsaved = Some(kept);
            }
        }
    }
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
