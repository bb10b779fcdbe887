//! What a decision is made from.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ColorName, ServiceName, Weight};

/// The two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never jumps: bake time is counted on it.
    pub monotonic: Duration,
    /// Seconds since 1970: deadlines are, so that they go on over a restart.
    pub unix_seconds: u64,
}

/// What is known when a release is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// By member. Of one that is missing nothing is known: it neither shifts nor counts as down.
    pub members: BTreeMap<ServiceName, MemberFacts>,
    /// Why shifts are frozen, if they are.
    pub frozen: Option<String>,
    /// Answers of gates since the last decision that asked for them.
    pub gates: BTreeMap<String, GateState>,
    /// Of what happened since the last decision with `resample`.
    pub verdict: Verdict,
    /// What the judgement found that cannot wait, such as failures in a row.
    pub hard_failure: Option<String>,
    /// The file's weights of members where they changed and nobody decided about it yet.
    pub edits: BTreeMap<ServiceName, BTreeMap<ColorName, Weight>>,
    /// Connections that the closing of the last decision has not ended yet; set before the machine is asked again.
    pub draining_left: u64,
}

/// What is known of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberFacts {
    /// The old color.
    pub from: PoolFacts,
    /// The new color.
    pub to: PoolFacts,
    /// Connections that the new color served since the last decision with `resample`.
    pub served: u64,
}

/// What is known of one color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolFacts {
    /// Endpoints that work and are enabled; the smallest number over the service's ports.
    pub working: u32,
    /// Endpoints of which nothing is known yet, as they are new or the process is; the largest number over the
    /// ports. Nothing is held against a color because of them, and nothing is given to it.
    pub pending: u32,
    /// Endpoints that there are.
    pub all: u32,
    /// Open connections, where they were counted: see [`super::Decision::count_left`].
    pub open: u64,
    /// How old the oldest of them is.
    pub oldest: Duration,
}

impl PoolFacts {
    /// Endpoints that work, if all those do of which nothing is known.
    pub(super) fn may_work(&self) -> u32 {
        self.working.saturating_add(self.pending)
    }
}

/// What a gate said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GateState {
    /// It was not asked.
    #[default]
    Unknown,
    /// It was asked.
    Running,
    /// Go on.
    Passed,
    /// Do not; why.
    Failed(String),
    /// It could not say; why.
    Inconclusive(String),
}

/// What the judgement says of the new color beside the old one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    NoneYet,
    /// No worse.
    Pass,
    /// Worse; how.
    Fail(String),
    /// It cannot be told; why.
    Inconclusive(String),
}
