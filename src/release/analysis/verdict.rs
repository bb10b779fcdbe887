//! What a judgement says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::ServiceName;

/// The outcome of a judgement; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// Enough was seen, and nothing speaks against the new color.
    Pass,
    /// Not enough was seen, or something is suspicious and not certain.
    Inconclusive,
    /// The new color is worse, or over a fixed limit.
    Fail,
}

impl VerdictKind {
    /// In words, in metrics and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A verdict about a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The worst of the members'.
    pub kind: VerdictKind,
    /// Connections that are still to be seen, of the member that lacks most.
    pub missing: u64,
    /// One for each member, in the order of the facts.
    pub members: Vec<MemberVerdict>,
    /// What to know when reading it.
    pub notes: Vec<String>,
}

/// A verdict about one member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberVerdict {
    /// The service.
    pub service: ServiceName,
    /// The verdict.
    pub kind: VerdictKind,
    /// Connections that tried the new color since the shift.
    pub connections: u64,
    /// How many of them are asked for.
    pub needed: u64,
    /// How many of those are still to be seen.
    pub missing: u64,
    /// In one sentence, why.
    pub says: String,
    /// The numbers, by signal.
    pub findings: Vec<Finding>,
}

impl MemberVerdict {
    /// Whom it is about, and why.
    pub fn named(&self) -> String {
        format!("{}: {}", self.service, self.says)
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Connections that failed in one of the next four ways: none got a byte of an answer in time.
    Failures,
    /// Connections whose first try at the color failed, whoever served them then.
    Connect,
    /// Connections that the backend reset before its first byte.
    ResetBefore,
    /// Connections of which the backend took what the client said and ended without a byte.
    Empty,
    /// Connections whose client asked and got no byte until it gave up, or for 3 s.
    Unanswered,
    /// Connections on which neither side said anything for 3 s, until the client ended them.
    Silent,
    /// Connections that the backend reset after its first byte.
    ResetAfter,
    /// Connections that the backend ended within 100 ms although the client had said nothing.
    Early,
    /// Connections whose bytes the backend did not take for 5 s.
    Stalled,
    /// Time to the backend's first byte.
    FirstByte,
    /// Failures against the fixed limit, whatever the old color does.
    Limit,
    /// Connections that are open, of those served since the shift. For information.
    Open,
    /// Endpoints that became unhealthy.
    Health,
}

impl Signal {
    /// In words, in metrics and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Connect => "connect",
            Self::ResetBefore => "reset_before",
            Self::Empty => "empty",
            Self::Unanswered => "unanswered",
            Self::Silent => "silent",
            Self::ResetAfter => "reset_after",
            Self::Early => "early",
            Self::Stalled => "stalled",
            Self::FirstByte => "first_byte",
            Self::Limit => "limit",
            Self::Open => "open",
            Self::Health => "health",
        }
    }
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// How many.
    pub events: u64,
    /// Of how many; never fewer.
    pub of: u64,
}

impl Share {
    /// `events` of `of`, or of as many as there are events: counters are not read all at one instant.
    pub fn new(events: u64, of: u64) -> Self {
        Self { events, of: of.max(events) }
    }

    /// 0 to 1; 0 of nothing.
    pub fn ratio(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.events as f64 / self.of as f64 }
    }
}

/// What one signal says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which one.
    pub signal: Signal,
    /// What follows from it alone.
    pub kind: VerdictKind,
    /// Of the new color.
    pub new: Share,
    /// Of the control.
    pub old: Share,
    /// How much likelier the numbers are if the new color is worse, as a power of ten; absent for what is not
    /// tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// The evidence that makes a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Share of the new color's connections that there may be at most, with a confidence of 95 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// For the first byte: times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<FirstByteTimes>,
    /// The same in a sentence.
    pub says: String,
}

/// Times to the first byte, in seconds, between the histogram's bounds; infinite ones (over 3 s) as 3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FirstByteTimes {
    /// Half of the new color's.
    pub new_p50: f64,
    /// Half of the old color's.
    pub old_p50: f64,
    /// 95 of 100 of the new color's.
    pub new_p95: f64,
    /// 95 of 100 of the old color's.
    pub old_p95: f64,
    /// New ones over this are compared ...
    pub new_over: f64,
    /// ... with old ones over that.
    pub old_over: f64,
}
