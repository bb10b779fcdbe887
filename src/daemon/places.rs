//! Where the daemon keeps things, and what tells this host from others.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The state directory: the argument, else `$STATE_DIRECTORY` (systemd.exec(5), the first of several),
/// else `$XDG_STATE_HOME/teal`, else `~/.local/state/teal` (XDG Base Directory Specification).
/// `None` when not even a home is known.
pub fn state_directory(argument: Option<PathBuf>) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let of_systemd = || {
        let folders = variable("STATE_DIRECTORY")?;
        std::env::split_paths(&folders).next()
    };
    let of_user = || {
        let state = variable("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))?;
        Some(state.join("teal"))
    };
    argument.or_else(of_systemd).or_else(of_user)
}

/// A number that differs from host to host and stays on one: from the machine id (machine-id(5)), which
/// is hashed, as that page asks for; 0 where there is none.
pub fn host_rotation() -> usize {
    let Ok(id) = fs::read_to_string("/etc/machine-id") else { return 0 };
    let digest = Sha256::new().chain_update(b"teal split").chain_update(id.trim()).finalize();
    usize::from(u16::from_be_bytes([digest[0], digest[1]]))
}
