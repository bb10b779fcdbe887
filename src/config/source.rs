//! The text that a configuration is made of, and places in it.
//!
//! Used by whoever reads files (`provider`) to hand text over, and by reports to point at it. Never
//! opens a file.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// One file's path (as shown in reports) and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As shown in reports; its file name is part of the hash.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// What was read: `teal.toml` first and then the files of `conf.d` in order of name; or a single file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The first is the main file; the others may hold `[services]` and `[apps]` only.
    pub files: Vec<SourceFile>,
}

/// A stretch of text: bytes `start..end` of one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Index into [`Sources::files`].
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

/// Line and column of a place, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Sources {
    /// A configuration of one file.
    pub fn single(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { files: vec![SourceFile { path: path.into(), text: text.into() }] }
    }

    /// First 16 hex digits of the SHA-256 over each file's name and text, each preceded by its length
    /// in octets (64 bit, big endian), so that no two configurations run into the same stream.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for file in &self.files {
            let name = file.path.file_name().unwrap_or_default().as_encoded_bytes();
            for part in [name, file.text.as_bytes()] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{first:016x}")
    }

    /// Where a place begins, for people. A place outside the text is moved to its end.
    pub fn position(&self, place: Place) -> Position {
        let text = self.text(place.file);
        let start = floor_boundary(text, place.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    pub(super) fn text(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.text)
    }

    pub(super) fn shown_path(&self, file: usize) -> String {
        self.files.get(file).map_or_else(String::new, |file| file.path.display().to_string())
    }
}

/// The nearest character boundary at or before `index`.
pub(super) fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let sources = Sources::single("t.toml", "a\nöö = 1\n");
        let place = Place { file: 0, start: 7, end: 8 };
        assert_eq!(sources.position(place), Position { line: 2, column: 4 });
        assert_eq!(sources.position(Place { file: 0, start: 99, end: 99 }), Position { line: 3, column: 1 });
        assert_eq!(sources.position(Place { file: 7, start: 1, end: 1 }), Position { line: 1, column: 1 });
    }

    #[test]
    fn the_hash_covers_names_and_texts_and_their_borders() {
        let hash = |path: &str, text: &str| Sources::single(path, text).hash();
        assert_eq!(hash("a.toml", "x").len(), 16);
        assert_eq!(hash("/one/a.toml", "x"), hash("/two/a.toml", "x"));
        assert_ne!(hash("a.toml", "x"), hash("b.toml", "x"));
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
    }
}
