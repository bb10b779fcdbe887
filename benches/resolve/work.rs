//! The kinds of work, and how one is measured.

use std::fmt::Write;
use std::process::Command;

use clap::ValueEnum;

use crate::servers::{Kind, Server};

/// Names that are asked for in turn.
const NAMES: usize = 100;
/// Queries that are under way at once.
const OUTSTANDING: u32 = 50;
/// How long one piece of work may take, in seconds.
const LIMIT_S: u32 = 120;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Work {
    /// 100 names of the zone
    Zone,
    /// 100 names of a zone of 2,000 services
    Large,
    /// 100 names of others that are in the cache
    Cached,
    /// 100 names of others, no cache, a fast upstream
    Forwarded,
}

impl Work {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::Zone, Self::Large, Self::Cached, Self::Forwarded];

    /// What it is called in the table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Zone => "100 names of the zone",
            Self::Large => "the same with 2,000 services",
            Self::Cached => "100 names of others, cached",
            Self::Forwarded => "100 names of others, forwarded",
        }
    }

    /// Who does it.
    pub fn servers(self) -> &'static [Kind] {
        match self {
            Self::Zone => &[Kind::Teal, Kind::Knotd, Kind::Dnsmasq],
            Self::Large => &[Kind::Teal],
            Self::Cached => &[Kind::Teal, Kind::Unbound, Kind::Dnsmasq],
            Self::Forwarded => &[Kind::Teal, Kind::Dnsmasq],
        }
    }

    /// Whose figures teal's is divided by.
    pub fn compared(self) -> &'static [(Self, Kind)] {
        match self {
            Self::Zone => &[(Self::Zone, Kind::Knotd), (Self::Zone, Kind::Dnsmasq)],
            Self::Large => &[(Self::Zone, Kind::Teal)],
            Self::Cached => &[(Self::Cached, Kind::Unbound), (Self::Cached, Kind::Dnsmasq)],
            Self::Forwarded => &[(Self::Forwarded, Kind::Dnsmasq)],
        }
    }

    /// Services that teal's configuration has.
    pub fn services(self) -> usize {
        if self == Self::Large { 2000 } else { NAMES }
    }

    /// Whether the names are those of others.
    pub fn is_outside(self) -> bool {
        matches!(self, Self::Cached | Self::Forwarded)
    }

    /// Processor time for each query, in microseconds.
    pub fn measure(self, server: &Server, queries: u64) -> Result<f64, String> {
        let mut names = String::new();
        for index in 0..NAMES {
            // Writing to a String cannot fail.
            let (stem, zone) = if self.is_outside() { ("name", "example") } else { ("service", "local") };
            let _ = writeln!(names, "{stem}{index}.{zone} A");
        }
        let file = server.folder().join("names");
        std::fs::write(&file, names).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let before = server.cpu_time()?;
        let runs = queries.div_ceil(NAMES as u64);
        let output = Command::new("dnsperf")
            .args(["-s", "127.0.0.1", "-p", &server.port.to_string(), "-q", &OUTSTANDING.to_string()])
            .args(["-n", &runs.to_string(), "-l", &LIMIT_S.to_string(), "-T", "1", "-c", "8", "-e", "-d"])
            .arg(&file)
            .output()
            .map_err(|error| format!("dnsperf: {error} (apt-get install dnsperf)"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let completed = count(&text, "Queries completed:")?;
        let lost = count(&text, "Queries lost:")?;
        if lost > 0 || !text.contains("NOERROR") {
            return Err(format!("{lost} of {queries} queries lost\n{text}"));
        }
        let spent = server.cpu_time()?.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        Ok(spent.as_secs_f64() * 1e6 / completed as f64)
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no variant is skipped").get_name())
    }
}

fn count(text: &str, label: &str) -> Result<u64, String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("dnsperf said nothing about {label:?}:\n{text}"))
}
