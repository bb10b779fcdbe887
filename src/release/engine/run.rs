//! What the engine remembers of one release between two looks, and forgets with the process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::release::Percent;
use crate::model::{ColorName, ServiceName};
use crate::release::analysis::{self, Sample, StageFacts, VerdictKind};
use crate::release::machine::{self, Clockwork, GateState};
use crate::state::release::{Member, Release};
use crate::state::{ServiceState, Snapshot};

/// How long after a failed attempt to record something it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What both colors of a member had done when the last shift took effect.
#[derive(Debug, Clone, Default)]
struct Begin {
    old: Sample,
    new: Sample,
}

/// The memory of one release.
#[derive(Debug, Default)]
pub struct Run {
    /// The machine's.
    pub clock: Clockwork,
    /// What gates have said since they were asked last.
    pub gates: BTreeMap<String, GateState>,
    /// Counts how often gates were asked: an answer to an earlier question is no answer.
    pub asked: u64,
    /// The release as it would be if the journal could be written.
    pub unrecorded: Option<Release>,
    /// Whether the last change took effect without being recorded: a rollback while the journal fails.
    pub is_owed: bool,
    /// When the journal is tried again.
    pub retry_at: Option<Instant>,
    /// The last verdict, and when it was found, in seconds since 1970.
    pub verdict: Option<(analysis::Verdict, u64)>,
    /// A failure that cannot wait.
    pub hard_failure: Option<String>,
    /// When facts were judged last.
    pub judged: Option<Instant>,
    /// When facts were recorded last.
    pub recorded: Option<Instant>,
    begin: BTreeMap<ServiceName, Begin>,
}

impl Run {
    /// Counts and judgement begin anew.
    pub fn resample(&mut self, release: &Release, snapshot: &Snapshot, now: Instant) {
        (self.verdict, self.hard_failure, self.judged) = (None, None, None);
        let begin = |member: &Member| {
            let state = snapshot.services.get(&member.service)?;
            let take = |color| Sample::take(state, color, now).unwrap_or_default();
            Some((member.service.clone(), Begin { old: take(&member.from), new: take(&member.to) }))
        };
        self.begin = release.members.iter().filter_map(begin).collect();
    }

    /// A change took effect.
    pub fn note_changed(&mut self, recording: Recording) {
        (self.unrecorded, self.retry_at) = (None, None);
        self.is_owed = recording == Recording::Owed;
    }

    /// The recording failed: it is tried again after a while.
    pub fn put_off(&mut self, next: Release, now: Instant) {
        self.unrecorded = Some(next);
        self.retry_at = Some(now + RETRY_AFTER);
    }

    /// Samples of both colors of a member since the last shift: the new one's, and the old one's.
    pub fn since_shift(&self, member: &Member, state: &ServiceState, depth: Depth) -> (Sample, Sample) {
        let begin = self.begin.get(&member.service).cloned().unwrap_or_default();
        let take = |color| depth.sample(state, color).unwrap_or_default();
        (take(&member.to).since(&begin.new), take(&member.from).since(&begin.old))
    }

    /// What is to be judged; nothing before the first shift and at 0 %.
    pub fn stage_facts(&self, release: &Release, snapshot: &Snapshot, depth: Depth) -> Option<StageFacts> {
        let (_, step) = release.step()?;
        let moved = release.members.iter().filter(|member| member.percent > Percent::NONE);
        let facts = |member: &Member| {
            let state = snapshot.services.get(&member.service)?;
            let begin = self.begin.get(&member.service)?;
            let take = |color| depth.sample(state, color);
            Some(analysis::MemberFacts {
                service: member.service.clone(),
                from: member.from.clone(),
                to: member.to.clone(),
                old: take(&member.from)?.since(&begin.old),
                new: take(&member.to)?.since(&begin.new),
                before: Some(begin.old.clone()),
                by_client: state.service.policy.affinity != crate::model::Affinity::None,
            })
        };
        let members: Vec<_> = moved.filter_map(facts).collect();
        (!members.is_empty()).then(|| StageFacts {
            percent: step.percent,
            min_connections: step.min_connections,
            comparisons: release.stages.len() * release.members.len(),
            members,
        })
    }

    /// The last verdict, for the machine.
    pub fn machine_verdict(&self) -> machine::Verdict {
        let Some((verdict, _)) = &self.verdict else { return machine::Verdict::NoneYet };
        let says = || {
            let of_kind = verdict.members.iter().filter(|member| member.kind == verdict.kind);
            of_kind.map(analysis::MemberVerdict::named).collect::<Vec<_>>().join(" ")
        };
        match verdict.kind {
            VerdictKind::Pass => machine::Verdict::Pass,
            VerdictKind::Fail => machine::Verdict::Fail(says()),
            VerdictKind::Inconclusive => machine::Verdict::Inconclusive(says()),
        }
    }
}

/// Whether the journal says what took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It does.
    Done,
    /// Not yet: its disk takes nothing.
    Owed,
}

/// How much a look costs.
#[derive(Debug, Clone, Copy)]
pub enum Depth {
    /// Counters only.
    Counters,
    /// Open connections as well, as of then: takes the lock of every table of them.
    Everything(Instant),
}

impl Depth {
    /// What the live facts of a color say; nothing for a color that the service has not.
    fn sample(self, state: &ServiceState, color: &ColorName) -> Option<Sample> {
        match self {
            Self::Counters => Sample::take_counters(state, color),
            Self::Everything(now) => Sample::take(state, color, now),
        }
    }
}
