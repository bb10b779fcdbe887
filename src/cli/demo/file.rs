//! The TOML file that the demo's daemon watches: written from the example, changed by rename.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value};

use super::backends::Backends;
use super::cast::{Member, PerSide, Side};
use super::ports::Ports;

/// The example, with comments.
const EXAMPLE: &str = include_str!("../../../conf/examples/demo.toml");

/// Why the file cannot be written or changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system says no.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Somebody changed it into something else.
    #[error("the demo's configuration has no {0} any more")]
    Missing(String),
    /// Somebody changed it into something that is no TOML.
    #[error("the demo's configuration is broken: {0}")]
    Broken(#[from] toml_edit::TomlError),
}

/// The file on disk.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
}

impl File {
    /// Writes the example with these ports and endpoints into `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path, ports: &Ports, backends: &Backends) -> Result<Self, FileError> {
        let mut document: DocumentMut = EXAMPLE.parse()?;
        set(&mut document, &["dns", "listen"], array([ports.dns]).into())?;
        set(&mut document, &["metrics", "listen"], ports.metrics.to_string().into())?;
        for member in Member::ALL {
            let mut port = InlineTable::new();
            port.insert("listen", i64::from(ports.listen).into());
            port.insert("name", "http".into());
            set(&mut document, &["services", member.name(), "ports"], Array::from_iter([port]).into())?;
            for side in Side::ALL {
                let key = ["services", member.name(), "colors", side.name(), "endpoints"];
                set(&mut document, &key, array(backends.addresses(member, side)).into())?;
            }
        }
        let file = Self { path: folder.join("teal.toml") };
        write(&file.path, &document.to_string())?;
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, sets the weights of one service and writes the whole beside it. Everything else
    /// stays as it is, comments too.
    ///
    /// # Errors
    /// The file is not what it was, or cannot be written.
    pub fn prepare_weights(&self, member: Member, weights: PerSide<u16>) -> Result<Prepared, FileError> {
        let error = |source| FileError::Write { path: self.path.clone(), source };
        let mut document: DocumentMut = std::fs::read_to_string(&self.path).map_err(error)?.parse()?;
        for (side, weight) in Side::ALL.into_iter().zip(weights) {
            let key = ["services", member.name(), "colors", side.name(), "weight"];
            set(&mut document, &key, i64::from(weight).into())?;
        }
        let beside = self.path.with_extension("toml.new");
        write(&beside, &document.to_string())?;
        Ok(Prepared { beside, path: self.path.clone() })
    }
}

/// A new text that waits beside the file.
#[derive(Debug)]
pub struct Prepared {
    beside: PathBuf,
    path: PathBuf,
}

impl Prepared {
    /// Renames it over the file: from now on it is what the daemon sees.
    ///
    /// # Errors
    /// The file system says no.
    pub fn commit(self) -> Result<(), FileError> {
        std::fs::rename(&self.beside, &self.path)
            .map_err(|source| FileError::Write { path: self.path, source })
    }
}

fn write(path: &Path, text: &str) -> Result<(), FileError> {
    std::fs::write(path, text).map_err(|source| FileError::Write { path: path.to_owned(), source })
}

fn array(addresses: impl IntoIterator<Item = SocketAddr>) -> Array {
    addresses.into_iter().map(|address| address.to_string()).collect()
}

/// Replaces the value of a key that is there and keeps what surrounds it.
fn set(document: &mut DocumentMut, key: &[&str], mut value: Value) -> Result<(), FileError> {
    let missing = || FileError::Missing(key.join("."));
    let mut item: &mut Item = document.as_item_mut();
    for part in key {
        let table: &mut dyn TableLike = item.as_table_like_mut().ok_or_else(missing)?;
        item = table.get_mut(part).ok_or_else(missing)?;
    }
    let old = item.as_value_mut().ok_or_else(missing)?;
    *value.decor_mut() = old.decor().clone();
    *old = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    #[test]
    fn the_example_is_valid_without_warnings() {
        let loaded = config::load(&Sources::single("demo.toml", EXAMPLE)).unwrap();
        assert_eq!(loaded.warnings, []);
        for member in Member::ALL {
            let service =
                loaded.catalog.services.values().find(|service| service.name.as_str() == member.name());
            let service = service.unwrap();
            for side in Side::ALL {
                let color = service.colors.iter().find(|color| color.name.as_str() == side.name()).unwrap();
                assert_eq!(color.endpoints.len(), member.instances());
            }
        }
    }

    #[test]
    fn a_change_of_weights_keeps_every_comment() {
        let folder = tempfile::tempdir().unwrap();
        let file = File { path: folder.path().join("teal.toml") };
        let before = EXAMPLE.replace("weight = 0", "weight = 0 # not yet");
        std::fs::write(file.path(), &before).unwrap();
        file.prepare_weights(Member::B, [75, 25]).unwrap().commit().unwrap();
        let after = std::fs::read_to_string(file.path()).unwrap();
        let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(old, new)| old != new).collect();
        assert_eq!(
            changed,
            [("weight = 100", "weight = 75"), ("weight = 0 # not yet", "weight = 25 # not yet")]
        );
    }
}
