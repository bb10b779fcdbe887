//! Descriptors in a thread's event queue.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers what has a descriptor with this thread's event queue, for `interest` alone. It keeps that descriptor open
/// and never swaps it for another.
///
/// # Errors
/// The kernel does not watch such a descriptor, or has no room for one more.
pub(super) fn register<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    #[expect(deprecated, reason = "its successor is unsafe; who calls this keeps the promise above")]
    AsyncFd::with_interest(inner, interest)
}
