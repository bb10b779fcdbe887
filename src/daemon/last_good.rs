//! The last good configuration, kept for a start at which the one on disk is broken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::{SourceFile, Sources};
use crate::state::{Problems, StateDirectory, StateError};

const FILE: &str = "last-good.json";
/// The subject of its problem.
const SUBJECT: &str = "state: last good configuration";

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

/// How long a disk that failed rests until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// Where what took effect is handed over to be kept. A slow disk must not hold up a reload.
pub struct LastGood {
    /// The configuration's file or folder.
    config: PathBuf,
    newest: watch::Sender<Option<Arc<Kept>>>,
}

/// Writes what is handed over, the newest only.
pub struct Keeper {
    directory: Arc<StateDirectory>,
    problems: Problems,
    newest: watch::Receiver<Option<Arc<Kept>>>,
}

/// Both ends: for configurations read from `config`, an absolute path, kept in `directory`.
pub fn keeper(directory: Arc<StateDirectory>, config: PathBuf, problems: Problems) -> (LastGood, Keeper) {
    let (sender, receiver) = watch::channel(None);
    (LastGood { config, newest: sender }, Keeper { directory, problems, newest: receiver })
}

impl LastGood {
    /// Keeps what just took effect; returns at once.
    pub fn keep(&self, sources: Sources) {
        let kept = |file: SourceFile| KeptFile { path: file.path, text: file.text };
        let files = sources.files.into_iter().map(kept).collect();
        self.newest.send_replace(Some(Arc::new(Kept { config: self.config.clone(), files })));
    }
}

impl Keeper {
    /// Writes until the other end is gone and its last word is written. A disk that fails is a problem to
    /// show, and is tried again.
    pub async fn run(mut self) {
        while self.newest.changed().await.is_ok() {
            while !self.write().await {
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    changed = self.newest.changed() => if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Whether it could be written.
    async fn write(&mut self) -> bool {
        let Some(kept) = self.newest.borrow_and_update().clone() else { return true };
        let directory = Arc::clone(&self.directory);
        let written = tokio::task::spawn_blocking(move || directory.write(FILE, &*kept)).await;
        match written {
            Ok(Ok(())) => self.problems.clear(SUBJECT),
            Ok(Err(error)) => {
                self.problems.set(SUBJECT, error.to_string());
                return false;
            }
            Err(error) => tracing::error!(%error, "the last good configuration was not written"),
        }
        true
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
