//! How the health of endpoints is found out, and what is done when all of them are down.

use std::sync::Arc;
use std::time::Duration;

/// How the health of a service's endpoints is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// Not at all: every endpoint is tried.
    None,
    /// By checks; shared, as thousands of endpoints have the same.
    Active(Arc<ActiveCheck>),
}

impl HealthCheck {
    /// A check of kind `tcp` with the defaults: every 2 s, given 1 s, up after 2 and down after 3.
    pub fn tcp() -> Self {
        Self::Active(Arc::new(ActiveCheck::new(CheckKind::Tcp)))
    }

    /// The check, if there is one.
    pub fn active(&self) -> Option<&Arc<ActiveCheck>> {
        match self {
            Self::None => None,
            Self::Active(check) => Some(check),
        }
    }
}

/// A check that is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ActiveCheck {
    /// What is done.
    pub kind: CheckKind,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// What a check may take; at most `interval`.
    pub timeout: Duration,
    /// Checks passed in a row until an unhealthy endpoint is healthy; at least 1.
    pub rise: u32,
    /// Checks failed in a row until a healthy endpoint is unhealthy; at least 1.
    pub fall: u32,
    /// Percent of `interval` by which a check may be earlier or later; at most 50.
    pub jitter_percent: u32,
    /// The port to check, where it is another one than connections go to.
    pub port: Option<u16>,
}

impl ActiveCheck {
    /// The defaults for a kind.
    pub fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            jitter_percent: 10,
            port: None,
        }
    }
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// Connects.
    Tcp,
    /// Connects, asks by GET and looks at the answer.
    Http(HttpCheck),
}

impl CheckKind {
    /// Its word in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
        }
    }
}

/// A GET and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// Path and query: visible ASCII that begins with a slash.
    pub path: Box<str>,
    /// The `Host` header, visible ASCII; the address that is checked when absent.
    pub host: Option<Box<str>>,
    /// The statuses that are good.
    pub expect: StatusSet,
    /// What the body must contain within the first 16 KiB of the answer.
    pub body: Option<Box<str>>,
}

/// A set of HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatusSet {
    /// First and last of each range; never empty, each first at most its last.
    ranges: Vec<(u16, u16)>,
}

impl StatusSet {
    /// 200 to 299, the successful ones.
    pub fn successful() -> Self {
        Self { ranges: vec![(200, 299)] }
    }

    /// The set of these ranges, each first at most its last, within 100 to 599. `None` for anything else.
    pub fn new(ranges: Vec<(u16, u16)>) -> Option<Self> {
        let is_range = |&(first, last): &(u16, u16)| 100 <= first && first <= last && last <= 599;
        (!ranges.is_empty() && ranges.iter().all(is_range)).then_some(Self { ranges })
    }

    /// Whether a status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

/// What happens when checks say that every endpoint of every color with weight is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAllDown {
    /// They are tried all the same: a broken checker must not be an outage.
    Try,
    /// Connections are refused at once.
    Reject,
}

/// When an endpoint gets no connections for a while because connections to it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlier {
    /// Connections in a row that must fail; at least 1.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; the n-th in short succession n times as long.
    pub ejection: Duration,
    /// How long an ejection lasts at most; at least `ejection`.
    pub max_ejection: Duration,
    /// Percent of a color's endpoints that may be ejected at once; one may always be.
    pub max_ejected_percent: u32,
    /// Whether an RST of the backend before its first byte is a failure too, and a connection succeeds with
    /// that byte only.
    pub resets: bool,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 50,
            resets: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_set_has_its_bounds_and_is_never_empty_or_crossed() {
        let set = StatusSet::new(vec![(200, 299), (301, 301)]).unwrap();
        for (status, is_in) in [(199, false), (200, true), (299, true), (300, false), (301, true)] {
            assert_eq!(set.contains(status), is_in, "{status}");
        }
        for wrong in [vec![], vec![(299, 200)], vec![(99, 200)], vec![(200, 600)]] {
            assert_eq!(StatusSet::new(wrong), None);
        }
    }
}
