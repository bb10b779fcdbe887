//! A direction that proved to be bulk: bytes go through a pipe by splice(2) and never enter the process.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pump::{Fault, Waits};
use crate::net::pipe::{Pipe, PipePool};

/// Bytes in one go below which splicing costs more than copying.
const SMALL_BYTES: usize = 16 << 10;
/// So many small ones after each other, and the direction is no bulk any more.
const SMALL_MAX: u8 = 8;

/// A direction's pipe.
#[derive(Debug)]
pub struct Bulk {
    pipe: Pipe,
    /// Bytes in the pipe.
    held: usize,
    /// Small moves after each other.
    small: u8,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There may be more.
    More,
    /// It must wait. For [`Waits::Finished`]: the source has ended and the pipe is empty.
    Waits(Waits),
    /// The pipe is empty and copying is the better way now.
    NoBulk,
}

impl Bulk {
    /// With an empty pipe.
    pub fn new(pipe: Pipe) -> Self {
        Self { pipe, held: 0, small: 0 }
    }

    /// Empties the pipe into the sink, then fills it once from the source. Adds to `moved` what reached
    /// the sink.
    ///
    /// # Errors
    /// Which side failed.
    pub fn turn(
        &mut self,
        (source, sink): (&TcpStream, &TcpStream),
        context: &mut Context<'_>,
        moved: &mut u64,
    ) -> Result<Turn, Fault> {
        if self.poll_drain(sink, context, moved)?.is_pending() {
            return Ok(Turn::Waits(Waits::ToWrite));
        }
        if self.small >= SMALL_MAX {
            return Ok(Turn::NoBulk);
        }
        match source.poll_read_ready(context) {
            Poll::Pending => return Ok(Turn::Waits(Waits::ToRead)),
            Poll::Ready(Err(_)) => return Err(Fault::Source),
            Poll::Ready(Ok(())) => {}
        }
        match source.try_io(Interest::READABLE, || self.pipe.fill(source.as_fd())) {
            Ok(0) => return Ok(Turn::Waits(Waits::Finished)),
            Ok(bytes) => {
                self.held = bytes;
                self.small = if bytes < SMALL_BYTES { self.small + 1 } else { 0 };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Fault::Source),
        }
        Ok(Turn::More)
    }

    /// Tries before it asks whether there is room: what is known of room may be outdated
    /// ([`crate::net::stream::poll_broken`]).
    fn poll_drain(
        &mut self,
        sink: &TcpStream,
        context: &mut Context<'_>,
        moved: &mut u64,
    ) -> Result<Poll<()>, Fault> {
        while self.held > 0 {
            match self.pipe.drain(sink.as_fd(), self.held) {
                Ok(bytes) => {
                    self.held -= bytes;
                    *moved += bytes as u64;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Fault::Sink),
            }
            // No room now, whatever was known: wait for the event that follows.
            let _ = sink.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            match sink.poll_write_ready(context) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Err(_)) => return Err(Fault::Sink),
                Poll::Ready(Ok(())) => {}
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Whether the pipe holds nothing.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Gives the pipe back to the pool, or drops it when bytes are left in it.
    pub fn end(self, pipes: &PipePool) {
        if self.held == 0 { pipes.give_back(self.pipe) } else { pipes.forget() }
    }
}
