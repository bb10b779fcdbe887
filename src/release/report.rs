//! What is told about releases, as JSON. The command line reads the same types.

use serde::{Deserialize, Serialize};

use super::analysis::Verdict;

/// What a release would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// The name that it would have.
    pub release: String,
    /// Its app.
    pub app: String,
    /// What people call the new color.
    pub version: String,
    /// Who moves, in order of name.
    pub members: Vec<PlannedMember>,
    /// Services of the app that do not.
    pub shared: Vec<String>,
    /// The shifts, in their order.
    pub stages: Vec<PlannedStage>,
    /// How long all steps take at least.
    pub expected_seconds: u64,
    /// How long they take if every step waits for connections as long as it may.
    pub longest_seconds: u64,
    /// What is probably not meant, or will be in the way later.
    pub warnings: Vec<String>,
}

/// A service that would move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedMember {
    /// Which one.
    pub service: String,
    /// The old color.
    pub from: String,
    /// Its endpoints that work, and how many there are.
    pub from_working: (u32, u32),
    /// The new color.
    pub to: String,
    /// Its endpoints that work, and how many there are.
    pub to_working: (u32, u32),
    /// The name that reaches the new color at any weight.
    pub preview: String,
}

/// One shift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Its step, from 1.
    pub step: usize,
    /// The share of the new color.
    pub percent: u8,
    /// Services that move at this instant.
    pub services: Vec<String>,
    /// How long it lasts at least.
    pub bake_seconds: u64,
    /// Connections that each new color must have served.
    pub min_connections: u64,
    /// Gates before it.
    pub gates: Vec<String>,
    /// Whether a rollback needs force from then on.
    pub point_of_no_return: bool,
}

/// A release as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseReport {
    /// Its name.
    pub release: String,
    /// Its app.
    pub app: String,
    /// What people call the new color.
    pub version: String,
    /// Why it was started.
    pub reason: String,
    /// By whom.
    pub started_by: String,
    /// When, in seconds since 1970.
    pub started_at: u64,
    /// `shifting`, `baking`, `judging`, `awaiting_confirm`, `holding`, `confirming`, `confirmed`, `rolling_back`,
    /// `rolled_back` or `closed`.
    pub phase: String,
    /// Why it holds, if it does.
    pub hold: Option<HoldReport>,
    /// Whether it was neither confirmed nor rolled back.
    pub open: bool,
    /// How it ended, if it did: `confirmed`, `rolled_back` or `undone`.
    pub ending: Option<String>,
    /// The step that was applied last, from 1; 0 before the first.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// Shifts that were applied, and how many there are: more than steps where they go in waves.
    pub stages: (usize, usize),
    /// The share of the step that was applied last.
    pub percent: u8,
    /// Seconds in this phase.
    pub phase_seconds: u64,
    /// How long the bake takes, while it bakes.
    pub bake_seconds: Option<u64>,
    /// What was decided last.
    pub decided: String,
    /// What comes next, and what can be done.
    pub next: String,
    /// Seconds that are left for a confirm or an undo, where there is a deadline.
    pub seconds_left: Option<u64>,
    /// Connections that a rollback or a confirm has still to end, and the age of the oldest in seconds.
    pub draining: Option<(u64, u64)>,
    /// Whether its last change could not be recorded, and so exists in memory only.
    pub unrecorded: bool,
    /// Counts what was recorded of it: equal on hosts that are equally far.
    pub epoch: u64,
    /// Who moves, in order of name.
    pub members: Vec<MemberReport>,
    /// Services of the app that do not.
    pub shared: Vec<String>,
}

/// Why a release holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldReport {
    /// `operator`, `manual_edit`, `inconclusive`, `failed`, `restart`, `pool_unhealthy`, `frozen`, `gate`,
    /// `deadline` or `journal`.
    pub reason: String,
    /// In words.
    pub note: String,
    /// The phase that it goes on with.
    pub then: String,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its service.
    pub service: String,
    /// The new color.
    pub to: SideReport,
    /// The old color.
    pub from: SideReport,
    /// `pass`, `fail` or `inconclusive`; absent while nothing was judged.
    pub verdict: Option<String>,
    /// Why, in one sentence.
    pub says: Option<String>,
}

/// One color of a member, since the last shift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideReport {
    /// Its name.
    pub color: String,
    /// Its share of new connections as applied, in per cent.
    pub percent: u8,
    /// Its share of the new connections since the last shift; absent where there was none.
    pub new_share: Option<f64>,
    /// Its share of the open connections; absent where there is none.
    pub open_share: Option<f64>,
    /// Open connections.
    pub open: u64,
    /// Endpoints that work.
    pub working: u32,
    /// Endpoints that there are.
    pub endpoints: u32,
    /// Connections that were tried since the last shift.
    pub tried: u64,
    /// The share of them that failed.
    pub failed_share: Option<f64>,
    /// 95 of 100 first bytes came within so many seconds.
    pub first_byte_p95_seconds: Option<f64>,
}

/// The numbers behind a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// The release.
    pub release: String,
    /// The step, from 1.
    pub step: usize,
    /// The last verdict; absent while nothing was judged in this process.
    pub verdict: Option<Verdict>,
    /// When it was judged, in seconds since 1970.
    pub at: Option<u64>,
    /// The file with what was seen.
    pub recorded: String,
}
