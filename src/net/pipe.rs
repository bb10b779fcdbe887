//! Pipes that bulk data is spliced through, from a bounded pool.
//!
//! A large pipe pays, but the kernel grants an unprivileged user only so much in all
//! (`fs.pipe-user-pages-soft`, pipe(7)): what was granted is looked at, and where it is too little there is
//! no pipe and the caller copies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

/// The size that is asked for.
const BYTES_WANTED: usize = 1 << 20;
/// Less than this is not worth two descriptors.
const BYTES_MIN: usize = 256 << 10;

/// An open pipe.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    bytes: usize,
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused beyond the user's share; then the size it has decides.
        let bytes = fcntl_setpipe_size(&writer, BYTES_WANTED).or_else(|_| fcntl_getpipe_size(&writer))?;
        Ok(Self { reader, writer, bytes })
    }

    /// Moves what waits in `source` into the pipe, which must be empty. 0: the source has ended.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits; what splice(2) says.
    pub fn fill(&self, source: BorrowedFd<'_>) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(rustix::io::retry_on_intr(|| splice(source, None, &self.writer, None, self.bytes, flags))?)
    }

    /// Moves up to `held` bytes from the pipe into `sink`.
    ///
    /// # Errors
    /// `WouldBlock` when the sink has no room; what splice(2) says.
    pub fn drain(&self, sink: BorrowedFd<'_>, held: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(rustix::io::retry_on_intr(|| splice(self.reader.as_fd(), None, sink, None, held, flags))?)
    }
}

/// A bounded number of pipes, kept for whoever comes next.
#[derive(Debug)]
pub struct PipePool {
    idle: Mutex<Vec<Pipe>>,
    open: AtomicUsize,
    open_max: usize,
}

impl PipePool {
    /// At most `open_max` pipes, of two descriptors each.
    pub fn new(open_max: usize) -> Self {
        Self { idle: Mutex::default(), open: AtomicUsize::new(0), open_max }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pipes that are open, and those of them that nobody uses.
    pub fn counts(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.idle().len())
    }

    /// An empty pipe; `None` when all are in use or the kernel grants no large one.
    pub fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.idle().pop() {
            return Some(pipe);
        }
        let one_more = |open: usize| (open < self.open_max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let pipe = Pipe::open().ok().filter(|pipe| pipe.bytes >= BYTES_MIN);
        if pipe.is_none() {
            self.forget();
        }
        pipe
    }

    /// Takes back a pipe that is empty.
    pub fn give_back(&self, pipe: Pipe) {
        self.idle().push(pipe);
    }

    /// A pipe was dropped, since bytes were left in it.
    pub fn forget(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_used_again() {
        let pool = PipePool::new(2);
        let (first, second) = (pool.take(), pool.take());
        // An unprivileged user may have used up what the kernel grants.
        let (Some(first), Some(second)) = (first, second) else { return };
        assert!(pool.take().is_none());
        pool.give_back(first);
        let third = pool.take();
        assert!(third.is_some());
        drop((second, third));
        pool.forget();
        assert!(pool.take().is_some());
    }
}
