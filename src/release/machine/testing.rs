//! A release of two services in two steps, and facts with which nothing is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Facts, MemberFacts, Now, PoolFacts, Verdict};
use super::{Clockwork, Decision, Refusal, Verb, advance, command};
use crate::model::release::{Percent, ReleaseSpec, ReleaseStep};
use crate::model::{AppName, ColorName, ServiceName, Weight};
use crate::state::overrides::Cause;
use crate::state::release::{Member, Phase, Release, ReleaseId, Stage};

pub(super) fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

pub(super) fn percent(number: i64) -> Percent {
    Percent::new(number).unwrap()
}

pub(super) fn weights(pairs: &[(&str, i64)]) -> BTreeMap<ColorName, Weight> {
    let pair =
        |(color, weight): &(&str, i64)| (ColorName::parse(color).unwrap(), Weight::new(*weight).unwrap());
    pairs.iter().map(pair).collect()
}

fn member(name: &str) -> Member {
    let before = weights(&[("blue", 250), ("green", 0), ("red", 0)]);
    Member {
        service: service(name),
        from: ColorName::parse("blue").unwrap(),
        to: ColorName::parse("green").unwrap(),
        weights: before.clone(),
        before,
        percent: Percent::NONE,
    }
}

fn release() -> Release {
    let mut spec = ReleaseSpec::by_default(AppName::parse("shop").unwrap());
    spec.steps = vec![ReleaseStep::at(percent(10)), ReleaseStep::at(Percent::ALL)];
    let both = vec![service("servicea"), service("serviceb")];
    Release {
        id: ReleaseId("shop-20261123-1".to_owned()),
        spec,
        members: vec![member("servicea"), member("serviceb")],
        shared: Vec::new(),
        stages: (0..2).map(|step| Stage { step, services: both.clone() }).collect(),
        applied: 0,
        phase: Phase::Shifting,
        since: 1000,
        started: Cause {
            actor: crate::state::overrides::Actor::default(),
            at: 1000,
            why: "a test".to_owned(),
        },
        ended: None,
        ending: None,
        entered: 0,
        epoch: 0,
        decided: String::new(),
    }
}

fn fine() -> Facts {
    let pool = PoolFacts { working: 3, all: 3, ..PoolFacts::default() };
    let known = MemberFacts { from: pool, to: pool, served: 300 };
    let members = ["servicea", "serviceb"].into_iter().map(|name| (service(name), known)).collect();
    Facts { members, verdict: Verdict::Pass, ..Facts::default() }
}

/// A release with its facts and clocks; decisions are carried out at once.
pub(super) struct Stand {
    pub(super) release: Release,
    pub(super) facts: Facts,
    pub(super) clock: Clockwork,
    pub(super) now: Now,
}

impl Stand {
    pub(super) fn new() -> Self {
        let now = Now { monotonic: Duration::from_secs(50), unix_seconds: 1000 };
        Self { release: release(), facts: fine(), clock: Clockwork::default(), now }
    }

    /// One with a changed specification.
    pub(super) fn with(change: impl FnOnce(&mut ReleaseSpec)) -> Self {
        let mut stand = Self::new();
        change(&mut stand.release.spec);
        stand
    }

    pub(super) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now.monotonic += Duration::from_secs(seconds);
        self.now.unix_seconds += seconds;
        self
    }

    pub(super) fn tick(&mut self) -> Option<Decision> {
        let decision = advance(&self.release, &mut self.clock, &self.facts, self.now);
        if let Some(decision) = &decision {
            self.release = decision.next.clone();
        }
        decision
    }

    /// Decides until nothing is due, five minutes after another, until it waits for somebody.
    pub(super) fn run(&mut self) -> &mut Self {
        for _ in 0..20 {
            while self.tick().is_some() {}
            self.wait(300);
        }
        self
    }

    /// Runs until a phase is reached.
    pub(super) fn until(&mut self, phase: &Phase) -> &mut Self {
        for _ in 0..200 {
            if self.release.phase == *phase {
                return self;
            }
            if self.tick().is_none() {
                self.wait(60);
            }
        }
        panic!("{phase:?} was never reached, but {:?}", self.release.phase);
    }

    pub(super) fn say(&mut self, verb: &Verb) -> Result<Decision, Refusal> {
        let decision = command(&self.release, verb, &self.facts, self.now)?;
        self.release = decision.next.clone();
        Ok(decision)
    }

    pub(super) fn pool(&mut self, name: &str) -> &mut MemberFacts {
        self.facts.members.get_mut(&service(name)).unwrap()
    }

    pub(super) fn held(&self) -> Option<crate::state::release::HoldReason> {
        match &self.release.phase {
            Phase::Holding { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    pub(super) fn percents(&self) -> Vec<u8> {
        self.release.members.iter().map(|member| member.percent.get()).collect()
    }
}
