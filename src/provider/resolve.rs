//! Which folders to watch, and for which names, so that no way of replacing a configuration is missed.
//!
//! A path is walked as the kernel walks it. Every folder in which a name is looked up is watched for
//! that name: replacing the file, a symlink anywhere on the way (`current -> releases/42`, the `..data`
//! of a Kubernetes volume) or a whole folder changes one of these names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::files::{MAIN_FILE, PARTS_FOLDER, is_part, list_parts};

/// Symlinks followed on one path at most, as in Linux (`path_resolution(7)`).
const SYMLINKS_MAX: usize = 40;

/// What to watch, by folder. Two plans that are equal need the same watches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Folders, by their path without symlinks.
    pub folders: BTreeMap<PathBuf, Interest>,
    /// The file, when the configuration is a single one: watching it as well shows writes that came
    /// through another name of it, such as the outer side of a bind mount.
    pub file: Option<PathBuf>,
    /// Whether the main file is there.
    pub main: Presence,
}

/// Whether a file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Presence {
    #[default]
    Missing,
    Present,
}

/// What in a folder is of interest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Interest {
    /// Names of folders and symlinks on the way.
    way: BTreeSet<OsString>,
    /// Names of configuration files, whose content matters.
    files: BTreeSet<OsString>,
    /// Whether every file with the right ending is configuration.
    parts: Parts,
}

/// Whether a folder is a `conf.d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Parts {
    #[default]
    Ignored,
    Included,
}

impl Interest {
    /// Whether a change of that name matters.
    pub(super) fn concerns(&self, name: &OsStr) -> bool {
        self.way.contains(name) || self.is_file(name)
    }

    /// Whether that name is, or is about to be, a configuration file.
    pub(super) fn is_file(&self, name: &OsStr) -> bool {
        self.files.contains(name) || (self.parts == Parts::Included && is_part(name.as_encoded_bytes()))
    }

    /// Whether writes in the folder matter, or only what comes and goes.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty() || self.parts == Parts::Included
    }

    /// Adds what else is of interest in the same folder.
    pub(super) fn merge(&mut self, other: Self) {
        self.way.extend(other.way);
        self.files.extend(other.files);
        if other.parts == Parts::Included {
            self.parts = Parts::Included;
        }
    }
}

impl Plan {
    /// Looks at the file system as it is now. A path that leads nowhere is planned as far as it goes.
    pub(super) fn of(config: &Path) -> Self {
        let mut plan = Self::default();
        let Some(end) = plan.follow(config) else { return plan };
        if !end.is_dir() {
            plan.file = Some(end);
            plan.main = Presence::Present;
            return plan;
        }
        if plan.follow(&end.join(MAIN_FILE)).is_some() {
            plan.main = Presence::Present;
        }
        let Some(parts) = plan.follow(&end.join(PARTS_FOLDER)).filter(|parts| parts.is_dir()) else {
            return plan;
        };
        plan.folders.entry(parts.clone()).or_default().parts = Parts::Included;
        // An unreadable folder shows itself when it is read.
        for part in list_parts(&parts).unwrap_or_default() {
            if part.is_symlink() {
                plan.follow(&part);
            }
        }
        plan
    }

    /// Adds each lookup on the way of `path` and returns where it ends.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        let mut rest = components(&path);
        let mut here = PathBuf::from("/");
        let mut symlinks = 0;
        while let Some(step) = rest.pop_front() {
            let name = match step {
                Step::Up => {
                    here.pop();
                    continue;
                }
                Step::Down(name) => name,
            };
            let interest = self.folders.entry(here.clone()).or_default();
            if rest.is_empty() { &mut interest.files } else { &mut interest.way }.insert(name.clone());
            here.push(name);
            let meta = fs::symlink_metadata(&here).ok()?;
            if meta.is_symlink() {
                symlinks += 1;
                if symlinks > SYMLINKS_MAX {
                    return None;
                }
                let target = fs::read_link(&here).ok()?;
                here.pop();
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for step in components(&target).into_iter().rev() {
                    rest.push_front(step);
                }
            }
        }
        Some(here)
    }
}

enum Step {
    Up,
    Down(OsString),
}

fn components(path: &Path) -> VecDeque<Step> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Step::Down(name.to_owned())),
            Component::ParentDir => Some(Step::Up),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn concerns(plan: &Plan, folder: &Path, name: &str) -> bool {
        let folder = fs::canonicalize(folder).unwrap();
        plan.folders.get(&folder).is_some_and(|interest| interest.concerns(OsStr::new(name)))
    }

    #[test]
    fn every_symlink_on_the_way_is_watched_where_it_lies() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("mount/..1")).unwrap();
        fs::create_dir_all(at("srv/releases/1")).unwrap();
        fs::write(at("mount/..1/teal.toml"), "").unwrap();
        symlink("..1", at("mount/..data")).unwrap();
        symlink("..data/teal.toml", at("mount/teal.toml")).unwrap();
        symlink("releases/1", at("srv/current")).unwrap();
        symlink("../../../mount/teal.toml", at("srv/releases/1/teal.toml")).unwrap();

        let plan = Plan::of(&at("srv/current/teal.toml"));
        assert_eq!(plan.file.as_deref(), Some(&*fs::canonicalize(at("mount/..1/teal.toml")).unwrap()));
        for (folder, name) in [
            ("srv", "current"),
            ("srv/releases", "1"),
            ("srv/releases/1", "teal.toml"),
            ("mount", "teal.toml"),
            ("mount", "..data"),
            ("mount", "..1"),
            ("mount/..1", "teal.toml"),
        ] {
            assert!(concerns(&plan, &at(folder), name), "{folder}: {name}");
        }
        assert!(!concerns(&plan, &at("srv"), "other"));
    }

    #[test]
    fn a_loop_and_a_missing_file_are_watched_as_far_as_they_go() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        let plan = Plan::of(&root.path().join("a"));
        assert_eq!((&plan.file, plan.main), (&None, Presence::Missing));
        assert!(concerns(&plan, root.path(), "a") && concerns(&plan, root.path(), "b"));
        let plan = Plan::of(&root.path().join("none/teal.toml"));
        assert!(concerns(&plan, root.path(), "none") && plan.main == Presence::Missing);
    }

    #[test]
    fn in_a_folder_only_configuration_files_matter() {
        let root = tempfile::tempdir().unwrap();
        let plan = Plan::of(root.path());
        assert!(concerns(&plan, root.path(), "teal.toml") && concerns(&plan, root.path(), "conf.d"));
        fs::create_dir(root.path().join("conf.d")).unwrap();
        let parts = root.path().join("conf.d");
        let plan = Plan::of(root.path());
        assert!(concerns(&plan, &parts, "new.toml") && !concerns(&plan, &parts, "new.toml~"));
        assert!(!concerns(&plan, root.path(), "other.toml"));
    }
}
