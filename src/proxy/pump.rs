//! One direction of a connection: reads from one side and writes to the other at once.
//!
//! Holds no buffer while nothing is pending. A direction that proves to be bulk changes over to a pipe
//! ([`Bulk`]), and back; the relay knows nothing of it.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::bulk::{Bulk, Turn};
use crate::net::pipe::PipePool;
use crate::net::stream::send_now;

/// Bytes read at once. Larger reads save system calls for bulk; this fits the second-level cache.
const SCRATCH_BYTES: usize = 64 * 1024;
/// A turn ends after so many reads, or so many bytes: other connections have theirs.
const READS_PER_TURN: usize = 16;
const BYTES_PER_TURN: u64 = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// So many full reads after each other make a direction bulk.
const FULL_READS_OF_BULK: u8 = 4;

/// What the sink had no room for.
#[derive(Debug)]
struct Pending {
    bytes: Box<[u8]>,
    sent: usize,
}

/// What a direction holds on to, behind one pointer: most hold nothing.
#[derive(Debug)]
enum Held {
    Pending(Pending),
    Bulk(Bulk),
}

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Pump {
    held: Option<Box<Held>>,
    full_reads: u8,
    /// Bytes of what is held at first that are not the source's own and not counted.
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
        let held =
            (!bytes.is_empty()).then(|| Box::new(Held::Pending(Pending { bytes: bytes.into(), sent: 0 })));
        Self { held, uncounted, ..Self::default() }
    }

    /// Moves what can be moved now, within the bounds of a turn, and registers for what it waits for.
    /// Does not shut the sink down: when that is right depends on the other direction as well.
    pub fn step(
        &mut self,
        (source, sink): (&mut TcpStream, &TcpStream),
        pipes: &PipePool,
        context: &mut Context<'_>,
    ) -> Step {
        let mut moved = 0;
        let waits = SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..READS_PER_TURN {
                let waits = match self.held.as_deref_mut() {
                    Some(Held::Bulk(bulk)) => {
                        let turn = bulk.turn((source, sink), context, &mut moved)?;
                        self.after_bulk(turn, pipes)
                    }
                    _ => self.turn((source, sink), context, scratch, &mut moved)?,
                };
                if let Some(waits) = waits {
                    return Ok(waits);
                }
                self.change_over(pipes);
                if moved >= BYTES_PER_TURN {
                    break;
                }
            }
            context.waker().wake_by_ref();
            Ok(if self.held.is_some() { Waits::ToWrite } else { Waits::ToRead })
        });
        Step { moved: self.count(moved), waits }
    }

    fn count(&mut self, moved: u64) -> u64 {
        let uncounted = u16::try_from(moved).map_or(self.uncounted, |moved| moved.min(self.uncounted));
        self.uncounted -= uncounted;
        moved - u64::from(uncounted)
    }

    /// To a pipe, when the last reads were all full, everything was written and there is a pipe.
    fn change_over(&mut self, pipes: &PipePool) {
        if self.full_reads >= FULL_READS_OF_BULK && self.held.is_none() {
            self.full_reads = 0;
            self.held = pipes.take().map(|pipe| Box::new(Held::Bulk(Bulk::new(pipe))));
        }
    }

    fn after_bulk(&mut self, turn: Turn, pipes: &PipePool) -> Option<Waits> {
        let waits = match turn {
            Turn::More => return None,
            Turn::Waits(waits @ (Waits::ToRead | Waits::ToWrite)) => return Some(waits),
            Turn::Waits(Waits::Finished) => Some(Waits::Finished),
            Turn::NoBulk => None,
        };
        self.source_ended |= waits.is_some();
        self.end_bulk(pipes);
        waits
    }

    /// Gives the pipe back, if there is one. To be called before the pump is dropped.
    pub fn end_bulk(&mut self, pipes: &PipePool) {
        if let Some(Held::Bulk(bulk)) = self.held.take().map(|held| *held) {
            bulk.end(pipes);
        }
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
        self.full_reads = if bytes.len() == SCRATCH_BYTES { self.full_reads.saturating_add(1) } else { 0 };
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
            self.held = Some(Box::new(Held::Pending(Pending { bytes: rest.into(), sent: 0 })));
        }
        Ok(())
    }

    fn poll_flush(
        &mut self,
        sink: &TcpStream,
        context: &mut Context<'_>,
        moved: &mut u64,
    ) -> Result<Poll<()>, Fault> {
        while let Some(Held::Pending(pending)) = self.held.as_deref_mut() {
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
                self.held = None;
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Whether the source's FIN was passed on while the other direction went on.
    pub fn has_passed_fin_on(&self) -> bool {
        self.fin_passed_on
    }

    /// Whether the source has said FIN.
    pub fn has_source_ended(&self) -> bool {
        self.source_ended
    }

    /// Whether its source goes on and nothing of it waits to be written.
    pub fn is_idle(&self) -> bool {
        let is_empty = match self.held.as_deref() {
            None => true,
            Some(Held::Bulk(bulk)) => bulk.is_empty(),
            Some(Held::Pending(_)) => false,
        };
        is_empty && !self.source_ended
    }

    /// Notes that the sink was told FIN although the source goes on.
    pub fn end_by_teal(&mut self) {
        self.fin_passed_on = true;
    }

    /// True once: when everything was written and the sink is due the source's FIN.
    pub fn take_fin(&mut self) -> bool {
        let due = self.source_ended && self.held.is_none() && !self.fin_passed_on;
        self.fin_passed_on |= due;
        due
    }
}
