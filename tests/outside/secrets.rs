//! Keys and signatures.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use teal::release::outside::sign::{Key, KeyError};
use tempfile::TempDir;

pub const SECRET: &str = "a secret of this test";

/// A file with a key and a mode.
pub fn secret_file(text: &str, mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

/// The example of the Standard Webhooks specification's libraries, which another implementation (Python's hmac) gives as well.
#[test]
fn a_signature_is_what_other_implementations_compute() {
    let key = Key::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = key.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn a_key_is_read_without_the_end_of_its_line() {
    let (_folder, path) = secret_file(&format!("{SECRET}\n"), 0o600);
    let read = Key::read(&path).unwrap().signature("id", 7, b"body");
    assert_eq!(read, Key::parse(SECRET.as_bytes()).unwrap().signature("id", 7, b"body"));
    assert!(secret_file(SECRET, 0o640).1.is_absolute());
}

#[test]
fn a_file_that_others_may_read_or_write_is_refused() {
    for mode in [0o644, 0o604, 0o620, 0o602, 0o660] {
        let (_folder, path) = secret_file(SECRET, mode);
        assert!(
            matches!(Key::read(&path), Err(KeyError::Mode { mode: found, .. }) if found == mode),
            "{mode:o}"
        );
    }
    for mode in [0o600, 0o400, 0o640] {
        let (_folder, path) = secret_file(SECRET, mode);
        assert!(Key::read(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn what_is_no_key_is_refused_and_never_shown() {
    for text in ["", "short", "whsec_short", "whsec_not base64, not at all", &"x".repeat(5000)] {
        let (_folder, path) = secret_file(text, 0o600);
        assert!(matches!(Key::read(&path), Err(KeyError::Content(_))), "{text:?}");
    }
    assert!(matches!(Key::read(Path::new("secret")), Err(KeyError::Relative(_))));
    assert!(matches!(Key::read(Path::new("/nowhere/secret")), Err(KeyError::Read { .. })));
    assert_eq!(format!("{:?}", Key::parse(SECRET.as_bytes()).unwrap()), "Key(..)");
}

#[test]
fn a_pipe_is_no_key_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(Key::read(&path), Err(KeyError::Read { .. })));
}
