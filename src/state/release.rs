//! What is kept of a release, in the journal: enough to go on with it after a restart.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::overrides::Cause;
use crate::model::release::{Percent, ReleaseSpec, ReleaseStep};
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
    /// The weights that were applied last, which are `before` until the first shift.
    #[serde(default)]
    pub weights: BTreeMap<ColorName, Weight>,
}

impl Member {
    /// Its weights with that share on the new color: those from before where they say exactly that.
    pub fn weights_at(&self, percent: Percent) -> BTreeMap<ColorName, Weight> {
        let sum: u32 = self.before.values().map(|weight| u32::from(weight.get())).sum();
        let to = self.before.get(&self.to).map_or(0, |weight| u32::from(weight.get()));
        if sum > 0 && to * 100 == u32::from(percent.get()) * sum {
            return self.before.clone();
        }
        let weight = |color: &ColorName| {
            let share = if *color == self.to {
                percent.get()
            } else if *color == self.from {
                Percent::ALL.get() - percent.get()
            } else {
                0
            };
            Weight::new(share.into()).unwrap_or_default()
        };
        self.before.keys().map(|color| (color.clone(), weight(color))).collect()
    }
}

/// The share of a color, rounded to a percent: nothing and everything only where it is exactly that, or where no
/// color has weight.
pub fn share(weights: &BTreeMap<ColorName, Weight>, color: &ColorName) -> Percent {
    let sum: u32 = weights.values().map(|weight| u32::from(weight.get())).sum();
    let own = weights.get(color).map_or(0, |weight| u32::from(weight.get()));
    let rounded = (own * 100 + sum / 2).checked_div(sum).unwrap_or(0);
    let percent = if own == 0 || own == sum { rounded } else { rounded.clamp(1, 99) };
    Percent::new(percent.into()).unwrap_or_default()
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

impl HoldReason {
    /// One word for it, as in the journal, in metrics and in `--json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::ManualEdit => "manual_edit",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
            Self::Restart => "restart",
            Self::PoolUnhealthy => "pool_unhealthy",
            Self::Frozen => "frozen",
            Self::Gate => "gate",
            Self::Deadline => "deadline",
            Self::Journal => "journal",
        }
    }

    /// As people say it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Operator => "held by hand",
            Self::ManualEdit => "the file changed weights",
            Self::Inconclusive => "inconclusive verdict",
            Self::Failed => "failed",
            Self::Restart => "the daemon was restarted",
            Self::PoolUnhealthy => "too few working endpoints",
            Self::Frozen => "frozen",
            Self::Gate => "a gate did not pass",
            Self::Deadline => "a deadline is over",
            Self::Journal => "the journal cannot be written",
        }
    }
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
    /// How it ended, once it was confirmed or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The epoch at which the phase began.
    #[serde(default)]
    pub entered: u64,
    /// Counts what was recorded of it.
    pub epoch: u64,
    /// What was decided last, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decided: String,
}

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its new colors are the baseline.
    Confirmed,
    /// The weights from before are back; it was never confirmed.
    RolledBack,
    /// The weights from before are back; it had been confirmed.
    Undone,
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

    /// Whether calls of its members stay on the caller's side: also while a rollback lets the new color's connections
    /// end, as what they have still to ask belongs to the new side.
    pub fn has_lanes(&self) -> bool {
        self.is_open() || self.phase == Phase::RollingBack
    }

    /// Whether something is still to come: it is open, drains, closes connections or can be undone.
    pub fn is_live(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// Whether another release of one of its members has to wait: it is open, drains, or is being rolled back.
    pub fn keeps_members(&self) -> bool {
        !matches!(self.phase, Phase::Confirmed | Phase::Closed)
    }

    /// The step of the stage that was applied last, with its index.
    pub fn step(&self) -> Option<(usize, &ReleaseStep)> {
        let stage = self.stages.get(self.applied.checked_sub(1)?)?;
        Some((stage.step, self.spec.steps.get(stage.step)?))
    }

    /// Whether a stage was applied after which a rollback needs force.
    pub fn is_past_return(&self) -> bool {
        let applied = self.stages.iter().take(self.applied);
        applied.filter_map(|stage| self.spec.steps.get(stage.step)).any(|step| step.point_of_no_return)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(blue: i64, green: i64) -> BTreeMap<ColorName, Weight> {
        let color = |name, weight| (ColorName::parse(name).unwrap(), Weight::new(weight).unwrap());
        BTreeMap::from([color("blue", blue), color("green", green)])
    }

    #[test]
    fn a_share_is_everything_or_nothing_only_where_it_is() {
        let green = ColorName::parse("green").unwrap();
        let share = |blue, own| share(&weights(blue, own), &green).get();
        assert_eq!([share(0, 0), share(5, 0), share(0, 7)], [0, 0, 100]);
        assert_eq!([share(1000, 1), share(1, 1000), share(2, 1), share(1, 2)], [1, 99, 33, 67]);
    }

    #[test]
    fn weights_from_before_stay_where_they_say_the_share_exactly() {
        let color = |name| ColorName::parse(name).unwrap();
        let before = weights(500, 500);
        let service = ServiceName::parse("servicea").unwrap();
        let (from, to) = (color("blue"), color("green"));
        let percent = Percent::default();
        let member = Member { service, from, to, weights: before.clone(), before, percent };
        let at = |percent| member.weights_at(Percent::new(percent).unwrap());
        assert_eq!([at(50), at(51), at(100)], [weights(500, 500), weights(49, 51), weights(0, 100)]);
    }
}
