//! What is kept of a release, in the journal: enough to go on with it after a restart.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::overrides::Cause;
use crate::model::release::{Percent, ReleaseSpec};
use crate::model::{AppName, ColorName, ServiceName, Weight};

/// Names a release: `shop-20261123-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub String);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One service that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which one.
    pub service: ServiceName,
    /// The old color.
    pub from: ColorName,
    /// The new color.
    pub to: ColorName,
    /// Its weights before the release: what a rollback returns to.
    pub before: BTreeMap<ColorName, Weight>,
    /// The share of the new color that was applied last.
    pub percent: Percent,
}

/// One shift: members that move at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Index of the step in the specification.
    pub step: usize,
    /// Services that move, in order of name.
    pub services: Vec<ServiceName>,
}

/// Why a release does not go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Somebody said so.
    Operator,
    /// The file changed weights of a member.
    ManualEdit,
    /// A verdict is inconclusive.
    Inconclusive,
    /// A verdict is fail.
    Failed,
    /// The daemon was restarted.
    Restart,
    /// A color has too few endpoints that work.
    PoolUnhealthy,
    /// Shifts are frozen.
    Frozen,
    /// A gate did not pass.
    Gate,
    /// A deadline is over.
    Deadline,
    /// A shift could not be recorded.
    Journal,
}

/// Where a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The next stage's shift has not been applied: it waits for its gates, its time, or its turn.
    Shifting,
    /// The last stage was applied; time passes.
    Baking,
    /// Baked, and waiting for a verdict.
    Judging,
    /// Everything is on the new color; somebody should confirm.
    AwaitingConfirm,
    /// It waits.
    Holding {
        /// Why.
        reason: HoldReason,
        /// In words.
        note: String,
        /// What it does once it goes on.
        then: Box<Phase>,
    },
    /// Confirmed: the old color drains.
    Confirming,
    /// Confirmed and drained; it can be undone until the window is over.
    Confirmed,
    /// The weights from before are back; the new color's connections are being closed.
    RollingBack,
    /// Rolled back, and nothing is left on the new color.
    RolledBack,
    /// Nothing more can be done with it.
    Closed,
}

impl Phase {
    /// One word for it, as in the journal and in `--json`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Shifting => "shifting",
            Self::Baking => "baking",
            Self::Judging => "judging",
            Self::AwaitingConfirm => "awaiting_confirm",
            Self::Holding { .. } => "holding",
            Self::Confirming => "confirming",
            Self::Confirmed => "confirmed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        if let Self::Holding { note, .. } = self { write!(f, " ({note})") } else { Ok(()) }
    }
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its name.
    pub id: ReleaseId,
    /// What it is to do.
    pub spec: ReleaseSpec,
    /// Who moves, in order of name.
    pub members: Vec<Member>,
    /// Services of the app that do not.
    pub shared: Vec<ServiceName>,
    /// The shifts.
    pub stages: Vec<Stage>,
    /// How many of them were applied.
    pub applied: usize,
    /// Where it is.
    pub phase: Phase,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Who started it, when and why.
    pub started: Cause,
    /// When it was confirmed or rolled back, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Counts what was recorded of it.
    pub epoch: u64,
}

impl Release {
    /// Whether its members may not be in another one: it was neither confirmed nor rolled back.
    pub fn is_open(&self) -> bool {
        match &self.phase {
            Phase::Shifting
            | Phase::Baking
            | Phase::Judging
            | Phase::AwaitingConfirm
            | Phase::Holding { .. } => true,
            Phase::Confirming | Phase::Confirmed | Phase::RollingBack | Phase::RolledBack | Phase::Closed => {
                false
            }
        }
    }

    /// Whether something is still to come: it is open, drains, closes connections or can be undone.
    pub fn is_live(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// Its app.
    pub fn app(&self) -> &AppName {
        &self.spec.app
    }

    /// What it does with a service, if that is a member.
    pub fn member(&self, service: &ServiceName) -> Option<&Member> {
        self.members.iter().find(|member| member.service == *service)
    }
}
