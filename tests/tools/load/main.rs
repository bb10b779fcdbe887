//! `load`: the clients and backends of the end-to-end scenarios, in one program that is not installed.
//!
//! Built as an example (`cargo build --release --example load`), so that it is neither part of the
//! product nor run as a test by itself. Every subcommand prints one line of JSON at its end and
//! exits 0 only when nothing failed.

mod backend;
mod bulk;
mod clients;
mod fault;
mod tally;
mod watch;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "load")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Listens, answers, and prints counts when told to stop by SIGTERM
    Backend(backend::Options),
    /// Opens connections one after another: 64 bytes, the answer, close
    Open(clients::Open),
    /// Holds connections until SIGTERM comes, then checks that all still work
    Hold(clients::Hold),
    /// Holds connections until all have ended or SIGTERM comes, and says how and when each ended
    Watch(watch::Options),
    /// Random bytes both ways, checked at both ends
    Bulk(bulk::Options),
    /// Prints free TCP ports of 127.0.0.1
    Ports {
        /// How many
        count: usize,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the kernel gives an epoll descriptor");
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Backend(options) => backend::run(options).await,
            Command::Open(options) => clients::open(options).await,
            Command::Hold(options) => clients::hold(options).await,
            Command::Watch(options) => watch::run(options).await,
            Command::Bulk(options) => bulk::run(options).await,
            Command::Ports { count } => ports(count),
        }
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("load: descriptor limit stays: {error}");
    }
}

/// All are bound before the first is let go, so that no two are the same.
fn ports(count: usize) -> std::io::Result<ExitCode> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let ports: Vec<String> = addresses.iter().map(|address| address.port().to_string()).collect();
    println!("{}", ports.join(" "));
    Ok(ExitCode::SUCCESS)
}

/// Resolves when SIGTERM or SIGINT comes.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).expect("a handler can be set");
    let mut int = signal(SignalKind::interrupt()).expect("a handler can be set");
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
