//! A socket towards one upstream, for a few questions and a few seconds.
//!
//! The kernel chooses the source port at random, and gives a connected socket packets of that upstream alone.
//! A lane carries [`USES_MAX`] questions at most, so that questions leave from ever new ports (RFC 5452 §9.2),
//! and several may be received by one system call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::flights::FlightId;
use super::policy::BUDGET;
use super::question::{Edns, Key};
use super::upstream::Upstream;
use crate::net::DatagramSocket;

/// Questions that leave by one lane.
const USES_MAX: u32 = 64;
/// How long a lane takes questions.
const AGE_MAX: Duration = Duration::from_secs(3);
/// Open lanes of one upstream: when it does not answer, a lane lives until its last question is given up.
pub const LANES_MAX: usize = 16;

/// What was asked by a lane with one ID.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The question.
    pub key: Key,
    /// Who waits; nobody for a copy that only shows whether the upstream is up.
    pub flight: Option<(FlightId, u8)>,
    /// Whether it had an OPT.
    pub edns: Edns,
    /// When.
    pub at: Instant,
}

/// The socket and what was asked through it.
#[derive(Debug)]
pub struct Lane {
    /// Connected.
    pub socket: DatagramSocket,
    /// Whose it is.
    pub upstream: Arc<Upstream>,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    asked: HashMap<u16, Asked>,
    used: u32,
    born: Instant,
    is_closed: bool,
}

impl Lane {
    /// Opens one.
    ///
    /// # Errors
    /// No descriptor is left, or the host has no way to that address.
    pub fn open(upstream: Arc<Upstream>, now: Instant) -> io::Result<Arc<Self>> {
        let address = upstream.address;
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Port 0: unlike one that connect(2) chooses, it may be any of the range.
        socket.bind(&SocketAddr::new(any, 0).into())?;
        socket.connect(&address.into())?;
        let socket = DatagramSocket::new(socket.into())?;
        let book = Book { asked: HashMap::new(), used: 0, born: now, is_closed: false };
        Ok(Arc::new(Self { socket, upstream, book: Mutex::new(book) }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a new one should be opened for the next question.
    pub fn is_spent(&self, now: Instant) -> bool {
        let book = self.book();
        book.used >= USES_MAX || now.saturating_duration_since(book.born) >= AGE_MAX
    }

    /// Whether nobody receives from it any more.
    pub fn is_closed(&self) -> bool {
        self.book().is_closed
    }

    /// Takes an ID out of `ids` that is not in use here. None if all of a few are.
    pub fn enter(&self, asked: Asked, mut ids: impl FnMut() -> u16) -> Option<u16> {
        const TRIES: usize = 16;
        let mut book = self.book();
        for _ in 0..TRIES {
            let id = ids();
            if let Entry::Vacant(entry) = book.asked.entry(id) {
                entry.insert(asked);
                book.used += 1;
                return Some(id);
            }
        }
        None
    }

    /// What was asked with this ID.
    pub fn asked(&self, id: u16) -> Option<Asked> {
        self.book().asked.get(&id).cloned()
    }

    /// It has its answer, or will have none.
    pub fn leave(&self, id: u16) {
        self.book().asked.remove(&id);
    }

    /// Everything that waits, which will have no answer.
    pub fn take_all(&self) -> Vec<Asked> {
        let mut book = self.book();
        book.used = USES_MAX;
        book.asked.drain().map(|(_, asked)| asked).collect()
    }

    /// Sends a datagram. One that there is no room for counts as sent: it is repeated like any lost one.
    ///
    /// # Errors
    /// The upstream cannot be reached. This may be about a datagram before.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        // Not through tokio: a socket that is new is not known to be writable yet.
        match rustix::net::send(&self.socket, packet, SendFlags::DONTWAIT) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for a datagram, or for the news that one could not be delivered.
    ///
    /// # Errors
    /// Only a runtime that goes down cannot tell.
    pub async fn ready(&self) -> io::Result<()> {
        // ICMP errors make a socket ready without there being anything to read.
        self.socket.ready(Interest::READABLE.add(Interest::ERROR)).await
    }

    /// Receives with `receive`, which says how many datagrams it has taken; less than `batch` are all.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, else what the kernel says about a datagram sent before.
    pub fn receive(
        &self,
        mut receive: impl FnMut(&DatagramSocket) -> io::Result<usize>,
        batch: usize,
    ) -> io::Result<usize> {
        let mut found = Err(io::ErrorKind::WouldBlock.into());
        // `WouldBlock` tells the event queue that nothing is left.
        let nothing_left = || io::Error::from(io::ErrorKind::WouldBlock);
        let _ = self.socket.try_io(Interest::READABLE, || {
            found = receive(&self.socket);
            if matches!(found, Ok(all) if all == batch) { Ok(()) } else { Err(nothing_left()) }
        });
        let _ = self.socket.try_io(Interest::ERROR, || {
            if let (Err(_), Ok(Some(error))) = (&found, self.socket.take_error()) {
                found = Err(error);
            }
            Err::<(), _>(nothing_left())
        });
        found
    }

    /// Forgets what was asked too long ago, and says until when the lane lives at least. None: it is over, and
    /// takes no question any more.
    pub fn live_until(&self, now: Instant) -> Option<Instant> {
        let mut book = self.book();
        book.asked.retain(|_, asked| now.saturating_duration_since(asked.at) < BUDGET);
        let last = book.asked.values().map(|asked| asked.at + BUDGET).max();
        let end = book.born + AGE_MAX;
        if last.is_none() && (now >= end || book.used >= USES_MAX) {
            book.is_closed = true;
            return None;
        }
        Some(last.map_or(end, |last| if book.used >= USES_MAX { last } else { last.max(end) }))
    }
}
