//! The relay: moves the bytes of one served connection until both sides have ended or one broke.
//!
//! What one side did, the other sees (promise 7): FIN as FIN, each direction by itself; RST as RST. All
//! ends that are not two FINs are RST, so that what was cut off never looks complete. Where teal itself ends an
//! idle connection, it says FIN to the backend alone: the client gets the backend's, after all that the backend
//! had to say.

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
use super::exchange::{Exchange, FirstByte};
use super::lifetime::Lifetime;
use super::log::{End, Party, Record};
use super::pump::{Fault, Pump, Step, Waits};
use super::shared::Permit;
use crate::net::listen::set_keepalive;
use crate::net::stream::{poll_broken, reset_on_close};
use crate::state::{Asked, BackendFault, ClosedReason, ColorPlace, Connection, EndpointPlace, Unheard};

/// A served connection. The future ends with it.
pub struct Relay {
    client: TcpStream,
    backend: TcpStream,
    /// Client to backend.
    inward: Pump,
    /// Backend to client.
    outward: Pump,
    exchange: Exchange,
    lifetime: Option<Box<Lifetime>>,
    record: Option<Box<Record>>,
    keepalive: Option<LateKeepalive>,
    entry: Entry,
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
        let Attempt { endpoint, live: color, why, success, .. } = attempt;
        let now = Instant::now();
        let connect = now.saturating_duration_since(opening.accepted);
        color.connect_duration().observe(connect);
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
            exchange: Exchange::awaiting(success),
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
        match self.entry.connection.poll_asked(context) {
            Asked::Nothing => {}
            Asked::EndIdle => self.lifetime.get_or_insert_with(Lifetime::unbounded).want_end(),
            Asked::Cut(reason) => return Some(reason.into()),
        }
        let pipes = &self.entry.permit.shared().pipes;
        let inward = self.inward.step((&mut self.client, &self.backend), pipes, context);
        // Also when the backend broke under what the client sent: it may have answered before.
        let outward = self.outward.step((&mut self.backend, &self.client), pipes, context);
        self.note_moved(inward.moved, outward.moved);
        self.note_blocked(inward);
        let moved = inward.moved + outward.moved;
        let is_ending = self.lifetime.as_ref().is_some_and(|lifetime| lifetime.is_ending());
        let (inward, outward) = match (inward.waits, outward.waits) {
            // The client said something more, which nobody will answer.
            (Err(Fault::Sink), _) if is_ending => return Some(ClosedReason::DrainDeadline),
            (Ok(_), Ok(Waits::Finished)) if is_ending => return Some(ClosedReason::DrainIdle),
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
        let (color, connection) = (&self.entry.color, &self.entry.connection);
        if inward + outward > 0 {
            self.exchange.owes_answer = inward > 0;
        }
        // First: what came in the same turn as the client's first byte is no answer to that.
        if outward > 0 {
            color.bytes_out.fetch_add(outward, Ordering::Relaxed);
            if let FirstByte::Awaited(success) = self.exchange.first_byte {
                self.exchange.first_byte = FirstByte::Seen;
                self.entry.endpoint.outlier.heard(success);
                let waited = connection.note_heard();
                color.note_first_byte(connection.why, waited);
                if let Some(record) = &mut self.record {
                    record.note(|line| line.first_byte = Some(waited));
                }
            }
        }
        if inward > 0 {
            color.bytes_in.fetch_add(inward, Ordering::Relaxed);
            self.exchange.note_client_spoke(connection);
        }
        if let Some(record) = &mut self.record {
            record.note(|line| {
                (line.bytes_in, line.bytes_out) = (line.bytes_in + inward, line.bytes_out + outward);
            });
        }
    }

    /// Notes how long the backend takes nothing. What it takes of much that is waiting ends that as well.
    fn note_blocked(&self, inward: Step) {
        let connection = &self.entry.connection;
        let is_blocked = inward.waits == Ok(Waits::ToWrite);
        if inward.moved > 0 || !is_blocked {
            self.note_unblocked();
        }
        if is_blocked {
            connection.note_blocked();
        }
    }

    fn note_unblocked(&self) {
        let Entry { connection, color, .. } = &self.entry;
        if connection.note_unblocked() {
            color.note_fault(connection.why, BackendFault::Stalled);
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
        if by_backend {
            self.exchange.note_backend_fin(&self.entry.connection);
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
        if moved > 0 {
            self.lifetime.as_mut()?.note_moved();
        }
        loop {
            match self.lifetime.as_mut()?.poll_over(context) {
                Poll::Ready(ClosedReason::DrainIdle) => {
                    if let Err(reason) = self.end_idle() {
                        return Some(reason);
                    }
                }
                Poll::Ready(reason) => return Some(reason),
                Poll::Pending => return None,
            }
        }
    }

    /// Nothing has moved for a while on a connection that is to end: tells the backend FIN, if nothing is
    /// kept, neither side has said FIN and no answer is due. What a backend still says goes to the client, and
    /// its FIN ends the connection.
    fn end_idle(&mut self) -> Result<(), ClosedReason> {
        let Some(lifetime) = &mut self.lifetime else { return Ok(()) };
        if self.entry.connection.asked() != Asked::EndIdle {
            lifetime.keep();
        } else if self.exchange.owes_answer || !self.inward.is_idle() || !self.outward.is_idle() {
            lifetime.put_off_end();
        } else {
            lifetime.begin_end();
            self.inward.end_by_teal();
            rustix::net::shutdown(&self.backend, Shutdown::Write).map_err(|_| ClosedReason::BackendReset)?;
        }
        Ok(())
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
        let age = self.entry.connection.opened.elapsed();
        self.note_unblocked();
        let fault = self.exchange.fault((end, age), &self.entry.connection, self.outward.has_source_ended());
        color.note_ended(self.entry.connection.why, end, fault);
        color.connection_duration().observe(age);
        if let Some(record) = &mut self.record {
            // Of two that came in the same turn the client's counts as the first.
            let backend_first = self.outward.has_passed_fin_on() && !self.inward.has_passed_fin_on();
            let first_fin = if backend_first { Party::Backend } else { Party::Client };
            record.note(|line| line.end = End::of_served(end, first_fin));
        }
        let is_clean = matches!(end, ClosedReason::Finished | ClosedReason::DrainIdle);
        if is_clean && self.inward.has_passed_fin_on() {
            // Who says FIN first keeps the port for a while.
            self.entry.endpoint.ports.note_ended();
        }
        if let FirstByte::Awaited(success) = self.exchange.first_byte {
            let unheard = match end {
                ClosedReason::BackendReset if !self.outward.has_source_ended() => Unheard::Reset,
                _ if is_clean => Unheard::Clean,
                _ => Unheard::Otherwise,
            };
            self.entry.endpoint.outlier.ended_unheard(success, unheard);
        }
        if !is_clean && end != ClosedReason::BackendReset {
            reset_on_close(&self.backend);
        }
        if !is_clean && end != ClosedReason::ClientReset {
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
