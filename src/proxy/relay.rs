//! The relay: moves the bytes of one served connection until both sides have ended or one broke.
//!
//! What one side did, the other sees (promise 7): FIN as FIN, each direction by itself; RST as RST. All
//! ends that are not two FINs are RST, so that what was cut off never looks complete.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::attempt::Attempt;
use super::establish::Backend;
use super::lifetime::Lifetime;
use super::log::{End, Party, Record};
use super::pump::{Fault, Pump, Waits};
use super::shared::Permit;
use crate::net::listen::set_keepalive;
use crate::net::stream::{poll_broken, reset_on_close};
use crate::state::{ClosedReason, ColorPlace, Connection, CutReason, EndpointPlace};

/// A served connection. The future ends with it.
pub struct Relay {
    client: TcpStream,
    backend: TcpStream,
    /// Client to backend.
    inward: Pump,
    /// Backend to client.
    outward: Pump,
    first_byte: FirstByte,
    lifetime: Option<Box<Lifetime>>,
    record: Option<Box<Record>>,
    keepalive: Option<LateKeepalive>,
    entry: Entry,
}

/// Whether the backend has said anything.
enum FirstByte {
    /// The backend accepted so many microseconds after the client was.
    Awaited {
        connect_us: u32,
    },
    Seen,
}

/// A connection's entry in the books: counted under the limit and with its endpoint until dropped.
struct Entry {
    connection: Arc<Connection>,
    endpoint: EndpointPlace,
    key: u32,
    color: ColorPlace,
    end: Option<ClosedReason>,
    permit: Permit,
}

/// Sets keepalive towards the backend once the connection has lived for [`KEEPALIVE_DELAY`]: short
/// connections never need it, and it takes four system calls. Towards the client it is inherited.
struct LateKeepalive {
    after_s: u32,
    timer: Pin<Box<Sleep>>,
}

/// Longer than a short connection, shorter than any keepalive time.
const KEEPALIVE_DELAY: Duration = Duration::from_millis(900);

/// What a new relay is made from, besides the two streams.
pub struct Opening {
    /// When the client was accepted.
    pub accepted: Instant,
    /// The connection's place under the limit.
    pub permit: Permit,
    /// What the log will say of it.
    pub record: Option<Record>,
    /// What the backend gets before anything else from the client.
    pub first: Vec<u8>,
    /// How much of that is a PROXY header.
    pub header_length: u16,
}

impl Relay {
    /// Notes the connection as open and relays it from the first poll on.
    pub fn new(client: TcpStream, backend: Backend, opening: Opening) -> Self {
        let Backend { stream, attempt, timeouts, keepalive } = backend;
        let Attempt { endpoint, live: color, why, .. } = attempt;
        let now = Instant::now();
        let connect = now.saturating_duration_since(opening.accepted);
        color.connect_duration().observe(connect);
        // Bounded by `connect_total_timeout`, which is far from the end of the type.
        let connect_us = u32::try_from(connect.as_micros()).unwrap_or(u32::MAX);
        let record = opening.record.map(|mut record| {
            record.note(|line| line.connect = Some(connect));
            Box::new(record)
        });
        let connection = Arc::new(Connection::new(opening.accepted, why));
        let key = endpoint.open.insert(Arc::clone(&connection));
        Self {
            client,
            backend: stream,
            inward: Pump::beginning_with(opening.first, opening.header_length),
            outward: Pump::default(),
            first_byte: FirstByte::Awaited { connect_us },
            lifetime: Lifetime::new(timeouts, tokio::time::Instant::from_std(opening.accepted)),
            record,
            keepalive: keepalive.map(LateKeepalive::new),
            entry: Entry { connection, endpoint, key, color, end: None, permit: opening.permit },
        }
    }

    /// Ends it before its first turn.
    pub fn end(mut self, reason: ClosedReason) {
        self.entry.end = Some(reason);
    }

    /// One turn in both directions. `Some` when the connection has ended.
    fn turn(&mut self, context: &mut Context<'_>) -> Option<ClosedReason> {
        if let Poll::Ready(reason) = self.entry.connection.poll_cut(context) {
            return Some(match reason {
                CutReason::DrainDeadline => ClosedReason::DrainDeadline,
                CutReason::Shutdown => ClosedReason::Shutdown,
            });
        }
        let pipes = &self.entry.permit.shared().pipes;
        let inward = self.inward.step((&mut self.client, &self.backend), pipes, context);
        // Also when the backend broke under what the client sent: it may have answered before.
        let outward = self.outward.step((&mut self.backend, &self.client), pipes, context);
        self.note_moved(inward.moved, outward.moved);
        let moved = inward.moved + outward.moved;
        let (inward, outward) = match (inward.waits, outward.waits) {
            (Ok(inward), Ok(outward)) => (inward, outward),
            (Err(Fault::Source), _) | (Ok(_), Err(Fault::Sink)) => return Some(ClosedReason::ClientReset),
            (Err(Fault::Sink), _) | (Ok(_), Err(Fault::Source)) => return Some(ClosedReason::BackendReset),
        };
        if inward == Waits::Finished && outward == Waits::Finished {
            return Some(ClosedReason::Finished);
        }
        self.pass_on_fin()
            .or_else(|| self.watch(inward, outward, context))
            .or_else(|| self.poll_keepalive(context))
            .or_else(|| self.poll_lifetime(context, moved))
    }

    fn note_moved(&mut self, inward: u64, outward: u64) {
        let color = &self.entry.color;
        if inward > 0 {
            color.bytes_in.fetch_add(inward, Ordering::Relaxed);
        }
        if outward > 0 {
            color.bytes_out.fetch_add(outward, Ordering::Relaxed);
            if let FirstByte::Awaited { connect_us } =
                std::mem::replace(&mut self.first_byte, FirstByte::Seen)
            {
                let since_accept = self.entry.connection.opened.elapsed();
                let waited = since_accept.saturating_sub(Duration::from_micros(connect_us.into()));
                color.first_byte().observe(waited);
                if let Some(record) = &mut self.record {
                    record.note(|line| line.first_byte = Some(waited));
                }
            }
        }
        if let Some(record) = &mut self.record {
            record.note(|line| {
                (line.bytes_in, line.bytes_out) = (line.bytes_in + inward, line.bytes_out + outward);
            });
        }
    }

    /// A side that ended by FIN ends the other side's reading. Called while at least one direction goes
    /// on: when both have ended, closing says FIN without a further system call.
    fn pass_on_fin(&mut self) -> Option<ClosedReason> {
        let (by_client, by_backend) = (self.inward.take_fin(), self.outward.take_fin());
        if by_client && rustix::net::shutdown(&self.backend, Shutdown::Write).is_err() {
            return Some(ClosedReason::BackendReset);
        }
        if by_backend && rustix::net::shutdown(&self.client, Shutdown::Write).is_err() {
            return Some(ClosedReason::ClientReset);
        }
        if by_client || by_backend {
            self.lifetime.as_mut().into_iter().for_each(|lifetime| lifetime.note_half_closed());
        }
        None
    }

    /// Notices the RST of a side that is neither read nor written to at the moment.
    fn watch(&self, inward: Waits, outward: Waits, context: &mut Context<'_>) -> Option<ClosedReason> {
        let is_quiet = |from: Waits, to: Waits| from != Waits::ToRead && to != Waits::ToWrite;
        if is_quiet(inward, outward) && poll_broken(&self.client, context).is_ready() {
            return Some(ClosedReason::ClientReset);
        }
        if is_quiet(outward, inward) && poll_broken(&self.backend, context).is_ready() {
            return Some(ClosedReason::BackendReset);
        }
        None
    }

    fn poll_keepalive(&mut self, context: &mut Context<'_>) -> Option<ClosedReason> {
        let late = self.keepalive.as_mut()?;
        if late.timer.as_mut().poll(context).is_ready() {
            if let Err(error) =
                set_keepalive(&SockRef::from(&self.backend), Some(Duration::from_secs(late.after_s.into())))
            {
                tracing::debug!(%error, "cannot set keepalive");
            }
            self.keepalive = None;
        }
        None
    }

    fn poll_lifetime(&mut self, context: &mut Context<'_>, moved: u64) -> Option<ClosedReason> {
        let lifetime = self.lifetime.as_mut()?;
        if moved > 0 {
            lifetime.note_moved();
        }
        match lifetime.poll_over(context) {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        }
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let end = self.turn(context);
        if end.is_none() {
            return Poll::Pending;
        }
        self.entry.end = end;
        Poll::Ready(())
    }
}

impl Drop for Relay {
    /// Closes both sides the way the connection ended. One that is dropped before its end was cut by the
    /// end of its worker.
    fn drop(&mut self) {
        let pipes = &self.entry.permit.shared().pipes;
        self.inward.end_bulk(pipes);
        self.outward.end_bulk(pipes);
        let end = self.entry.end.unwrap_or(ClosedReason::Shutdown);
        let color = &self.entry.color;
        color.closed(end).fetch_add(1, Ordering::Relaxed);
        color.connection_duration().observe(self.entry.connection.opened.elapsed());
        if let Some(record) = &mut self.record {
            // Of two that came in the same turn the client's counts as the first.
            let backend_first = self.outward.has_passed_fin_on() && !self.inward.has_passed_fin_on();
            let first_fin = if backend_first { Party::Backend } else { Party::Client };
            record.note(|line| line.end = End::of_served(end, first_fin));
        }
        if !matches!(end, ClosedReason::Finished | ClosedReason::BackendReset) {
            reset_on_close(&self.backend);
        }
        if !matches!(end, ClosedReason::Finished | ClosedReason::ClientReset) {
            reset_on_close(&self.client);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.endpoint.open.remove(self.key);
    }
}

impl LateKeepalive {
    fn new(after: Duration) -> Self {
        // The kernel counts in seconds; eight bytes less for each connection.
        let after_s = u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
        Self { after_s, timer: Box::pin(tokio::time::sleep(KEEPALIVE_DELAY)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_s_future_stays_small() {
        // Two streams of 32 bytes each, two pumps, a timer, the entry. The task's header, two readiness records
        // of tokio and the book's record come on top.
        assert!(size_of::<Relay>() <= 208, "{}", size_of::<Relay>());
    }
}
