//! What is to be done next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::Facts;
use crate::model::release::Notice;
use crate::model::{ColorName, ServiceName, Weight};
use crate::state::release::Release;

/// What is to be done, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The release from then on. Where it equals the release as it is, there is nothing to record.
    pub next: Release,
    /// Weights of all colors of services that take effect, in one swap; empty where nothing moves. A service may
    /// be named with the weights that it has: they then override what the file says by now.
    pub weights: BTreeMap<ServiceName, BTreeMap<ColorName, Weight>>,
    /// What becomes of the members' baseline.
    pub baseline: BaselineEffect,
    /// Open connections that have to end.
    pub close: Vec<Close>,
    /// Gates to ask; what they said before is forgotten.
    pub gates: Vec<String>,
    /// Programs of the hooks folder to run, in this order.
    pub hooks: Vec<String>,
    /// What those who want to know are told.
    pub notices: Vec<(Notice, String)>,
    /// What was decided about the file's weights of members ([`super::Facts::edits`]).
    pub edits: Option<EditsDecision>,
    /// Whether the judgement and the counts of served connections begin anew.
    pub resample: bool,
    /// Whether it is done even when it cannot be recorded: a rollback.
    pub even_unrecorded: bool,
    /// One line for the log and the journal.
    pub why: String,
}

impl Decision {
    /// One that takes the release to `next` and does nothing else.
    pub fn to(next: Release, why: impl Into<String>) -> Self {
        Self {
            next,
            weights: BTreeMap::new(),
            baseline: BaselineEffect::None,
            close: Vec::new(),
            gates: Vec::new(),
            hooks: Vec::new(),
            notices: Vec::new(),
            edits: None,
            resample: false,
            even_unrecorded: false,
            why: why.into(),
        }
    }

    /// Says how many connections have to end, and how old the oldest is. The facts have to know the open ones.
    #[must_use]
    pub fn count_left(mut self, facts: &Facts) -> Self {
        let pool = |close: &Close| {
            let known = facts.members.get(&close.service)?;
            let member = self.next.member(&close.service)?;
            Some(if member.to == close.color { known.to } else { known.from })
        };
        let pools: Vec<_> = self.close.iter().filter_map(pool).collect();
        let open: u64 = pools.iter().map(|pool| pool.open).sum();
        let oldest = pools.iter().map(|pool| pool.oldest.as_secs()).max().unwrap_or(0);
        if open == 0 {
            return self;
        }
        let oldest = humantime::format_duration(Duration::from_secs(oldest));
        let left = format!(" ({open} connections have to end, the oldest is {oldest} old)");
        self.why.push_str(&left);
        for (_, words) in &mut self.notices {
            words.push_str(&left);
        }
        self
    }

    pub(super) fn tell(mut self, notice: Notice) -> Self {
        self.notices.push((notice, self.why.clone()));
        self
    }
}

/// What becomes of the members' baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaselineEffect {
    /// Nothing.
    None,
    /// The weights in effect are the baseline from then on: a confirm.
    New,
    /// The weights from before the release are the baseline again: an undo.
    Old,
}

/// A color whose open connections have to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Of this service.
    pub service: ServiceName,
    /// This color.
    pub color: ColorName,
    /// How.
    pub how: Closing,
}

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// They are closed after this grace, paced.
    After(Duration),
    /// They end by themselves, and are closed after the service's `drain_timeout`.
    Drain,
}

/// What was decided about weights that the file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditsDecision {
    /// They take effect.
    Adopted,
    /// The release's weights stay; the file's count as seen.
    Discarded,
}
