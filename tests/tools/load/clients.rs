//! Clients of backends that answer with their name: many short connections, or many held ones.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::MESSAGE_OCTETS;
use crate::tally::{Failure, Tally};

/// Longest that one connection may take from connect to answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// `load open`
#[derive(Debug, Args)]
pub struct Open {
    /// Where to connect to
    target: SocketAddr,
    /// How many connections; without it, until SIGTERM
    #[arg(long)]
    connections: Option<u64>,
    /// How many may be open at once
    #[arg(long, default_value_t = 32)]
    at_once: u32,
    /// New connections per second; as fast as they can be had when absent
    #[arg(long)]
    rate: Option<NonZeroU32>,
}

/// `load hold`
#[derive(Debug, Args)]
pub struct Hold {
    /// Where to connect to
    target: SocketAddr,
    /// How many connections
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

/// Opens connections until enough or told to stop, and prints the tally.
pub async fn open(options: Open) -> std::io::Result<ExitCode> {
    let tally = Arc::new(Tally::new());
    let stopped = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&stopped);
    tokio::spawn(async move {
        crate::told_to_stop().await;
        enough.store(true, Ordering::Relaxed);
    });
    match options.rate {
        Some(rate) => open_paced(&options, rate, &tally, &stopped).await,
        None => open_in_turn(&options, &tally, &stopped).await,
    }
    Ok(tally.print())
}

/// As fast as they can be had: each of `at_once` tasks opens one after another.
async fn open_in_turn(options: &Open, tally: &Arc<Tally>, stopped: &Arc<AtomicBool>) {
    let left = Arc::new(AtomicU64::new(options.connections.unwrap_or(u64::MAX)));
    let target = options.target;
    let mut tasks = JoinSet::new();
    for _ in 0..options.at_once {
        let (left, tally, stopped) = (Arc::clone(&left), Arc::clone(tally), Arc::clone(stopped));
        tasks.spawn(async move {
            let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            while !stopped.load(Ordering::Relaxed) && take().is_ok() {
                short(target, &tally).await;
            }
        });
    }
    tasks.join_all().await;
}

/// At a steady rate: each connection has its own time to begin, and none is left out.
async fn open_paced(options: &Open, rate: NonZeroU32, tally: &Arc<Tally>, stopped: &AtomicBool) {
    let places = Arc::new(Semaphore::new(usize::try_from(options.at_once).unwrap_or(usize::MAX)));
    let begin = Instant::now();
    let between = Duration::from_secs(1) / rate.get();
    let target = options.target;
    let mut tasks = JoinSet::new();
    let mut due = begin;
    for _ in 0..options.connections.unwrap_or(u64::MAX) {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        due += between;
        sleep_until(due).await;
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let tally = Arc::clone(tally);
        tasks.spawn(async move {
            short(target, &tally).await;
            drop(place);
        });
        while tasks.try_join_next().is_some() {}
    }
    tasks.join_all().await;
}

/// One short connection; the answer is the backend's name.
async fn short(target: SocketAddr, tally: &Tally) {
    let begun = Instant::now();
    let connection = async {
        let mut stream = TcpStream::connect(target).await.map_err(Failure::during("connect"))?;
        exchange(&mut stream).await
    };
    let outcome = timeout(CONNECTION_DEADLINE, connection).await;
    tally.add_timed(outcome.unwrap_or(Err(Failure::new("no answer in 10 s"))), begun.elapsed());
}

/// One message; the answer is the backend's name.
pub async fn exchange(stream: &mut TcpStream) -> Result<String, Failure> {
    stream.write_all(&[b'?'; MESSAGE_OCTETS]).await.map_err(Failure::during("write"))?;
    let mut answer = [0; MESSAGE_OCTETS];
    stream.read_exact(&mut answer).await.map_err(Failure::during("read"))?;
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

/// Opens all (or gives up), says `holding`, waits, and then counts those that still answer, by the same backend,
/// and had not been ended meanwhile.
pub async fn hold(options: Hold) -> std::io::Result<ExitCode> {
    let tally = Tally::new();
    let mut held = Vec::new();
    for _ in 0..options.connections {
        let opened = async {
            let mut stream = TcpStream::connect(options.target).await.map_err(Failure::during("connect"))?;
            let name = exchange(&mut stream).await?;
            Ok((stream, name))
        };
        match timeout(CONNECTION_DEADLINE, opened).await {
            Ok(Ok(connection)) => held.push(connection),
            Ok(Err(failure)) => tally.add(Err(failure)),
            Err(_) => tally.add(Err(Failure::new("not opened in 10 s"))),
        }
    }
    if held.len() < options.connections {
        return Ok(tally.print());
    }
    println!("holding {}", held.len());
    crate::told_to_stop().await;
    for (mut stream, name) in held {
        let again = timeout(CONNECTION_DEADLINE, exchange(&mut stream)).await;
        tally.add(match again {
            Ok(Ok(answer)) if answer == name => Ok(answer),
            Ok(Ok(_)) => Err(Failure::new("answered by another backend")),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new("no answer in 10 s")),
        });
    }
    Ok(tally.print())
}
