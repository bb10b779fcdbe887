//! Held connections that are watched: how each ended, and when.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backend::MESSAGE_OCTETS;
use crate::clients::exchange;

/// `load watch`
#[derive(Debug, Args)]
pub struct Options {
    /// Where to connect to
    target: SocketAddr,
    /// How many connections
    #[arg(long)]
    connections: usize,
    /// Milliseconds between two messages of a connection; without it nothing is said
    #[arg(long)]
    every_ms: Option<u64>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    Reset,
}

/// Ends of one kind, in seconds since the epoch.
#[derive(Debug, Default)]
struct Ends {
    count: u64,
    first: Option<f64>,
    last: Option<f64>,
}

/// What became of the connections to one backend.
#[derive(Debug, Default)]
struct Seen {
    fin: Ends,
    reset: Ends,
    open: u64,
}

/// Opens all, says `holding`, and prints what was seen, by backend.
pub async fn run(options: Options) -> io::Result<ExitCode> {
    let (stop, every) = (CancellationToken::new(), options.every_ms.map(Duration::from_millis));
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections {
        let mut stream = TcpStream::connect(options.target).await?;
        let name = exchange(&mut stream).await.map_err(|failure| io::Error::other(format!("{failure:?}")))?;
        let stop = stop.clone();
        tasks.spawn(async move {
            let end = tokio::select! {
                end = until_end(stream, every) => Some((end, now())),
                () = stop.cancelled() => None,
            };
            (name, end)
        });
    }
    println!("holding {}", options.connections);
    let told = stop.clone();
    tokio::spawn(async move {
        crate::told_to_stop().await;
        told.cancel();
    });
    let mut all = BTreeMap::<String, Seen>::new();
    while let Some(ended) = tasks.join_next().await {
        let (name, end) = ended.expect("no task panics");
        let seen = all.entry(name).or_default();
        match end {
            Some((End::Fin, at)) => seen.fin.add(at),
            Some((End::Reset, at)) => seen.reset.add(at),
            None => seen.open += 1,
        }
    }
    let rows = all.into_iter().map(|(name, seen)| {
        (name, json!({ "fin": seen.fin.report(), "reset": seen.reset.report(), "open": seen.open }))
    });
    println!("{}", serde_json::Value::Object(rows.collect()));
    Ok(ExitCode::SUCCESS)
}

async fn until_end(mut stream: TcpStream, every: Option<Duration>) -> End {
    let (mut reader, mut writer) = stream.split();
    let say = async {
        let Some(every) = every else { return pending().await };
        loop {
            tokio::time::sleep(every).await;
            if writer.write_all(&[b'?'; MESSAGE_OCTETS]).await.is_err() {
                return End::Reset;
            }
        }
    };
    let hear = async {
        let mut answer = [0; MESSAGE_OCTETS];
        loop {
            match reader.read(&mut answer).await {
                Ok(0) => return End::Fin,
                Ok(_) => {}
                Err(_) => return End::Reset,
            }
        }
    };
    tokio::select! {
        end = say => end,
        end = hear => end,
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Ends {
    /// One more; they come in no order.
    fn add(&mut self, at: f64) {
        self.count += 1;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    fn report(&self) -> serde_json::Value {
        json!({ "count": self.count, "first": self.first, "last": self.last })
    }
}
