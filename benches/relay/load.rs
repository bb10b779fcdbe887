//! The load: kinds of work, bounded in number, and what each of them measures.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::backend::{Backend, REQUEST_OCTETS, request};
use crate::proxies::Proxy;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Work {
    /// Connect, 64 bytes, 64 bytes back, close; 32 at a time
    Short,
    /// 64 bytes and back over 64 open connections
    Message,
    /// 64 bytes and back over one connection, everything on one core
    Latency,
    /// A gigabyte downloaded over 4 connections
    Bulk,
    /// A gigabyte downloaded over 1,000 connections
    Crowd,
    /// Idle connections that have carried 64 bytes each way
    Idle,
}

impl Work {
    /// In the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Short, Self::Message, Self::Latency, Self::Bulk, Self::Crowd, Self::Idle];

    /// What the figure is, with its unit.
    pub fn label(self) -> &'static str {
        match self {
            Self::Short => "CPU per short connection, 32 at a time, µs",
            Self::Message => "CPU per 64-byte message, 64 connections, µs",
            Self::Latency => "p50 of a 64-byte message, 1 connection, one core, µs",
            Self::Bulk => "CPU per gigabyte, 4 connections, ms",
            Self::Crowd => "CPU per gigabyte, 1,000 connections, ms",
            Self::Idle => "resident memory per idle connection, KiB",
        }
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no variant is skipped").get_name())
    }
}

const SHORT_CONNECTIONS: u64 = 20_000;
const SHORT_AT_ONCE: u64 = 32;
const MESSAGES: u64 = 128_000;
const MESSAGE_CONNECTIONS: u64 = 64;
const LATENCY_MESSAGES: u64 = 20_000;
const GIGABYTE: u64 = 1_000_000_000;
const BULK_CONNECTIONS: u64 = 4;
const CROWD_CONNECTIONS: u64 = 1_000;
const IDLE_CONNECTIONS: u64 = 5_000;
/// Connections opened before memory is read for the first time, so that what a proxy allocates once
/// is not counted.
const IDLE_WARM_UP: u64 = 64;
/// Descriptors of this process that are not connections of the load, generously.
const DESCRIPTORS_RESERVED: u64 = 256;
/// How long a proxy's memory may take to settle.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

/// The generator of load.
pub struct Load {
    /// Where the work ends up.
    pub backend: Backend,
    /// What amounts are divided by.
    pub divisor: u64,
    /// Descriptors that this process and each proxy may have.
    pub files_max: u64,
}

impl Load {
    /// How many idle connections are opened: both ends of each are descriptors of this process.
    pub fn idle_connections(&self) -> u64 {
        let possible = self.files_max.saturating_sub(DESCRIPTORS_RESERVED) / 2;
        (IDLE_CONNECTIONS / self.divisor).max(1_000).min(possible)
    }

    /// Connections of the crowd.
    pub fn crowd_connections(&self) -> u64 {
        CROWD_CONNECTIONS.min(self.files_max.saturating_sub(DESCRIPTORS_RESERVED) / 2)
    }

    /// Does the work and returns the figure that [`Work::label`] names.
    pub async fn run(&self, work: Work, proxy: &Proxy) -> io::Result<f64> {
        match work {
            Work::Short => short(proxy, SHORT_CONNECTIONS / self.divisor).await,
            Work::Message => message(proxy, MESSAGES / self.divisor).await,
            Work::Latency => latency(proxy.address, LATENCY_MESSAGES / self.divisor).await,
            Work::Bulk => bulk(proxy, BULK_CONNECTIONS, GIGABYTE / self.divisor).await,
            Work::Crowd => bulk(proxy, self.crowd_connections(), GIGABYTE / self.divisor).await,
            Work::Idle => idle(proxy, self.idle_connections()).await,
        }
    }
}

/// Microseconds of the proxy's processor time per connection.
async fn short(proxy: &Proxy, connections: u64) -> io::Result<f64> {
    let address = proxy.address;
    let each = connections / SHORT_AT_ONCE;
    let before = proxy.cpu_time()?;
    let mut tasks = JoinSet::new();
    for _ in 0..SHORT_AT_ONCE {
        tasks.spawn(async move {
            for _ in 0..each {
                let mut stream = connect(address).await?;
                exchange(&mut stream).await?;
            }
            io::Result::Ok(())
        });
    }
    join(tasks).await?;
    let spent = proxy.cpu_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / (each * SHORT_AT_ONCE) as f64)
}

/// Microseconds of the proxy's processor time per message and its answer.
async fn message(proxy: &Proxy, messages: u64) -> io::Result<f64> {
    let streams = open(proxy.address, MESSAGE_CONNECTIONS).await?;
    let each = messages / MESSAGE_CONNECTIONS;
    let before = proxy.cpu_time()?;
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        tasks.spawn(async move {
            for _ in 0..each {
                exchange(&mut stream).await?;
            }
            io::Result::Ok(())
        });
    }
    join(tasks).await?;
    let spent = proxy.cpu_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / (each * MESSAGE_CONNECTIONS) as f64)
}

/// The median time of a message and its answer, in microseconds.
async fn latency(address: SocketAddr, messages: u64) -> io::Result<f64> {
    let mut stream = connect(address).await?;
    let mut times = Vec::new();
    for _ in 0..messages / 10 {
        exchange(&mut stream).await?;
    }
    for _ in 0..messages {
        let sent = Instant::now();
        exchange(&mut stream).await?;
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}

/// Milliseconds of the proxy's processor time per 10⁹ bytes downloaded.
async fn bulk(proxy: &Proxy, connections: u64, octets: u64) -> io::Result<f64> {
    let streams = open(proxy.address, connections).await?;
    let each = octets / connections;
    let before = proxy.cpu_time()?;
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        tasks.spawn(async move {
            stream.write_all(&request(each)).await?;
            receive(&mut stream, each).await
        });
    }
    join(tasks).await?;
    let spent = proxy.cpu_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e3 * GIGABYTE as f64 / (each * connections) as f64)
}

/// KiB of the proxy's resident memory per open connection. The proxy must be fresh.
async fn idle(proxy: &Proxy, connections: u64) -> io::Result<f64> {
    let mut held = open(proxy.address, IDLE_WARM_UP).await?;
    let before = settled_memory(proxy).await?;
    held.extend(open(proxy.address, connections).await?);
    let after = settled_memory(proxy).await?;
    Ok(after.saturating_sub(before) as f64 / 1024.0 / connections as f64)
}

/// Resident memory once it has stayed the same for a quarter of a second.
async fn settled_memory(proxy: &Proxy) -> io::Result<u64> {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let mut last = proxy.resident_octets()?;
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = proxy.resident_octets()?;
        if now == last || Instant::now() >= deadline {
            return Ok(now);
        }
        last = now;
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens connections one after another; each has carried a message when it is returned, so that it
/// reaches all the way to the backend.
async fn open(address: SocketAddr, connections: u64) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = connect(address).await?;
        exchange(&mut stream).await?;
        streams.push(stream);
    }
    Ok(streams)
}

/// 64 bytes there and 64 bytes back.
async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&request(REQUEST_OCTETS as u64)).await?;
    let mut answer = [0; REQUEST_OCTETS];
    stream.read_exact(&mut answer).await.map(drop)
}

async fn receive(stream: &mut TcpStream, octets: u64) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut left = octets;
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was cut short")),
            read => left = left.saturating_sub(read as u64),
        }
    }
    Ok(())
}

async fn join(mut tasks: JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}
