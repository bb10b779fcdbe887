//! One direction of a connection: reads from one side and writes to the other at once.
//!
//! Holds no buffer while nothing is pending. This is the place where a direction that proves to be bulk
//! will change to `splice(2)`: [`Pump::step`] is all that the relay knows of it.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::net::stream::send_now;

/// Bytes read at once. Larger reads save system calls for bulk; this fits the second-level cache.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Reads in one turn: a turn moves a MiB at most before other connections have theirs.
const READS_PER_TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What the sink had no room for.
#[derive(Debug)]
struct Pending {
    bytes: Box<[u8]>,
    sent: usize,
}

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Pump {
    pending: Option<Box<Pending>>,
    /// Bytes of `pending` that are not the source's own and not counted.
    uncounted: u16,
    source_ended: bool,
    fin_passed_on: bool,
}

/// What a direction waits for after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// For bytes from its source.
    ToRead,
    /// For room in its sink; the source is not read meanwhile.
    ToWrite,
    /// For nothing: its source ended and everything was written.
    Finished,
}

/// Which side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The side that bytes come from.
    Source,
    /// The side that bytes go to.
    Sink,
}

/// The result of a step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Bytes handed to the sink.
    pub moved: u64,
    /// How it stands.
    pub waits: Result<Waits, Fault>,
}

impl Pump {
    /// One that sends `bytes` before anything from its source; the first `uncounted` of them do not count.
    pub fn beginning_with(bytes: Vec<u8>, uncounted: u16) -> Self {
        let pending = (!bytes.is_empty()).then(|| Box::new(Pending { bytes: bytes.into(), sent: 0 }));
        Self { pending, uncounted, ..Self::default() }
    }

    /// Moves what can be moved now, within the bounds of a turn, and registers for what it waits for.
    /// Does not shut the sink down: when that is right depends on the other direction as well.
    pub fn step(&mut self, source: &mut TcpStream, sink: &TcpStream, context: &mut Context<'_>) -> Step {
        let mut moved = 0;
        let waits = SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..READS_PER_TURN {
                if let Some(waits) = self.turn((source, sink), context, scratch, &mut moved)? {
                    return Ok(waits);
                }
            }
            context.waker().wake_by_ref();
            Ok(if self.pending.is_some() { Waits::ToWrite } else { Waits::ToRead })
        });
        Step { moved: self.count(moved), waits }
    }

    fn count(&mut self, moved: u64) -> u64 {
        let uncounted = u16::try_from(moved).map_or(self.uncounted, |moved| moved.min(self.uncounted));
        self.uncounted -= uncounted;
        moved - u64::from(uncounted)
    }

    /// Writes what is pending, then reads once and writes that. `None` when there may be more.
    fn turn(
        &mut self,
        (source, sink): (&mut TcpStream, &TcpStream),
        context: &mut Context<'_>,
        scratch: &mut [u8],
        moved: &mut u64,
    ) -> Result<Option<Waits>, Fault> {
        if self.poll_flush(sink, context, moved)?.is_pending() {
            return Ok(Some(Waits::ToWrite));
        }
        if self.source_ended {
            return Ok(Some(Waits::Finished));
        }
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(source).poll_read(context, &mut buffer) {
            Poll::Pending => return Ok(Some(Waits::ToRead)),
            Poll::Ready(Err(_)) => return Err(Fault::Source),
            Poll::Ready(Ok(())) => {}
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.source_ended = true;
            return Ok(Some(Waits::Finished));
        }
        self.send(sink, bytes, moved)?;
        Ok(None)
    }

    fn send(&mut self, sink: &TcpStream, bytes: &[u8], moved: &mut u64) -> Result<(), Fault> {
        let sent = match send_now(sink, bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Fault::Sink),
        };
        *moved += sent as u64;
        let rest = &bytes[sent..];
        if !rest.is_empty() {
            self.pending = Some(Box::new(Pending { bytes: rest.into(), sent: 0 }));
        }
        Ok(())
    }

    fn poll_flush(
        &mut self,
        sink: &TcpStream,
        context: &mut Context<'_>,
        moved: &mut u64,
    ) -> Result<Poll<()>, Fault> {
        while let Some(pending) = &mut self.pending {
            match sink.poll_write_ready(context) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Err(_)) => return Err(Fault::Sink),
                Poll::Ready(Ok(())) => {}
            }
            match sink.try_write(&pending.bytes[pending.sent..]) {
                Ok(sent) => {
                    *moved += sent as u64;
                    pending.sent += sent;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => return Err(Fault::Sink),
            }
            if pending.sent == pending.bytes.len() {
                self.pending = None;
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Whether the source's FIN was passed on while the other direction went on.
    pub fn has_passed_fin_on(&self) -> bool {
        self.fin_passed_on
    }

    /// True once: when everything was written and the sink is due the source's FIN.
    pub fn take_fin(&mut self) -> bool {
        let due = self.source_ended && self.pending.is_none() && !self.fin_passed_on;
        self.fin_passed_on |= due;
        due
    }
}
