//! The control socket: a Unix socket that whoever may open it may use.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrAny;

use super::accept::Listening;

/// Group that owns the socket where it exists and the daemon may say so.
const GROUP: &str = "teal";
/// Owner and group may open it.
const MODE: u32 = 0o660;

/// A bound control socket; its file goes with the value.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file, so that a successor's is left alone.
    identity: (u64, u64),
}

/// Why the control socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// A daemon answers there.
    #[error("another teal answers at {path}; stop it or name another place with --socket")]
    InUse {
        /// The socket's file.
        path: PathBuf,
    },
    /// A file that is no socket is in the way.
    #[error("{path} exists and is no socket; remove it or name another place with --socket")]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refuses.
    #[error(
        "cannot make the control socket {path}: {source}; make its folder writable for this user or name another \
         place with --socket"
    )]
    Bind {
        /// The socket's file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Binds at `path`, making its folder if needed, over what a daemon that is gone left there.
    ///
    /// # Errors
    /// Somebody answers there, something else is in the way, or the kernel refuses.
    pub fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let failed = |source| ControlSocketError::Bind { path: path.to_owned(), source };
        remove_stale(path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        give_to_group(path);
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
        let file = fs::symlink_metadata(path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity: (file.dev(), file.ino()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Members of the group may use the socket. The packaged daemon runs in that group, and may not change
/// owners: it finds nothing to do.
fn give_to_group(path: &Path) {
    let group = nix::unistd::Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
    let Some(group) = group else { return };
    let has_it = fs::symlink_metadata(path).is_ok_and(|file| file.gid() == group);
    if !has_it && std::os::unix::fs::chown(path, None, Some(group)).is_err() {
        tracing::warn!(
            path = %path.display(),
            "cannot give the control socket to group {GROUP}: only this user can use it"
        );
    }
}

fn remove_stale(path: &Path) -> Result<(), ControlSocketError> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err(ControlSocketError::NoSocket { path: path.to_owned() });
    }
    if UnixStream::connect(path).is_ok() {
        return Err(ControlSocketError::InUse { path: path.to_owned() });
    }
    fs::remove_file(path).map_err(|source| ControlSocketError::Bind { path: path.to_owned(), source })
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if ours {
            // Left behind, it would only be found stale by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl AsRawFd for ControlSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl Listening for ControlSocket {
    type Stream = UnixStream;
    type Peer = ();

    fn peer(_: Option<SocketAddrAny>) -> Option<()> {
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/admin.sock");
        let first = ControlSocket::bind(&path).unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(ControlSocketError::InUse { .. })));
        drop(first);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        ControlSocket::bind(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(ControlSocketError::NoSocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn owner_and_group_may_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(&folder.path().join("admin.sock")).unwrap();
        assert_eq!(fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o660);
    }
}
