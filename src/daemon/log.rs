//! The thread that writes the connection log.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::proxy::log::ConnectionLog;

/// How long stopping waits for lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes lines from its start until it is stopped.
pub struct LogThread {
    log: ConnectionLog,
    /// Closed once the thread has ended.
    ended: Receiver<()>,
}

impl LogThread {
    /// Starts it, and says where to write to.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start() -> io::Result<(ConnectionLog, Self)> {
        let (log, writer) = ConnectionLog::queued();
        let (end, ended) = channel::<()>();
        thread::Builder::new().name("teal-log".into()).spawn(move || {
            writer.run();
            drop(end);
        })?;
        Ok((log.clone(), Self { log, ended }))
    }

    /// Lets it write what waits, for a moment: a log that nobody reads must not keep the daemon alive.
    pub fn stop(self) {
        self.log.end();
        let _ = self.ended.recv_timeout(FLUSH);
    }
}
