//! Writes weights into the configuration's file, keeping comments and order.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// Why the file cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file system says no.
    #[error("cannot change {}: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is no TOML.
    #[error("cannot change {}: {source}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: toml_edit::TomlError,
    },
    /// The weights are not where they should be.
    #[error("cannot change {}: it has no {key}", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What it lacks.
        key: String,
    },
    /// Somebody changed it between the test and the rename.
    #[error("somebody changed {} meanwhile", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
}

/// A new text on the same disk, ready to take the file's place.
#[derive(Debug)]
pub struct Prepared {
    fresh: NamedTempFile,
    path: PathBuf,
    before: String,
}

/// Makes the file's successor beside it, with its owner and mode: whatever would keep it from being saved shows
/// here. A symlink is followed.
///
/// # Errors
/// Why it could not be saved.
pub fn prepare(path: &Path, service: &str, weights: &BTreeMap<String, u16>) -> Result<Prepared, SaveError> {
    prepare_all(path, &[(service.to_owned(), weights.clone())])
}

/// The same for several services of one file.
///
/// # Errors
/// Why it could not be saved.
pub fn prepare_all(path: &Path, services: &[(String, BTreeMap<String, u16>)]) -> Result<Prepared, SaveError> {
    let failed = |source| SaveError::Write { path: path.to_owned(), source };
    let real = path.canonicalize().map_err(failed)?;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&real).map_err(failed)?;
    let like = file.metadata().map_err(failed)?;
    let before = std::fs::read_to_string(&real).map_err(failed)?;
    let broken = |source| SaveError::Broken { path: path.to_owned(), source };
    let mut document: DocumentMut = before.parse().map_err(broken)?;
    let all = services.iter().flat_map(|(service, weights)| weights.iter().map(move |set| (service, set)));
    for (service, (color, weight)) in all {
        let key = ["services", service, "colors", color, "weight"];
        let missing = || SaveError::Missing { path: path.to_owned(), key: key.join(".") };
        set(&mut document, &key, i64::from(*weight).into()).ok_or_else(missing)?;
    }
    let folder = real.parent().unwrap_or(Path::new("/"));
    let fresh = tempfile::Builder::new().prefix(".teal-save-").tempfile_in(folder).map_err(failed)?;
    let write = |mut file: &std::fs::File| {
        file.write_all(document.to_string().as_bytes())?;
        file.set_permissions(like.permissions())?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()))?;
        }
        file.sync_all()
    };
    write(fresh.as_file()).map_err(failed)?;
    Ok(Prepared { fresh, path: real, before })
}

impl Prepared {
    /// Takes the file's place.
    ///
    /// # Errors
    /// Somebody changed the file since, or the file system says no.
    pub fn commit(self) -> Result<(), SaveError> {
        let failed = |source| SaveError::Write { path: self.path.clone(), source };
        if std::fs::read_to_string(&self.path).map_err(failed)? != self.before {
            return Err(SaveError::Changed { path: self.path });
        }
        self.fresh.persist(&self.path).map(|_| ()).map_err(|error| failed(error.error))
    }
}

/// Replaces the value of a key that is there, in any case, and keeps what surrounds it.
fn set(document: &mut DocumentMut, key: &[&str], mut value: Value) -> Option<()> {
    let mut item: &mut Item = document.as_item_mut();
    for part in key {
        let table: &mut dyn TableLike = item.as_table_like_mut()?;
        let written =
            table.iter().map(|(name, _)| name).find(|name| name.eq_ignore_ascii_case(part))?.to_owned();
        item = table.get_mut(&written)?;
    }
    let old = item.as_value_mut()?;
    *value.decor_mut() = old.decor().clone();
    *old = value;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_weights_change_and_the_mode_stays() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("teal.toml");
        let text = "# head\n[services.A] # a\ncolors.blue = { weight = 1, endpoints = [] } # why\n\n[services.A.colors.green]\nendpoints = []\nweight =  0 # not yet\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let weights = BTreeMap::from([("blue".to_owned(), 7), ("green".to_owned(), 9)]);
        let prepared = prepare(&path, "a", &weights).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing happens before");
        prepared.commit().unwrap();
        let expected = text.replace("weight = 1", "weight = 7").replace("weight =  0", "weight =  9");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_change_by_somebody_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("teal.toml");
        std::fs::write(&path, "[services.a.colors.blue]\nweight = 1\n").unwrap();
        let prepared = prepare(&path, "a", &BTreeMap::from([("blue".to_owned(), 7)])).unwrap();
        std::fs::write(&path, "# theirs").unwrap();
        assert!(matches!(prepared.commit(), Err(SaveError::Changed { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# theirs");
    }
}
