//! Only a file of the folder, and only one that nobody else can have written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use teal::release::outside::program::{Refusal, trusted};
use tempfile::TempDir;

const SOMEBODY: u32 = 4321;

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder in a folder of its own, with one program.
fn folder() -> (TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().canonicalize().unwrap().join("gates");
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o755);
    fs::write(folder.join("smoke"), "#!/bin/sh\n").unwrap();
    set_mode(&folder.join("smoke"), 0o755);
    (home, folder)
}

#[test]
fn a_program_that_only_root_or_this_user_can_change_is_taken() {
    let (_home, folder) = folder();
    assert_eq!(trusted(&folder, "smoke", own()).unwrap(), folder.join("smoke"));
}

#[test]
fn a_name_with_a_path_is_refused() {
    let (_home, folder) = folder();
    fs::create_dir(folder.join("sub")).unwrap();
    for name in ["", ".", "..", "sub/smoke", "../gates/smoke", "/bin/true", "smoke/", "./smoke", "a\0b"] {
        assert!(matches!(trusted(&folder, name, own()), Err(Refusal::Name(_))), "{name:?}");
    }
    assert!(matches!(trusted(Path::new("gates"), "smoke", own()), Err(Refusal::Relative(_))));
}

#[test]
fn what_is_no_program_is_refused() {
    let (_home, folder) = folder();
    assert!(matches!(trusted(&folder, "absent", own()), Err(Refusal::Missing { .. })));
    fs::create_dir(folder.join("sub")).unwrap();
    set_mode(&folder.join("sub"), 0o755);
    assert!(matches!(trusted(&folder, "sub", own()), Err(Refusal::Kind(_))));
    set_mode(&folder.join("smoke"), 0o644);
    assert!(matches!(trusted(&folder, "smoke", own()), Err(Refusal::Kind(_))));
}

#[test]
fn a_program_that_others_may_write_is_refused() {
    let (_home, folder) = folder();
    for mode in [0o775, 0o757] {
        set_mode(&folder.join("smoke"), mode);
        let refusal = trusted(&folder, "smoke", own()).unwrap_err();
        assert!(matches!(refusal, Refusal::Writable { mode: found, .. } if found == mode), "{refusal}");
        assert!(refusal.to_string().contains("chmod go-w"), "{refusal}");
    }
}

#[test]
fn a_folder_that_others_may_write_is_refused_also_with_the_sticky_bit() {
    let (_home, folder) = folder();
    for mode in [0o775, 0o777, 0o1777] {
        set_mode(&folder, mode);
        assert!(matches!(trusted(&folder, "smoke", own()), Err(Refusal::Writable { .. })), "{mode:o}");
    }
}

#[test]
fn a_parent_that_others_may_write_is_refused_without_the_sticky_bit() {
    let (home, folder) = folder();
    set_mode(home.path(), 0o777);
    let refusal = trusted(&folder, "smoke", own()).unwrap_err();
    assert!(refusal.to_string().contains(home.path().to_str().unwrap()), "{refusal}");
    set_mode(home.path(), 0o1777);
    assert!(trusted(&folder, "smoke", own()).is_ok());
}

#[test]
fn a_link_is_refused_wherever_it_is() {
    let (home, folder) = folder();
    symlink("/bin/true", folder.join("link")).unwrap();
    assert!(matches!(trusted(&folder, "link", own()), Err(Refusal::Link(_))));
    let linked = home.path().join("linked");
    symlink(&folder, &linked).unwrap();
    assert!(matches!(trusted(&linked, "smoke", own()), Err(Refusal::Link(_))));
}

#[test]
fn what_somebody_else_owns_is_refused() {
    let (home, folder) = folder();
    let refused_as = |own| matches!(trusted(&folder, "smoke", own), Err(Refusal::Owner { .. }));
    if own() != 0 {
        // Not even root's daemon takes what this user owns.
        assert!(refused_as(0) && refused_as(SOMEBODY));
        return;
    }
    for path in [home.path(), &folder, &folder.join("smoke")] {
        chown(path, Some(SOMEBODY), None).unwrap();
        assert!(refused_as(0), "{}", path.display());
        assert!(!refused_as(SOMEBODY), "a daemon of this user takes its own");
        chown(path, Some(0), None).unwrap();
    }
    assert!(!refused_as(0));
}
