//! Backends: listeners with names, answering with their name or checking bulk bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bulk;
use crate::fault::{self, Fault, Listener};

/// Octets of a request and of its answer.
pub const MESSAGE_OCTETS: usize = 64;
/// Longest head of an HTTP request that is answered.
const HEAD_OCTETS_MAX: usize = 4096;
/// How many times as long the answer takes that is late.
const LATE: u32 = 10;

/// `load backend`
#[derive(Debug, Args)]
pub struct Options {
    /// What to do with connections
    #[arg(long, value_enum, default_value_t = Behaviour::Name)]
    behaviour: Behaviour,
    /// What goes wrong from one SIGUSR1 until the next
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    /// Of how many connections one is at fault, where that can be said of a connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    fault_every: u32,
    /// How long an answer takes
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    answer_after: u64,
    /// Connections that may wait for their accept
    #[arg(long, default_value_t = 1024)]
    backlog: u32,
    /// Listeners, as NAME=IP:PORT; port 0 takes a free one. Each is printed as `NAME IP:PORT`, then
    /// `ready`
    #[arg(required = true)]
    listeners: Vec<Named>,
}

/// What a backend does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Behaviour {
    /// Answers every 64 bytes with the listener's name, padded to 64, and an HTTP GET with 200
    Name,
    /// Takes part in `load bulk`
    Bulk,
}

/// NAME=IP:PORT
#[derive(Debug, Clone)]
struct Named {
    name: String,
    address: SocketAddr,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("NAME=IP:PORT is wanted")?;
        if name.is_empty() || name.len() > MESSAGE_OCTETS {
            return Err(format!("a name has 1 to {MESSAGE_OCTETS} characters"));
        }
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { name: name.to_owned(), address })
    }
}

/// What one listener has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections accepted.
    connections: AtomicU64,
    /// Connections whose end or content was not as it should be.
    bad: AtomicU64,
}

/// Serves until told to stop, then prints what was seen by listener.
pub async fn run(options: Options) -> std::io::Result<ExitCode> {
    let mut all = BTreeMap::new();
    let switch = fault::switch();
    for Named { name, address } in options.listeners {
        let fault = (options.fault, options.fault_every);
        let listener = Listener::bind(address, options.backlog, fault, switch.clone())?;
        println!("{name} {}", listener.address());
        let seen = Arc::new(Seen::default());
        all.insert(name.clone(), Arc::clone(&seen));
        let answer = Answer::new(&name, Duration::from_millis(options.answer_after));
        tokio::spawn(accept(listener, answer, options.behaviour, seen));
    }
    println!("ready");
    crate::told_to_stop().await;
    let mut bad = 0;
    let rows = all.into_iter().map(|(name, seen)| {
        let connections = seen.connections.load(Ordering::Relaxed);
        let bad_here = seen.bad.load(Ordering::Relaxed);
        bad += bad_here;
        (name, serde_json::json!({ "connections": connections, "bad": bad_here }))
    });
    println!("{}", serde_json::Value::Object(rows.collect()));
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What clients are told, and how long after they asked.
#[derive(Debug, Clone, Copy)]
struct Answer {
    octets: [u8; MESSAGE_OCTETS],
    after: Duration,
}

impl Answer {
    fn new(name: &str, after: Duration) -> Self {
        let mut octets = [b' '; MESSAGE_OCTETS];
        octets[..name.len()].copy_from_slice(name.as_bytes());
        Self { octets, after }
    }
}

async fn accept(mut listener: Listener, answer: Answer, behaviour: Behaviour, seen: Arc<Seen>) {
    loop {
        let (stream, fault) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("load backend: accept: {error}");
                continue;
            }
        };
        seen.connections.fetch_add(1, Ordering::Relaxed);
        let seen = Arc::clone(&seen);
        match (fault, behaviour) {
            (Some(Fault::Reset), _) => drop(tokio::spawn(fault::reset(stream))),
            (Some(Fault::ResetFirst), _) => drop(tokio::spawn(fault::reset_first(stream))),
            (Some(Fault::Empty), _) => drop(tokio::spawn(fault::say_nothing(stream, MESSAGE_OCTETS))),
            (Some(Fault::Silent), _) => drop(tokio::spawn(fault::stay_silent(stream))),
            (Some(Fault::Late), Behaviour::Name) => {
                let late = Answer { after: answer.after * LATE, ..answer };
                drop(tokio::spawn(answer_by_name(stream, late)));
            }
            (_, Behaviour::Name) => drop(tokio::spawn(answer_by_name(stream, answer))),
            (_, Behaviour::Bulk) => drop(tokio::spawn(async move {
                if let Err(failure) = bulk::serve(stream).await {
                    eprintln!("load backend: {failure:?}");
                    seen.bad.fetch_add(1, Ordering::Relaxed);
                }
            })),
        }
    }
}

async fn answer_by_name(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; MESSAGE_OCTETS];
    let said = stream.read(&mut request).await?;
    if request.starts_with(b"GET ") {
        return answer_check(stream, request[..said].to_vec()).await;
    }
    stream.read_exact(&mut request[said..]).await?;
    loop {
        if !answer.after.is_zero() {
            tokio::time::sleep(answer.after).await;
        }
        stream.write_all(&answer.octets).await?;
        stream.read_exact(&mut request).await?;
    }
}

/// 200 once the head of the request, of which `head` has arrived, is complete.
async fn answer_check(mut stream: TcpStream, mut head: Vec<u8>) -> std::io::Result<()> {
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_OCTETS_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await
}
