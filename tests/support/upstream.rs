//! A scripted upstream on loopback: UDP and TCP on one port, answers whatever a test says.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use teal::dns::Transport;
use teal::dns::wire::{Header, Opt, Question, Rest, rest_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// A question as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub packet: Vec<u8>,
    pub transport: Transport,
    pub from: SocketAddr,
    /// How many came before it.
    pub before: usize,
    pub at: Instant,
}

impl Seen {
    pub fn header(&self) -> Header {
        Header::read(&self.packet).unwrap()
    }

    /// Name, type and class, letter by letter.
    pub fn question(&self) -> Vec<u8> {
        Question::read(&self.packet).unwrap().bytes.to_vec()
    }

    pub fn opt(&self) -> Option<Opt> {
        match rest_of(&self.packet, 12 + self.question().len(), &self.header()) {
            Rest::Plain(opt) => opt,
            rest => panic!("{rest:?} follows the question"),
        }
    }

    /// An answer to it: NOERROR, RA, nothing in it, an OPT if it had one.
    pub fn answer(&self) -> Answer {
        Answer {
            id: self.header().id,
            flags: 0x8180,
            question: self.question(),
            sections: Default::default(),
            opt: self.opt().map(|opt| (opt.dnssec_ok, Vec::new())),
        }
    }

    /// An answer with one A record for the name asked.
    pub fn address(&self, last: u8) -> Answer {
        self.answer().record(0, &record(&[0xc0, 12], 1, 300, &[192, 0, 2, last]))
    }
}

/// A record in wire format.
pub fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

/// The SOA of a zone, as it stands in negative answers.
pub fn soa(owner: &[u8]) -> Vec<u8> {
    let numbers = [1u32, 3600, 600, 86_400, 60].map(u32::to_be_bytes).concat();
    record(owner, 6, 60, &[&b"\x02ns\0\x01h\0"[..], &numbers].concat())
}

/// An answer, to be bent as a test needs it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub id: u16,
    pub flags: u16,
    pub question: Vec<u8>,
    /// Answer, authority, additional.
    pub sections: [Vec<Vec<u8>>; 3],
    /// DO and options.
    pub opt: Option<(bool, Vec<u8>)>,
}

impl Answer {
    pub fn rcode(mut self, rcode: u16) -> Self {
        self.flags |= rcode;
        self
    }

    pub fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    pub fn record(mut self, section: usize, record: &[u8]) -> Self {
        self.sections[section].push(record.to_vec());
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.opt = Some((self.opt.is_some_and(|(dnssec_ok, _)| dnssec_ok), options.to_vec()));
        self
    }

    pub fn without_opt(mut self) -> Self {
        self.opt = None;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let counts = self.sections.each_ref().map(|section| u16::try_from(section.len()).unwrap());
        let additionals = counts[2] + u16::from(self.opt.is_some());
        let words = [self.id, self.flags, 1, counts[0], counts[1], additionals];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(&self.question);
        bytes.extend(self.sections.iter().flatten().flatten());
        if let Some((dnssec_ok, options)) = &self.opt {
            let flags = if *dnssec_ok { 0x8000 } else { 0 };
            bytes.extend_from_slice(&crate::support::opt(1232, 0, flags, options));
        }
        bytes
    }
}

/// What a script does about a question, in order.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends a message.
    Send(Vec<u8>),
    /// Sends a message from another port of the same address (UDP only).
    SendFromElsewhere(Vec<u8>),
    /// Waits.
    Wait(Duration),
}

impl From<Answer> for Vec<Act> {
    fn from(answer: Answer) -> Self {
        vec![Act::Send(answer.bytes())]
    }
}

type Script = Arc<dyn Fn(&Seen) -> Vec<Act> + Send + Sync>;

/// A running upstream.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Upstream {
    pub async fn start(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub async fn start_at(address: &str, script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind(address).await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, Arc::new(udp));
            }
        };
        let address = tcp.local_addr().unwrap();
        let (seen, script): (Arc<Mutex<Vec<Seen>>>, Script) = (Arc::default(), Arc::new(script));
        let over_udp = tokio::spawn(serve_udp(udp, Arc::clone(&seen), Arc::clone(&script)));
        let over_tcp = tokio::spawn(serve_tcp(tcp, Arc::clone(&seen), script));
        Self { address, seen, tasks: vec![over_udp, over_tcp] }
    }

    /// One that says nothing.
    pub async fn silent() -> Self {
        Self::start(|_| Vec::new()).await
    }

    /// One that gives every name the address 192.0.2.LAST.
    pub async fn with_address(last: u8) -> Self {
        Self::start(move |seen| seen.address(last).into()).await
    }

    /// Everything that it was asked.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// An address at which nobody listens.
pub async fn closed() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn note(seen: &Mutex<Vec<Seen>>, packet: &[u8], transport: Transport, from: SocketAddr) -> Seen {
    let mut seen = seen.lock().unwrap();
    let before = seen.len();
    let question = Seen { packet: packet.to_vec(), transport, from, before, at: Instant::now() };
    seen.push(question.clone());
    question
}

async fn serve_udp(socket: Arc<UdpSocket>, seen: Arc<Mutex<Vec<Seen>>>, script: Script) {
    let mut space = [0; 4096];
    loop {
        let Ok((octets, from)) = socket.recv_from(&mut space).await else { continue };
        let question = note(&seen, &space[..octets], Transport::Udp, from);
        let (acts, socket) = (script(&question), Arc::clone(&socket));
        tokio::spawn(async move {
            for act in acts {
                match act {
                    Act::Send(message) => drop(socket.send_to(&message, from).await),
                    Act::SendFromElsewhere(message) => {
                        let ip = socket.local_addr().unwrap().ip();
                        let other = UdpSocket::bind((ip, 0)).await.unwrap();
                        drop(other.send_to(&message, from).await);
                    }
                    Act::Wait(time) => tokio::time::sleep(time).await,
                }
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>, script: Script) {
    loop {
        let Ok((stream, from)) = listener.accept().await else { continue };
        tokio::spawn(serve_stream(stream, from, Arc::clone(&seen), Arc::clone(&script)));
    }
}

async fn serve_stream(mut stream: TcpStream, from: SocketAddr, seen: Arc<Mutex<Vec<Seen>>>, script: Script) {
    while let Ok(octets) = stream.read_u16().await {
        let mut packet = vec![0; usize::from(octets)];
        if stream.read_exact(&mut packet).await.is_err() {
            return;
        }
        let acts = script(&note(&seen, &packet, Transport::Tcp, from));
        // A script that has nothing to say over TCP ends the connection.
        if acts.is_empty() {
            return;
        }
        for act in acts {
            match act {
                Act::Send(message) | Act::SendFromElsewhere(message) => {
                    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                    let _ = stream.write_all(&[&length[..], &message].concat()).await;
                }
                Act::Wait(time) => tokio::time::sleep(time).await,
            }
        }
    }
}
