//! What a DNS answer costs teal, side by side with knotd, dnsmasq and unbound: `cargo bench --bench resolve`.
//!
//! Each server runs on one core; dnsperf, and the server that upstreams are asked at, on another. Rounds are
//! interleaved, over all kinds of work, and what counts is the processor time that the kernel accounts to the server
//! for each query that was answered, never a rate. `cargo bench --bench resolve -- --help` lists the options. Programs
//! are Debian's `dnsperf`, `knot`, `dnsmasq-base` and `unbound`; a server that is missing is named and left out.

#[path = "../support/figures.rs"]
mod figures;
#[expect(dead_code, reason = "part of it is for other benchmarks")]
#[path = "../support/machine.rs"]
mod machine;
mod servers;
mod work;

use std::collections::BTreeMap;

use clap::Parser;

use machine::Cores;
use servers::{Kind, Server};
use work::Work;

/// Compares what answering costs with teal, knotd, dnsmasq and unbound.
#[derive(Debug, Parser)]
#[command(name = "resolve")]
struct Options {
    /// Rounds; each server does all the work once in each
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Queries for each piece of work
    #[arg(long, default_value_t = 200_000)]
    queries: u64,
    /// Only these kinds of work
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Work>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    machine::raise_descriptor_limit();
    let cores = Cores::choose();
    cores.pin_to_load();
    let works = if options.only.is_empty() { Work::ALL.to_vec() } else { options.only.clone() };
    let mut failures = Vec::new();
    let mut figures: BTreeMap<(Work, Kind), Vec<f64>> = BTreeMap::new();
    // What upstreams are asked at lives as long as the run.
    let outside = Server::outside(&cores).map_err(|reason| failures.push(reason)).ok();
    let mut running = Vec::new();
    for work in works.iter().copied() {
        for kind in work.servers() {
            match Server::start(*kind, work, outside.as_ref(), &cores) {
                Ok(server) => running.push((work, server)),
                Err(reason) => failures.push(format!("{work}, {kind}: {reason}")),
            }
        }
    }
    for round in 0..=options.rounds {
        for (work, server) in &running {
            eprintln!("{work}, {}, round {round} of {}", server.kind, options.rounds);
            // Round 0 fills caches and counts for nothing.
            match work.measure(server, options.queries) {
                Ok(figure) if round > 0 => figures.entry((*work, server.kind)).or_default().push(figure),
                Ok(_) => {}
                Err(reason) => failures.push(format!("{work}, {}: {reason}", server.kind)),
            }
        }
    }
    print(&works, &figures, (&options, &cores));
    for failure in &failures {
        println!("\nfailed: {failure}");
    }
    if !failures.is_empty() {
        std::process::exit(1);
    }
}

fn print(works: &[Work], figures: &BTreeMap<(Work, Kind), Vec<f64>>, (options, cores): (&Options, &Cores)) {
    let (processor, kernel) = machine::description();
    println!("{processor}, {} usable cores, Linux {kernel}", cores.usable);
    println!(
        "server on core {}, dnsperf and the outside on core {}; {} rounds of {} queries, medians \
         (lowest–highest)\n",
        cores.proxy, cores.load, options.rounds, options.queries
    );
    let kinds: Vec<String> = Kind::ALL.iter().map(ToString::to_string).collect();
    println!("| CPU per query, µs | {} | teal / peer |", kinds.join(" | "));
    println!("|---|{}---|", "---:|".repeat(kinds.len()));
    for work in works {
        let cells = Kind::ALL.iter().map(|kind| figures::cell(figures.get(&(*work, *kind))));
        let cells: Vec<String> = cells.collect();
        let median = |work, kind| figures::median(figures.get(&(work, kind))?);
        let ratios = work.compared().iter().filter_map(|(other, kind)| {
            let ratio = median(*work, Kind::Teal)? / median(*other, *kind)?;
            let whom = if other == work { kind.to_string() } else { other.label().to_owned() };
            Some(format!("{ratio:.2} of {whom}"))
        });
        println!("| {} | {} | {} |", work.label(), cells.join(" | "), ratios.collect::<Vec<_>>().join(", "));
    }
}
