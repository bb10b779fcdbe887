//! One TCP connection: reads queries, answers at once what can be answered at once, and writes the other
//! replies as they come, in any order (RFC 7766 §6.2.1.1).

use std::io;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::{Asked, Verdict, answer};
use super::later::{Outside, TcpWayBack, WayBack};
use super::reply::Transport;
use super::tcp::Place;
use super::{Logged, source_of};

/// Octets of the length before each message (RFC 1035 §4.2.2).
const LENGTH_OCTETS: usize = 2;
/// Octets read at once.
const READ_OCTETS: usize = 4096;
/// Octets kept at a stop: as much as one message may have.
const INPUT_OCTETS_MAX: usize = LENGTH_OCTETS + u16::MAX as usize;
/// Replies are written when so many octets have come together, or when no query is left.
const WRITE_OCTETS: usize = 16 * 1024;

/// Serves one connection to its end. At a stop it answers what was received, and waits for what is under
/// way.
pub(super) async fn serve(stream: tokio::net::TcpStream, place: Place, stop: CancellationToken) {
    let limits = place.dns.tcp.limits();
    let (replies, mut later) = mpsc::channel(limits.queries_under_way);
    let mut session = Session {
        stream,
        place,
        input: Vec::new(),
        output: Vec::new(),
        reply: Vec::new(),
        replies,
        under_way: 0,
        reads: true,
    };
    let mut deadline = Instant::now() + limits.idle;
    while !session.is_over() {
        let event = tokio::select! {
            biased;
            // The session has a sender of its own: this never ends.
            Some(reply) = later.recv() => Event::Reply(reply),
            () = stop.cancelled(), if session.reads => Event::Stop,
            read = session.read(), if session.may_read() => Event::Read(read),
            () = sleep_until(deadline), if session.under_way == 0 => return,
        };
        match event {
            Event::Reply(reply) => session.take(&reply),
            Event::Stop => session.read_waiting(),
            Event::Read(Ok(1..)) => {}
            // What was asked before the client's FIN is answered.
            Event::Read(Ok(0)) => session.reads = false,
            Event::Read(Err(_)) => return,
        }
        while let Ok(reply) = later.try_recv() {
            session.take(&reply);
        }
        match session.answer(limits.idle).await {
            // Only complete messages move the deadline: one octet now and then does not hold a place.
            Ok(Progress::Some) => deadline = Instant::now() + limits.idle,
            Ok(Progress::None) => {}
            Err(Stuck) => return,
        }
    }
}

/// What a connection waits for.
enum Event {
    /// A reply to a query that was under way; empty if there is none.
    Reply(Vec<u8>),
    /// The daemon or this listener stops.
    Stop,
    /// Octets came, or the end of them.
    Read(io::Result<usize>),
}

/// Whether anything was asked or answered.
enum Progress {
    None,
    Some,
}

/// The peer does not take its replies.
struct Stuck;

/// One connection with what was read and not answered yet.
struct Session {
    stream: tokio::net::TcpStream,
    place: Place,
    /// Never more than one incomplete message and one read, unless the bound on queries under way holds
    /// it up: what is complete is answered before more is read.
    input: Vec<u8>,
    output: Vec<u8>,
    reply: Vec<u8>,
    /// Where replies that come later arrive: has room for all that may be under way.
    replies: mpsc::Sender<Vec<u8>>,
    under_way: usize,
    /// Until the client has said all, or the daemon stops.
    reads: bool,
}

impl Session {
    fn is_over(&self) -> bool {
        !self.reads && self.under_way == 0
    }

    fn has_room(&self) -> bool {
        self.under_way < self.place.dns.tcp.limits().queries_under_way
    }

    fn may_read(&self) -> bool {
        self.reads && self.has_room()
    }

    /// Reads some octets; 0 at the end.
    async fn read(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.try_read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    fn try_read(&mut self) -> io::Result<usize> {
        let mut space = [0; READ_OCTETS];
        let octets = self.stream.try_read(&mut space)?;
        self.input.extend_from_slice(&space[..octets]);
        Ok(octets)
    }

    /// Reads what has arrived, as much as one message may need, and then no more. Asks the kernel itself:
    /// readiness may not have been reported yet.
    fn read_waiting(&mut self) {
        let mut space = [0; READ_OCTETS];
        while self.input.len() < INPUT_OCTETS_MAX {
            match rustix::net::recv(&self.stream, &mut space, RecvFlags::DONTWAIT) {
                Ok((octets @ 1.., _)) => self.input.extend_from_slice(&space[..octets]),
                _ => break,
            }
        }
        self.reads = false;
    }

    /// Takes a reply that was under way.
    fn take(&mut self, reply: &[u8]) {
        self.under_way -= 1;
        if !reply.is_empty() {
            put_message(&mut self.output, reply);
        }
    }

    /// Answers all complete messages for which there is room, and writes what is to be written. Each length
    /// leaves together with its message.
    async fn answer(&mut self, patience: Duration) -> Result<Progress, Stuck> {
        let mut input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        let mut since = Instant::now();
        let mut answered = 0;
        let mut progress = if self.output.is_empty() { Progress::None } else { Progress::Some };
        while let Some(message) = first_message(rest).filter(|_| self.has_room()) {
            rest = &rest[LENGTH_OCTETS + message.len()..];
            progress = Progress::Some;
            match self.answer_one(message) {
                Answered::Now => answered += 1,
                Answered::Later => self.under_way += 1,
                Answered::Never => {
                    // It does not speak DNS.
                    (rest, self.reads) = (&[], false);
                }
            }
            if self.output.len() >= WRITE_OCTETS {
                self.flush(patience).await?;
                self.place.dns.metrics.observe(since.elapsed(), answered);
                (since, answered) = (Instant::now(), 0);
            }
        }
        self.flush(patience).await?;
        self.place.dns.metrics.observe(since.elapsed(), answered);
        let left = rest.len();
        input.drain(..input.len() - left);
        self.input = input;
        Ok(progress)
    }

    fn answer_one(&mut self, message: &[u8]) -> Answered {
        let dns = &self.place.dns;
        let snapshot = dns.snapshot.load();
        let allowed = source_of(self.place.source, &snapshot, &dns.host.load());
        let asked = Asked { transport: Transport::Tcp, source: allowed };
        let verdict = answer(message, asked, &snapshot.answers, &mut self.reply);
        dns.metrics.count(verdict, Transport::Tcp);
        let (source, octets) = (self.place.source, self.reply.len());
        let logged = Logged { packet: message, source, transport: Transport::Tcp, verdict, octets };
        dns.log(&snapshot, &logged);
        match verdict {
            Verdict::Reply(..) => {
                put_message(&mut self.output, &self.reply);
                Answered::Now
            }
            Verdict::Forward(domain) => {
                let host = dns.host.load();
                let (snapshot, host) = (&**snapshot, &**host);
                let transport = Transport::Tcp;
                let query = Outside { packet: message, transport, source, domain, snapshot, host };
                let way_back = WayBack::Tcp(TcpWayBack::new(self.replies.clone()));
                dns.forward(&query, way_back, &mut self.reply);
                Answered::Later
            }
            Verdict::Drop(_) => Answered::Never,
        }
    }

    async fn flush(&mut self, patience: Duration) -> Result<(), Stuck> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(patience, self.stream.write_all(&self.output)).await;
        self.output.clear();
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(Stuck) }
    }
}

/// What becomes of a message.
enum Answered {
    /// Its reply is in the output.
    Now,
    /// Its reply comes later.
    Later,
    /// It gets no reply.
    Never,
}

/// Adds a message with its length; one that is too long for a length is left out.
fn put_message(output: &mut Vec<u8>, message: &[u8]) {
    if let Ok(octets) = u16::try_from(message.len()) {
        output.extend_from_slice(&octets.to_be_bytes());
        output.extend_from_slice(message);
    }
}

/// The first message in `input`, if all of it is there.
fn first_message(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<LENGTH_OCTETS>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}
