//! The threads that write lines about connections and queries.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::telemetry::lines::{Line, Lines};
use crate::telemetry::names::Family;

/// How long stopping waits for lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes lines from its start until it is stopped.
pub struct LogThread {
    end: Box<dyn FnOnce() + Send>,
    /// Closed once the thread has ended.
    ended: Receiver<()>,
}

impl LogThread {
    /// Starts it, and says where to write to. Lines without room are counted in `dropped`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start<L: Line>(name: &str, dropped: Family) -> io::Result<(Lines<L>, Self)> {
        let (lines, writer) = Lines::queued(dropped);
        let (end, ended) = channel::<()>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            writer.run();
            drop(end);
        })?;
        let log = lines.clone();
        Ok((lines, Self { end: Box::new(move || log.end()), ended }))
    }

    /// Lets it write what waits, for a moment: a log that nobody reads must not keep the daemon alive.
    pub fn stop(self) {
        (self.end)();
        let _ = self.ended.recv_timeout(FLUSH);
    }
}
