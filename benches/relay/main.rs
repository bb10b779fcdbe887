//! Relay cost of teal side by side with HAProxy and nginx stream: `cargo bench --bench relay`.
//!
//! Each proxy runs on one core, the load and the backend on another. Rounds are interleaved (every
//! proxy does the same work once per round, and another one begins each time) and what counts is the processor time that the kernel
//! accounts to the proxy's threads, never a rate: a shared machine changes rates, hardly cost. The
//! table shows medians, the spread over the rounds, and teal's ratio to the better peer.
//!
//! `cargo bench --bench relay -- --help` lists the options. Peers are Debian's `haproxy`, `nginx` and
//! `libnginx-mod-stream`; one that is missing is named and left out.

mod backend;
#[path = "../support/figures.rs"]
mod figures;
mod load;
#[path = "../support/machine.rs"]
mod machine;
mod proxies;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use load::Work;
use machine::Cores;
use proxies::{Kind, Proxy};
use report::Results;

/// Longest that one piece of work may take.
const WORK_DEADLINE: Duration = Duration::from_secs(180);

/// Compares what relaying costs with teal, HAProxy, nginx stream and no proxy at all.
#[derive(Debug, Parser)]
#[command(name = "relay")]
struct Options {
    /// Rounds; each proxy does all the work once in each. 5 unless --quick
    #[arg(long)]
    rounds: Option<usize>,
    /// A tenth of the work and 3 rounds: shows that everything runs, figures are rough
    #[arg(long)]
    quick: bool,
    /// Only these kinds of work
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Work>,
    /// Only these proxies
    #[arg(long, value_delimiter = ',', value_enum)]
    proxies: Vec<Kind>,
    /// Also writes every single figure to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1)
    }

    /// What the amount of work is divided by.
    fn divisor(&self) -> u64 {
        if self.quick { 10 } else { 1 }
    }

    fn works(&self) -> Vec<Work> {
        if self.only.is_empty() { Work::ALL.to_vec() } else { self.only.clone() }
    }

    fn kinds(&self) -> Vec<Kind> {
        if self.proxies.is_empty() { Kind::ALL.to_vec() } else { self.proxies.clone() }
    }
}

fn main() {
    let options = Options::parse();
    let files_max = machine::raise_descriptor_limit();
    let cores = Cores::choose();
    cores.pin_to_load();
    let backend = backend::start().expect("two addresses of 127.0.0.0/8 can be bound");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the kernel gives an epoll descriptor");

    let mut proxies = Vec::new();
    for kind in options.kinds() {
        match Proxy::start(kind, backend, &cores) {
            Ok(proxy) => proxies.push(proxy),
            Err(reason) => eprintln!("{kind}: left out: {reason}"),
        }
    }
    let load = load::Load { backend, divisor: options.divisor(), files_max };
    let mut results = Results::new(&options.works(), &proxies);
    for round in 1..=options.rounds() {
        for work in options.works() {
            for index in turns(proxies.len(), round) {
                let proxy = &proxies[index];
                eprintln!("round {round} of {}: {work}, {}", options.rounds(), proxy.kind);
                match measure(&runtime, &load, (work, proxy), &cores) {
                    Ok(figure) => results.add(work, index, figure),
                    Err(reason) => results.fail(work, index, &reason),
                }
            }
        }
    }
    let about = report::About::new(&cores, &load, options.rounds(), &proxies);
    println!("{}", results.markdown(&about));
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", results.json(&about));
        if let Err(error) = std::fs::write(path, text) {
            eprintln!("cannot write {}: {error}", path.display());
            std::process::exit(1);
        }
    }
    if results.failed() {
        std::process::exit(1);
    }
}

/// The order of a round: each proxy is the first in turn, as the kernel still tidies up after the row before, whoever
/// comes then.
fn turns(proxies: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..proxies).map(move |turn| (turn + round) % proxies)
}

/// Does one piece of work through one proxy. `Ok(None)` where it has no meaning.
fn measure(
    runtime: &tokio::runtime::Runtime,
    load: &load::Load,
    (work, proxy): (Work, &Proxy),
    cores: &Cores,
) -> Result<Option<f64>, String> {
    let has_no_meaning = match proxy.kind {
        Kind::Direct => work != Work::Latency,
        Kind::Large => work != Work::Short,
        Kind::Teal | Kind::Haproxy | Kind::Nginx => false,
    };
    if has_no_meaning {
        return Ok(None);
    }
    if work == Work::Idle {
        // A fresh process: memory that an allocator kept from work before would hide the cost.
        let fresh = Proxy::start(proxy.kind, load.backend, cores)?;
        return within_deadline(runtime, load.run(work, &fresh));
    }
    if work == Work::Latency {
        proxy.pin(cores.load);
    }
    let figure = within_deadline(runtime, load.run(work, proxy));
    proxy.pin(cores.proxy);
    figure
}

fn within_deadline(
    runtime: &tokio::runtime::Runtime,
    work: impl Future<Output = std::io::Result<f64>>,
) -> Result<Option<f64>, String> {
    match runtime.block_on(async { tokio::time::timeout(WORK_DEADLINE, work).await }) {
        Ok(Ok(figure)) => Ok(Some(figure)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("took longer than {} s", WORK_DEADLINE.as_secs())),
    }
}
