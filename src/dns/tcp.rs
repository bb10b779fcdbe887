//! DNS over TCP (RFC 7766): a length before each message, any number of messages in a row.
//!
//! Answers for the zones come in the order of the questions; those of upstreams as they arrive (RFC 7766
//! §6.2.1.1). Connections are bounded in all
//! and by source, in time without a complete query, and in time for taking replies.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Asked, Source, Verdict, answer};
use super::forward::ReplyTo;
use super::metrics::Dropped;
use super::reply::Transport;
use super::{Dns, source_of};
use crate::net::accept::Accept;
use crate::net::{AcceptError, Listener, accept_loop};

/// Octets of the length before each message (RFC 1035 §4.2.2).
const LENGTH_OCTETS: usize = 2;
/// Octets read at once.
const READ_OCTETS: usize = 4096;
/// Octets kept at a stop: as much as one message may have.
const INPUT_OCTETS_MAX: usize = LENGTH_OCTETS + u16::MAX as usize;
/// Replies are written when so many octets have come together, or when no query is left.
const WRITE_OCTETS: usize = 16 * 1024;

/// Bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open ones in all.
    pub connections: usize,
    /// Open ones of one source address.
    pub connections_per_source: usize,
    /// A connection without a complete query for so long is closed (RFC 7766 §6.2.3), and so is one
    /// that does not take its replies.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, connections_per_source: 32, idle: Duration::from_secs(10) }
    }
}

/// The open connections of all listeners, by source.
#[derive(Debug, Default)]
pub struct Connections {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Connections {
    /// None yet, with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Counts a connection in, or says which bound forbids it.
    fn enter(&self, source: IpAddr) -> Result<(), Dropped> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.limits.connections {
            return Err(Dropped::ConnectionLimit);
        }
        let of_source = open.by_source.entry(source).or_default();
        if *of_source >= self.limits.connections_per_source {
            return Err(Dropped::SourceLimit);
        }
        *of_source += 1;
        open.total += 1;
        Ok(())
    }

    fn leave(&self, source: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(of_source) = open.by_source.get_mut(&source) {
            *of_source -= 1;
            if *of_source == 0 {
                open.by_source.remove(&source);
            }
        }
    }
}

/// Accepts and answers until `stop` is cancelled; then answers what has been received, and returns
/// when the last connection is closed.
///
/// Clients outside `allow_from` are closed at once rather than told REFUSED: they must not take the
/// places of others.
///
/// # Errors
/// The listener cannot be registered with this worker's event queue.
pub async fn run(listener: Listener, dns: Arc<Dns>, stop: CancellationToken) -> io::Result<()> {
    let mut doorman = Doorman { dns, stop: stop.clone(), tasks: TaskTracker::new() };
    let ended = accept_loop(listener, stop, &mut doorman).await;
    doorman.tasks.close();
    doorman.tasks.wait().await;
    ended
}

/// Lets connections in.
struct Doorman {
    dns: Arc<Dns>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Accept for Doorman {
    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr) {
        let source = peer.ip().to_canonical();
        let allowed = source_of(source, &self.dns.snapshot.load(), &self.dns.host.load());
        let entered = match allowed {
            Source::Denied => Err(Dropped::NotAllowed),
            Source::Allowed => self.dns.tcp.enter(source),
        };
        if let Err(reason) = entered {
            self.dns.metrics.drop(reason);
            return;
        }
        let place = Place { dns: Arc::clone(&self.dns), source };
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => drop(self.tasks.spawn(serve(stream, peer, place, self.stop.clone()))),
            Err(error) => tracing::debug!(%error, %peer, "cannot watch a DNS connection"),
        }
    }

    fn failed(&mut self, error: AcceptError) {
        self.dns.metrics.accept_failed(error);
    }
}

/// A connection's place among the open ones, given back when dropped.
struct Place {
    dns: Arc<Dns>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.dns.tcp.leave(self.source);
    }
}

/// Serves one connection to its end.
async fn serve(stream: tokio::net::TcpStream, peer: SocketAddr, place: Place, stop: CancellationToken) {
    let dns = Arc::clone(&place.dns);
    let (replies, mut later) = mpsc::unbounded_channel();
    let mut session = Session {
        stream,
        place,
        peer,
        replies,
        waiting: 0,
        input: Vec::new(),
        output: Vec::new(),
        reply: Vec::new(),
    };
    let idle = dns.tcp.limits.idle;
    loop {
        let deadline = Instant::now() + idle;
        // Only a complete query moves the deadline: one octet now and then does not hold a place.
        while !session.has_query() {
            let read = tokio::select! {
                biased;
                Some(reply) = later.recv() => match session.deliver(&reply, idle).await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                read = timeout_at(deadline, session.read()) => read,
                () = stop.cancelled() => break,
            };
            if !matches!(read, Ok(Ok(1..))) {
                return session.finish(later, idle).await;
            }
        }
        if stop.is_cancelled() {
            session.read_waiting();
        }
        match session.answer(idle).await {
            Ok(()) if !stop.is_cancelled() => {}
            Ok(()) | Err(Over::NoQuery) => return session.finish(later, idle).await,
            Err(Over::Stuck) => return,
        }
    }
}

/// One connection with what was read and not answered yet.
struct Session {
    stream: tokio::net::TcpStream,
    place: Place,
    peer: SocketAddr,
    /// Where replies arrive that upstreams have to be asked for.
    replies: mpsc::UnboundedSender<Vec<u8>>,
    /// How many of those are to come.
    waiting: usize,
    /// Never more than one incomplete message and one read: what is complete is answered first.
    input: Vec<u8>,
    output: Vec<u8>,
    reply: Vec<u8>,
}

/// Why a connection ends from our side.
enum Over {
    /// The peer does not take its replies.
    Stuck,
    /// It sent something that gets no reply: it does not speak DNS.
    NoQuery,
}

impl Session {
    fn has_query(&self) -> bool {
        first_message(&self.input).is_some()
    }

    /// Reads some octets; 0 at the end.
    async fn read(&mut self) -> io::Result<usize> {
        self.stream.readable().await?;
        loop {
            match self.try_read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.readable().await?,
                read => return read,
            }
        }
    }

    /// Reads what has arrived, as much as one message may need. Asks the kernel itself: readiness may
    /// not have been reported yet.
    fn read_waiting(&mut self) {
        let mut space = [0; READ_OCTETS];
        while self.input.len() < INPUT_OCTETS_MAX {
            match rustix::net::recv(&self.stream, &mut space, RecvFlags::DONTWAIT) {
                Ok((octets @ 1.., _)) => self.input.extend_from_slice(&space[..octets]),
                _ => break,
            }
        }
    }

    fn try_read(&mut self) -> io::Result<usize> {
        let mut space = [0; READ_OCTETS];
        let octets = self.stream.try_read(&mut space)?;
        self.input.extend_from_slice(&space[..octets]);
        Ok(octets)
    }

    /// Answers all complete messages. Each length leaves together with its message.
    async fn answer(&mut self, patience: Duration) -> Result<(), Over> {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        let mut since = Instant::now();
        let mut answered = 0;
        let mut over = Ok(());
        while let Some(message) = first_message(rest) {
            rest = &rest[LENGTH_OCTETS + message.len()..];
            if self.answer_one(message) == Answered::No {
                over = Err(Over::NoQuery);
                break;
            }
            answered += 1;
            if self.output.len() >= WRITE_OCTETS {
                self.flush(patience).await?;
                self.place.dns.metrics.observe(since.elapsed(), answered);
                (since, answered) = (Instant::now(), 0);
            }
        }
        self.flush(patience).await?;
        self.place.dns.metrics.observe(since.elapsed(), answered);
        self.input.extend_from_slice(rest);
        over
    }

    fn answer_one(&mut self, message: &[u8]) -> Answered {
        let dns = &self.place.dns;
        let snapshot = dns.snapshot.load();
        let source = source_of(self.place.source, &snapshot, &dns.host.load());
        let asked = Asked { transport: Transport::Tcp, source };
        let mut verdict = answer(message, asked, &snapshot.answers, &mut self.reply);
        if let Verdict::Forward(opt) = verdict {
            let to = ReplyTo::Tcp { replies: self.replies.clone(), peer: self.peer };
            verdict = dns.forward((message, opt), to, &snapshot, &mut self.reply);
        }
        dns.metrics.count(verdict, Transport::Tcp);
        match verdict {
            Verdict::Reply(..) => {
                append_message(&self.reply, &mut self.output);
                Answered::Yes
            }
            Verdict::Forward(_) => {
                self.waiting += 1;
                Answered::Yes
            }
            Verdict::Drop(_) => Answered::No,
        }
    }

    /// Writes a reply that has come later.
    async fn deliver(&mut self, reply: &[u8], patience: Duration) -> Result<(), Over> {
        self.waiting = self.waiting.saturating_sub(1);
        append_message(reply, &mut self.output);
        self.flush(patience).await
    }

    /// Waits for the replies that are still to come, and writes them.
    async fn finish(mut self, mut later: mpsc::UnboundedReceiver<Vec<u8>>, patience: Duration) {
        while self.waiting > 0 {
            let Some(reply) = later.recv().await else { return };
            if self.deliver(&reply, patience).await.is_err() {
                return;
            }
        }
    }

    async fn flush(&mut self, patience: Duration) -> Result<(), Over> {
        let written = timeout(patience, self.stream.write_all(&self.output)).await;
        self.output.clear();
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(Over::Stuck) }
    }
}

/// A reply with its length before it. None is longer than a length can say.
fn append_message(reply: &[u8], output: &mut Vec<u8>) {
    if let Ok(octets) = u16::try_from(reply.len()) {
        output.extend_from_slice(&octets.to_be_bytes());
        output.extend_from_slice(reply);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Yes,
    No,
}

/// The first message in `input`, if all of it is there.
fn first_message(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<LENGTH_OCTETS>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}
