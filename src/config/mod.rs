//! The text of a configuration, as `provider` reads it.

use std::path::PathBuf;

/// One file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The files of a configuration, in order of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// At least one; of a folder, `teal.toml` is first.
    pub files: Vec<SourceFile>,
}
