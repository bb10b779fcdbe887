//! The story: two releases, one service after the other, each in four steps; then one of both ([`super::together`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::backends::Backends;
use super::cast::{Member, Side, answer};
use super::client::{CallError, Mark, Way};
use super::file::{File, FileError};
use super::frame::{Base, Scene};
use super::measure::{Count, Fault, Meter, Reading};
use super::paint::{Line, Style};
use super::report::Findings;
use super::stage::{Stage, Waited};
use super::step::{Event, Outcome, PERCENTS, Plan};
use super::together::Control;
use super::traffic::{Load, Tally, run};
use crate::cli::client::ClientError;

/// How long a change of the file may take to be in effect.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// Why the story cannot be told to its end.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// A change never took effect.
    #[error(
        "the weights written to the file were not in effect within {} s; `teal status` would tell why",
        CHANGE_TIMEOUT.as_secs()
    )]
    NotInEffect,
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The services are not there.
    #[error("the demo's services cannot be reached: {0}")]
    Unreachable(#[from] CallError),
    /// A service that the file names is not in the daemon.
    #[error("{0} is not in the daemon any more")]
    Gone(&'static str),
    /// A command.
    #[error(transparent)]
    Command(#[from] ClientError),
    /// The thread that waits for a change.
    #[error("cannot wait for a change: {0}")]
    Wait(#[from] tokio::task::JoinError),
}

/// How fast it goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Connections of each step of a release. Not all are whole cycles of the weights.
    pub connections: [u32; PERCENTS.len()],
    /// Over how long a time they begin.
    pub spread: Duration,
    /// What is shown stays so long.
    pub rest: Duration,
}

impl Pace {
    /// Time to read and to try commands: a bit more than a minute in all.
    pub const CALM: Self = Self {
        connections: [400, 403, 401, 402],
        spread: Duration::from_millis(6500),
        rest: Duration::from_millis(1500),
    };
    /// A few seconds in all.
    pub const FAST: Self =
        Self { connections: [40, 103, 101, 42], spread: Duration::ZERO, rest: Duration::ZERO };
}

/// What the story is played with.
pub struct World {
    /// The way to the services.
    pub way: Way,
    /// The daemon's counters.
    pub meter: Meter,
    /// The servers.
    pub backends: Arc<Backends>,
    /// The daemon's configuration.
    pub file: File,
    /// Where commands are sent.
    pub control: Control,
    /// How fast.
    pub pace: Pace,
    /// Whose Enter each step waits for; absent when it goes on by itself.
    pub keys: Option<mpsc::UnboundedReceiver<()>>,
}

impl World {
    /// Plays everything.
    ///
    /// # Errors
    /// What keeps it from going on. Steps that are not exact are findings, not errors.
    pub async fn play(mut self, stage: &Stage) -> Result<Findings, StoryError> {
        let mut findings = Findings::default();
        let mut number = 0;
        for member in [Member::B, Member::A] {
            for (percent, connections) in PERCENTS.into_iter().zip(self.pace.connections) {
                number += 1;
                let load = Load { connections, spread: self.pace.spread };
                let plan = Plan { number, member, percent, load };
                self.wait_for_enter(stage, &plan.next()).await;
                let outcome = self.step(plan, stage).await?;
                stage.tell(outcome.event());
                findings.outcomes.push(outcome);
                tokio::time::sleep(self.pace.rest).await;
                if percent == 0 {
                    self.verify(member, stage, &mut findings).await?;
                    tokio::time::sleep(self.pace.rest).await;
                }
            }
        }
        self.play_together(stage, &mut findings).await?;
        Ok(findings)
    }

    /// Where somebody wants to press Enter before each step.
    pub(super) async fn wait_for_enter(&mut self, stage: &Stage, next: &str) {
        if let Some(keys) = &mut self.keys
            && stage.wait_for_enter(next, keys).await == Waited::Ended
        {
            self.keys = None;
        }
    }

    async fn step(&self, plan: Plan, stage: &Stage) -> Result<Outcome, StoryError> {
        let in_effect = if plan.percent == 0 { None } else { Some(self.change(plan).await?) };
        let base = self.base().await?;
        let tally = Tally::default();
        stage.set_scene(Scene {
            title: plan.title(),
            connections: plan.load.connections,
            tally: tally.clone(),
            base: base.clone(),
        });
        run(self.way, plan.load, tally.clone()).await;
        let answers = tally.answers();
        let after = self.readings().await?;
        let counts = Member::ALL.map(|member| {
            let served = Side::ALL.map(|side| base.served_since(&self.backends, member, side).iter().sum());
            let readings = (base.readings[member as usize], after[member as usize]);
            Count::between(member, readings, answers.by_side(member), served)
        });
        let mut faults: Vec<Fault> = counts.iter().flat_map(Count::faults).collect();
        let (found, asked) = (counts[plan.member as usize].weights, plan.weights());
        if found != asked {
            faults.push(Fault::Weights { member: plan.member, found, asked });
        }
        if let Some(reason) = answers.failure.clone() {
            faults.push(Fault::Failed { times: answers.failed, reason });
        }
        Ok(Outcome { plan, in_effect, counts, answers, faults })
    }

    /// Writes the weights into the file and waits until they are in effect.
    async fn change(&self, plan: Plan) -> Result<Duration, StoryError> {
        let prepared = self.file.prepare_weights(plan.member, plan.weights())?;
        let (meter, member, wanted) = (self.meter.clone(), plan.member, plan.weights());
        let wait = move || {
            let start = Instant::now();
            prepared.commit()?;
            while meter.read(member).is_none_or(|reading| reading.weights != wanted) {
                if start.elapsed() > CHANGE_TIMEOUT {
                    return Err(StoryError::NotInEffect);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            Ok(start.elapsed())
        };
        tokio::task::spawn_blocking(wait).await?
    }

    pub(super) async fn readings(&self) -> Result<[Reading; 2], StoryError> {
        let [a, b] = Member::ALL;
        let gone = |member: Member| StoryError::Gone(member.name());
        Ok([
            self.meter.read_calm(a).await.ok_or_else(|| gone(a))?,
            self.meter.read_calm(b).await.ok_or_else(|| gone(b))?,
        ])
    }

    pub(super) async fn base(&self) -> Result<Base, StoryError> {
        let readings = self.readings().await?;
        let served = Member::ALL.map(|member| Side::ALL.map(|side| self.backends.served(member, side)));
        Ok(Base { readings, served })
    }

    /// Looks at green before anything goes there, through its preview name.
    async fn verify(&self, member: Member, stage: &Stage, findings: &mut Findings) -> Result<(), StoryError> {
        let name = member.preview(Side::Green);
        let got = match self.way.get(&name, Mark::Uncounted).await {
            Ok(text) => text,
            Err(error) => error.to_string(),
        };
        let expected = match member {
            Member::A => Member::A.words(Side::Green).to_owned(),
            Member::B => answer(Side::Green, Side::Blue),
        };
        let reading = self.meter.read(member).ok_or(StoryError::Gone(member.name()))?;
        let mut faults = zero_weight(member, reading);
        if got != expected {
            faults.push(Fault::Preview { name: name.clone(), got: got.clone(), expected });
        }
        let style = if faults.is_empty() { Style::Green } else { Style::Red };
        let line =
            |lead: &str| Line::plain(format!("{lead}{name} at weight 0: ")).with(style, format!("{got:?}"));
        let rest = ", by its preview name; the split is not asked";
        let long = line("verify before release: ").with(Style::Plain, rest);
        stage.tell(Event { long, short: line("verify: ") });
        findings.previews.push((name, got));
        findings.faults.extend(faults);
        Ok(())
    }
}

/// Before its release nothing may ever have gone to green by weight.
fn zero_weight(member: Member, reading: Reading) -> Vec<Fault> {
    let times = reading.decided[Side::Green as usize];
    if times == 0 { Vec::new() } else { vec![Fault::ZeroWeight { member, side: Side::Green, times }] }
}
