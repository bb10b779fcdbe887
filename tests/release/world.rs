//! What happens to one release: time, people, endpoints, verdicts, a journal and a process that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use teal::model::ServiceName;
use teal::model::release::Percent;
use teal::release::machine::{
    Clockwork, Decision, EditsDecision, Facts, GateState, MemberFacts, Now, PoolFacts, Verb, Verdict,
    advance, command, restored, shift_failed,
};
use teal::state::release::{Phase, Release};

use super::dice::Dice;
use super::oracle::{self, By, Case, Oracle};
use super::scene::{self, ENDPOINTS, START, Weights, color, weight};

/// Looks until a release must have ended once everything is well.
const LOOKS_MAX: usize = 400;

pub struct World {
    pub log: Vec<String>,
    /// Changes with every decision.
    pub trace: u64,
    /// Phases, reasons to hold and ways to end that were reached before everything was made well.
    pub seen: BTreeSet<String>,
    dice: Dice,
    /// How many of the faults happen: calm seeds get further.
    faults_percent: u64,
    /// What the process has.
    release: Release,
    weights: BTreeMap<ServiceName, Weights>,
    clock: Clockwork,
    /// What the journal has.
    recorded: Release,
    recorded_weights: BTreeMap<ServiceName, Weights>,
    journal_works: bool,
    facts: Facts,
    now: Now,
    oracle: Oracle,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let release = scene::release(&mut dice);
        let faults_percent = *dice.pick(&[5, 30, 100]);
        let pool = PoolFacts { working: ENDPOINTS, all: ENDPOINTS, ..PoolFacts::default() };
        let known = MemberFacts { from: pool, to: pool, served: 0 };
        let names = || release.members.iter().map(|member| member.service.clone());
        let facts = Facts { members: names().map(|name| (name, known)).collect(), ..Facts::default() };
        let of = |member: &teal::state::release::Member| (member.service.clone(), member.before.clone());
        let weights: BTreeMap<_, _> = release.members.iter().map(of).collect();
        let now = Now { monotonic: Duration::from_secs(1000), unix_seconds: START };
        Self {
            log: vec![format!("{:?} {:?}", release.spec, release.stages)],
            trace: 0,
            seen: BTreeSet::new(),
            clock: Clockwork::default(),
            recorded: release.clone(),
            recorded_weights: weights.clone(),
            journal_works: true,
            oracle: Oracle::new(&release, now),
            release,
            weights,
            facts,
            now,
            dice,
            faults_percent,
        }
    }

    fn note(&mut self, what: &str) {
        let mut hasher = DefaultHasher::new();
        (self.trace, what).hash(&mut hasher);
        for member in &self.release.members {
            member.percent.get().hash(&mut hasher);
        }
        self.trace = hasher.finish();
        self.log.push(what.to_owned());
    }

    fn pass(&mut self, seconds: u64) {
        self.now.monotonic += Duration::from_secs(seconds);
        self.now.unix_seconds += seconds;
        for known in self.facts.members.values_mut() {
            known.served += seconds;
        }
        self.facts.draining_left = self.facts.draining_left.saturating_sub(seconds / 20);
    }

    pub fn step(&mut self) {
        let what = self.dice.below(100);
        let is_fault = what >= 77;
        match what {
            _ if is_fault && !self.dice.chance(self.faults_percent) => self.wait(),
            0..=44 => self.wait(),
            45..=58 => {
                let verb = if self.dice.chance(50) { self.fitting_verb() } else { self.verb() };
                self.say(&verb);
            }
            59..=68 => self.judge(),
            69..=76 => self.answer_gate(),
            77..=83 => self.flap(),
            84..=86 => self.edit(),
            87..=89 => self.freeze(),
            90..=92 => {
                self.journal_works = !self.journal_works;
                self.note(if self.journal_works { "journal works" } else { "journal fails" });
                self.record_again();
            }
            93..=95 => self.crash(),
            96..=97 => self.jump(),
            _ => {
                let fails = self.dice.chance(50);
                self.facts.hard_failure = fails.then(|| "10 failures in a row".to_owned());
            }
        }
        self.look();
        let reason = match &self.release.phase {
            Phase::Holding { reason, .. } => reason.words(),
            phase => phase.word(),
        };
        self.seen.insert(reason.to_owned());
        self.seen.extend(self.release.ending.map(|ending| format!("{ending:?}")));
        if self.dice.chance(10) {
            self.try_rollback();
        }
    }

    fn wait(&mut self) {
        let longest = *self.dice.pick(&[120, 120, 120, 700]);
        let seconds = self.dice.below(longest);
        self.pass(seconds);
    }

    /// What somebody would say who wants the release to go on.
    fn fitting_verb(&mut self) -> Verb {
        match &self.release.phase {
            Phase::Holding { .. } if !self.facts.edits.is_empty() => {
                if self.dice.chance(50) {
                    Verb::Adopt
                } else {
                    Verb::Discard
                }
            }
            Phase::Holding { .. } if self.dice.chance(70) => Verb::Resume,
            Phase::AwaitingConfirm if self.dice.chance(50) => Verb::Confirm { wait: self.dice.chance(50) },
            Phase::Confirming | Phase::Confirmed => Verb::Undo { force: self.dice.chance(30) },
            _ => Verb::Next { skip_checks: self.dice.chance(50) },
        }
    }

    fn verb(&mut self) -> Verb {
        let service = self.dice.pick(&self.release.members).service.clone();
        match self.dice.below(16) {
            0..=2 => Verb::Next { skip_checks: false },
            3..=4 => Verb::Next { skip_checks: true },
            5 => {
                let percent = Percent::new(i64::from(self.dice.between(0, 100))).expect("a percent");
                Verb::Set { service, percent }
            }
            6 => Verb::Hold,
            7..=9 => Verb::Resume,
            10..=11 => Verb::Confirm { wait: self.dice.chance(50) },
            12 => Verb::Rollback { force: self.dice.chance(50) },
            13 => Verb::Undo { force: self.dice.chance(50) },
            14 => Verb::Adopt,
            _ => Verb::Discard,
        }
    }

    fn say(&mut self, verb: &Verb) {
        match command(&self.release, verb, &self.facts, self.now) {
            Ok(decision) => {
                self.carry_out(decision, &By::Verb(verb.clone()));
            }
            Err(refusal) => {
                oracle::refused(&self.release, verb);
                self.note(&format!("{verb:?}: {refusal}"));
            }
        }
    }

    /// The machine is asked, and must come to rest.
    fn look(&mut self) {
        for _ in 0..50 {
            let Some(decision) = advance(&self.release, &mut self.clock, &self.facts, self.now) else {
                oracle::nothing_due(&self.release, &self.facts);
                return;
            };
            if self.carry_out(decision, &By::Itself) == Done::Not {
                return;
            }
        }
        panic!("the machine never comes to rest");
    }

    /// Records and swaps as the daemon does. The process may die in between.
    fn carry_out(&mut self, decision: Decision, by: &By) -> Done {
        self.note(&format!("{by:?}: {}", decision.why));
        let case = Case { before: &self.release, decision: &decision, by, facts: &self.facts, now: self.now };
        self.oracle.decided(case);
        let is_recorded = decision.next != self.release;
        if is_recorded && !self.journal_works && !decision.even_unrecorded {
            let held = shift_failed(&self.release, "no space left", self.now);
            oracle::not_recorded(&self.release, &held);
            self.release = held;
            return Done::Not;
        }
        if is_recorded && self.journal_works && self.dice.chance(2) {
            self.crash();
            return Done::Not;
        }
        let case = Case { before: &self.release, decision: &decision, by, facts: &self.facts, now: self.now };
        self.oracle.carried_out(case);
        self.weights.extend(decision.weights.clone());
        self.effects(&decision);
        self.release = decision.next;
        self.record_again();
        self.oracle.check(&self.release, &self.weights);
        Done::Yes
    }

    fn effects(&mut self, decision: &Decision) {
        if decision.resample {
            self.begin_samples();
        }
        if !decision.close.is_empty() {
            self.facts.draining_left = self.dice.below(8);
        }
        if let Some(EditsDecision::Adopted | EditsDecision::Discarded) = decision.edits {
            self.facts.edits.clear();
        }
        if !decision.gates.is_empty() {
            let running = decision.gates.iter().map(|name| (name.clone(), GateState::Running));
            self.facts.gates = running.collect();
        }
    }

    fn begin_samples(&mut self) {
        self.facts.verdict = Verdict::NoneYet;
        self.facts.hard_failure = None;
        for known in self.facts.members.values_mut() {
            known.served = 0;
        }
    }

    fn record_again(&mut self) {
        if self.journal_works {
            self.recorded.clone_from(&self.release);
            self.recorded_weights.clone_from(&self.weights);
            self.oracle.recorded();
        }
    }

    /// The process dies, and another one begins with what the journal has.
    fn crash(&mut self) {
        self.note("crash");
        self.release.clone_from(&self.recorded);
        self.weights.clone_from(&self.recorded_weights);
        self.clock = Clockwork::default();
        self.now.monotonic = Duration::from_secs(self.dice.below(50));
        self.begin_samples();
        self.facts.gates.clear();
        self.facts.draining_left = 0;
        self.oracle.restarted(&self.release, self.now);
        if let Some(decision) = restored(&self.release, self.now) {
            let (before, facts, now) = (&self.release, &self.facts, self.now);
            let case = Case { before, decision: &decision, by: &By::Restart, facts, now };
            self.oracle.decided(case);
            self.oracle.carried_out(case);
            self.release = decision.next;
        }
        self.record_again();
        self.oracle.check(&self.release, &self.weights);
    }

    fn judge(&mut self) {
        self.facts.verdict = match self.dice.below(12) {
            0..=7 => Verdict::Pass,
            8 => Verdict::NoneYet,
            9..=10 => Verdict::Inconclusive("too few".to_owned()),
            _ => Verdict::Fail("worse".to_owned()),
        };
        self.note(&format!("verdict {:?}", self.facts.verdict));
    }

    fn answer_gate(&mut self) {
        let answer = match self.dice.below(10) {
            0..=6 => GateState::Passed,
            7 => GateState::Failed("exit 1".to_owned()),
            8 => GateState::Inconclusive("no data".to_owned()),
            _ => GateState::Unknown,
        };
        if let Some(state) = self.facts.gates.get_mut("smoke") {
            *state = answer;
        }
    }

    fn flap(&mut self) {
        let index = self.dice.index(self.facts.members.len());
        // Mostly well, else releases would seldom get far.
        let working = *self.dice.pick(&[0, 1, 2, ENDPOINTS, ENDPOINTS, ENDPOINTS, ENDPOINTS, ENDPOINTS]);
        let (is_new, is_checked) = (self.dice.chance(50), self.dice.chance(80));
        if let Some(known) = self.facts.members.values_mut().nth(index) {
            let pool = if is_new { &mut known.to } else { &mut known.from };
            pool.working = working;
            pool.pending = if is_checked { 0 } else { ENDPOINTS - working };
        }
        self.note(&format!("member {index}: {working} work, new {is_new}"));
    }

    fn edit(&mut self) {
        if !self.release.is_open() {
            return;
        }
        let member = self.dice.pick(&self.release.members);
        let mut weights = member.before.clone();
        weights.insert(color("blue"), weight(self.dice.between(0, 100)));
        weights.insert(color("green"), weight(self.dice.between(0, 100)));
        if weights.contains_key(&color("red")) && self.dice.chance(20) {
            weights.insert(color("red"), weight(1));
        }
        let service = member.service.clone();
        self.note(&format!("the file gives {service} {weights:?}"));
        self.facts.edits.insert(service, weights);
    }

    fn freeze(&mut self) {
        self.facts.frozen = match self.facts.frozen {
            Some(_) => None,
            None => Some("year's end".to_owned()),
        };
        self.note(&format!("frozen: {}", self.facts.frozen.is_some()));
    }

    /// The wall clock is set; the other one does not know.
    fn jump(&mut self) {
        let seconds = self.dice.below(2000);
        let at = self.now.unix_seconds;
        self.now.unix_seconds = if self.dice.chance(50) { at + seconds } else { at.saturating_sub(seconds) };
        self.note(&format!("the wall clock says {}", self.now.unix_seconds));
    }

    /// A rollback is possible now, whatever holds or fails.
    fn try_rollback(&mut self) {
        if self.release.is_open() {
            let back = command(&self.release, &Verb::Rollback { force: true }, &self.facts, self.now);
            let back = back.expect("a forced rollback is always allowed while a release is open");
            oracle::rolls_back(&back);
        }
    }

    /// Everything is well and somebody brings the release to its end.
    pub fn finish(&mut self) {
        self.journal_works = true;
        self.record_again();
        for _ in 0..LOOKS_MAX {
            if self.release.phase == Phase::Closed {
                return;
            }
            self.facts.frozen = None;
            self.facts.hard_failure = None;
            self.facts.verdict = Verdict::Pass;
            self.pass(120);
            for known in self.facts.members.values_mut() {
                (known.from.working, known.to.working) = (ENDPOINTS, ENDPOINTS);
                (known.from.pending, known.to.pending) = (0, 0);
                known.served = 1000;
            }
            for state in self.facts.gates.values_mut() {
                *state = GateState::Passed;
            }
            self.look();
            for member in self.release.members.clone() {
                if self.release.phase == Phase::AwaitingConfirm && member.percent < Percent::ALL {
                    self.say(&Verb::Set { service: member.service, percent: Percent::ALL });
                }
            }
            match self.release.phase {
                Phase::Holding { .. } if !self.facts.edits.is_empty() => self.say(&Verb::Discard),
                Phase::Holding { .. } => self.say(&Verb::Resume),
                Phase::AwaitingConfirm => self.say(&Verb::Confirm { wait: true }),
                _ => {}
            }
        }
        panic!("the release never ends: {:?}", self.release.phase);
    }
}

/// Whether a decision was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    Not,
}
