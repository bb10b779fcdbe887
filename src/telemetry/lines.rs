//! Lines about connections and queries, of which there may be many: a bounded queue and a thread that
//! writes them, so that a log that is slow holds nobody up. What the queue has no room for is counted.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::names::Family;

/// Lines that may wait to be written.
const QUEUE: usize = 4096;

/// Something that becomes a line of the log.
pub trait Line: Send + 'static {
    /// Writes it.
    fn write(&self);
}

impl<L: Line> Line for Box<L> {
    fn write(&self) {
        L::write(self);
    }
}

/// Where lines go.
#[derive(Debug)]
pub struct Lines<L> {
    /// Absent: they are written at once.
    queue: Option<(SyncSender<Entry<L>>, &'static str)>,
}

#[derive(Debug)]
enum Entry<L> {
    Line(L),
    End,
}

/// The other end of the queue.
#[derive(Debug)]
pub struct LineWriter<L>(Receiver<Entry<L>>);

impl<L> Default for Lines<L> {
    fn default() -> Self {
        Self { queue: None }
    }
}

impl<L> Clone for Lines<L> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<L: Line> Lines<L> {
    /// Lines that wait until [`LineWriter::run`] writes them. Those without room are counted in `dropped`.
    pub fn queued(dropped: Family) -> (Self, LineWriter<L>) {
        let (queue, lines) = sync_channel(QUEUE);
        (Self { queue: Some((queue, dropped.name)) }, LineWriter(lines))
    }

    /// Writes a line, sooner or later.
    pub fn write(&self, line: L) {
        let Some((queue, dropped)) = &self.queue else { return line.write() };
        if let Err(TrySendError::Full(_)) = queue.try_send(Entry::Line(line)) {
            metrics::counter!(*dropped).increment(1);
        }
    }

    /// Ends the writer once it has written what waits now. Does not wait for it; where the queue is full
    /// nobody reads the log, and nothing is waited for.
    pub fn end(&self) {
        if let Some((queue, _)) = &self.queue {
            let _ = queue.try_send(Entry::End);
        }
    }
}

impl<L: Line> LineWriter<L> {
    /// Writes lines until the log ends. Blocks.
    pub fn run(self) {
        while let Ok(Entry::Line(line)) = self.0.recv() {
            line.write();
        }
    }

    /// What waits to be written.
    #[cfg(test)]
    pub fn waiting(&self) -> Vec<L> {
        let lines = self.0.try_iter().map_while(|entry| match entry {
            Entry::Line(line) => Some(line),
            Entry::End => None,
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names::CONNECTION_LOG_DROPPED;

    #[derive(Debug)]
    struct Nothing;

    impl Line for Nothing {
        fn write(&self) {}
    }

    #[test]
    fn a_full_queue_holds_nobody_up() {
        let (log, writer) = Lines::queued(CONNECTION_LOG_DROPPED);
        for _ in 0..QUEUE + 10 {
            log.write(Nothing);
        }
        log.end();
        assert_eq!(writer.waiting().len(), QUEUE);
        log.write(Nothing);
        log.end();
        writer.run();
    }
}
