//! The table: medians, spread, ratios, and the machine that they are from.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::figures::{cell, median};
use crate::load::{Load, Work};
use crate::machine::{self, Cores};
use crate::proxies::{Kind, Proxy};

/// What the figures are from.
pub struct About {
    processor: String,
    kernel: String,
    cores: Cores,
    versions: Vec<String>,
    rounds: usize,
    idle_connections: u64,
    crowd_connections: u64,
    files_max: u64,
}

impl About {
    /// Reads the machine.
    pub fn new(cores: &Cores, load: &Load, rounds: usize, proxies: &[Proxy]) -> Self {
        let (processor, kernel) = machine::description();
        let named = proxies.iter().filter(|proxy| !proxy.version.is_empty());
        Self {
            processor,
            kernel,
            cores: *cores,
            versions: named.map(|proxy| proxy.version.clone()).collect(),
            rounds,
            idle_connections: load.idle_connections(),
            crowd_connections: load.crowd_connections(),
            files_max: load.files_max,
        }
    }
}

/// Every figure of a run.
pub struct Results {
    works: Vec<Work>,
    kinds: Vec<Kind>,
    figures: BTreeMap<(Work, usize), Vec<f64>>,
    failures: Vec<String>,
}

impl Results {
    /// No figures yet.
    pub fn new(works: &[Work], proxies: &[Proxy]) -> Self {
        let kinds = proxies.iter().map(|proxy| proxy.kind).collect();
        Self { works: works.to_vec(), kinds, figures: BTreeMap::new(), failures: vec![] }
    }

    /// Keeps the figure of one round; `None` where the work has no meaning for the proxy.
    pub fn add(&mut self, work: Work, proxy: usize, figure: Option<f64>) {
        self.figures.entry((work, proxy)).or_default().extend(figure);
    }

    /// Keeps why there is none.
    pub fn fail(&mut self, work: Work, proxy: usize, reason: &str) {
        let failure = format!("{work}, {}: {reason}", self.kinds[proxy]);
        eprintln!("  failed: {failure}");
        self.failures.push(failure);
    }

    /// Whether anything failed.
    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    fn median_of(&self, work: Work, kind: Kind) -> Option<f64> {
        let proxy = self.kinds.iter().position(|known| *known == kind)?;
        median(self.figures.get(&(work, proxy))?)
    }

    /// teal's median divided by the better peer's.
    fn ratio(&self, work: Work) -> Option<f64> {
        let peers = [Kind::Haproxy, Kind::Nginx];
        let best = peers.iter().filter_map(|peer| self.median_of(work, *peer)).reduce(f64::min)?;
        Some(self.median_of(work, Kind::Teal)? / best)
    }

    /// The table, with the machine above it.
    pub fn markdown(&self, about: &About) -> String {
        let mut text = String::new();
        let cores = about.cores;
        let shared = if cores.load == cores.proxy { ": the same, so expect noise" } else { "" };
        // Writing to a String cannot fail.
        let mut line = |line: String| writeln!(text, "{line}").unwrap_or_default();
        line(format!("{}, {} usable cores, Linux {}", about.processor, cores.usable, about.kernel));
        line(format!(
            "{}; proxy on core {}, load and backend on core {}{shared}; {} rounds, medians (lowest–highest); \
             {} idle connections and a crowd of {} (descriptor limit {})\n",
            about.versions.join(", "),
            cores.proxy,
            cores.load,
            about.rounds,
            about.idle_connections,
            about.crowd_connections,
            about.files_max
        ));
        let kinds: Vec<String> = self.kinds.iter().map(ToString::to_string).collect();
        line(format!("| work | {} | teal / better peer |", kinds.join(" | ")));
        line(format!("|---|{}---:|", "---:|".repeat(kinds.len())));
        for work in &self.works {
            let cells = (0..self.kinds.len()).map(|proxy| cell(self.figures.get(&(*work, proxy))));
            let cells: Vec<String> = cells.collect();
            let ratio = self.ratio(*work).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            line(format!("| {} | {} | {ratio} |", work.label(), cells.join(" | ")));
        }
        for failure in &self.failures {
            line(format!("\nfailed: {failure}"));
        }
        text
    }

    /// Every figure, for programs.
    pub fn json(&self, about: &About) -> Value {
        let works = self.works.iter().map(|work| {
            let rows = self.kinds.iter().enumerate().map(|(proxy, kind)| {
                let figures = self.figures.get(&(*work, proxy)).cloned().unwrap_or_default();
                let value = json!({ "median": median(&figures), "figures": figures });
                (kind.to_string().to_lowercase(), value)
            });
            let value = json!({
                "label": work.label(),
                "ratio": self.ratio(*work),
                "proxies": rows.collect::<serde_json::Map<_, _>>(),
            });
            (work.to_string(), value)
        });
        json!({
            "processor": about.processor,
            "kernel": about.kernel,
            "cores": about.cores.usable,
            "versions": about.versions,
            "rounds": about.rounds,
            "idle_connections": about.idle_connections,
            "crowd_connections": about.crowd_connections,
            "work": works.collect::<serde_json::Map<_, _>>(),
            "failures": self.failures,
        })
    }
}
