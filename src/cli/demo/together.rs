//! The third release of the demo: both services at one instant, by `teal release`, and with lanes, so that no client
//! ever meets a new service that calls an old one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::Method;

use super::cast::{Member, Side, answer};
use super::client::Mark;
use super::frame::Scene;
use super::measure::{Count, Fault};
use super::paint::{Line, Style};
use super::report::Findings;
use super::stage::Stage;
use super::step::Event;
use super::story::{StoryError, World};
use super::traffic::{Answers, Load, Tally, run};
use crate::admin::releases::{SpecRequest, VerbRequest};
use crate::admin::report::ReleasesReport;
use crate::cli::client::{ClientError, request, request_with};
use crate::release::report::ReleaseReport;

/// Shares that the release goes through: at 0 % the new sides are reached by their preview names only.
const PERCENTS: [u8; 4] = [0, 25, 50, 100];
/// How long a word may take to be carried out.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Steps end when the story says so, and are not judged: it counts itself.
const SPEC: &str = r#"[release]
app = "shop"
to = "blue"
version = "3.0"
reason = "both at one instant"
[[release.steps]]
percent = 0
bake = "1h"
[[release.steps]]
percent = 25
bake = "1h"
[[release.steps]]
percent = 50
bake = "1h"
[[release.steps]]
percent = 100
bake = "1h"
[release.judgement]
enabled = false
"#;

/// The control socket, as every command uses it.
#[derive(Debug, Clone)]
pub struct Control(pub PathBuf);

impl Control {
    /// Begins the release.
    async fn start(&self) -> Result<(), StoryError> {
        let (name, text) = ("(demo)".to_owned(), SPEC.to_owned());
        let body = SpecRequest { name, text, why: String::new(), hint: None };
        self.ask(move |socket| request_with::<ReleaseReport>(&socket, Method::POST, "/v1/releases", &body))
            .await
    }

    async fn say(&self, verb: &str) -> Result<(), StoryError> {
        let path = format!("/v1/releases/shop/{verb}");
        let body = VerbRequest { why: "the demo".to_owned(), no_wait: true, ..VerbRequest::default() };
        self.ask(move |socket| request_with::<ReleaseReport>(&socket, Method::POST, &path, &body)).await
    }

    /// Waits until the release is in this phase, with so many shifts behind it.
    async fn wait(&self, phase: &'static str, stages: usize) -> Result<(), StoryError> {
        let end = Instant::now() + TIMEOUT;
        let look = move |socket: PathBuf| loop {
            let report: ReleasesReport = request(&socket, Method::GET, "/v1/releases?release=shop")?;
            let is_there = report.releases.iter().any(|r| r.phase == phase && r.stages.0 == stages);
            if is_there || Instant::now() > end {
                return Ok::<_, ClientError>(is_there);
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        let socket = self.0.clone();
        let is_there = tokio::task::spawn_blocking(move || look(socket)).await??;
        if is_there { Ok(()) } else { Err(StoryError::NotInEffect) }
    }

    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(PathBuf) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<(), StoryError> {
        let socket = self.0.clone();
        tokio::task::spawn_blocking(move || ask(socket)).await??;
        Ok(())
    }
}

/// A step of the release, and what clients got.
#[derive(Debug, Clone)]
pub struct Together {
    percent: u8,
    connections: u32,
    answers: Answers,
    /// What is not as promised.
    pub faults: Vec<Fault>,
}

impl Together {
    /// Answers in which old and new met.
    fn mixed(&self) -> u64 {
        let whole = [answer(Side::Blue, Side::Blue), answer(Side::Green, Side::Green)];
        self.answers.texts.iter().filter(|(text, _)| !whole.contains(text)).map(|(_, times)| times).sum()
    }

    /// In one line.
    pub fn line(&self) -> Line {
        let times = |side| self.answers.texts.get(&answer(side, side)).copied().unwrap_or(0);
        let (new, old) = (times(Side::Blue), times(Side::Green));
        let head = format!("both {:>3}%: ", self.percent);
        let rest = format!(
            "{new} all new, {old} all old of {}, {} mixed, {} failed; ",
            self.connections,
            self.mixed(),
            self.answers.failed
        );
        let verdict = match self.faults.first() {
            None => (Style::Green, "exact".to_owned()),
            Some(fault) => (Style::Red, format!("NOT EXACT: {fault}")),
        };
        Line::plain(head + &rest).with(verdict.0, verdict.1)
    }

    fn event(&self) -> Event {
        Event { long: self.line(), short: self.line() }
    }
}

impl World {
    /// Plays the release of both services.
    pub(super) async fn play_together(
        &mut self,
        stage: &Stage,
        findings: &mut Findings,
    ) -> Result<(), StoryError> {
        let control = self.control.clone();
        control.start().await?;
        for (number, percent) in PERCENTS.into_iter().enumerate() {
            self.wait_for_enter(stage, &format!("both services at {percent} % in one release")).await;
            if number > 0 {
                control.say("next").await?;
            }
            control.wait("baking", number + 1).await?;
            if percent == 0 {
                self.verify_chain(stage, findings).await?;
            } else {
                let load = Load { connections: self.pace.connections[number], spread: self.pace.spread };
                let step = self.step_together(percent, load, stage).await?;
                stage.tell(step.event());
                findings.together.push(step);
            }
            tokio::time::sleep(self.pace.rest).await;
        }
        control.say("next").await?;
        control.wait("awaiting_confirm", PERCENTS.len()).await?;
        control.say("confirm").await
    }

    async fn step_together(&self, percent: u8, load: Load, stage: &Stage) -> Result<Together, StoryError> {
        let (base, tally) = (self.base().await?, Tally::default());
        let title = format!("both services at {percent} % in one release; {} connections", load.connections);
        stage.set_scene(Scene {
            title,
            connections: load.connections,
            tally: tally.clone(),
            base: base.clone(),
        });
        run(self.way, load, tally.clone()).await;
        let (answers, after) = (tally.answers(), self.readings().await?);
        let served = Side::ALL.map(|side| base.served_since(&self.backends, Member::B, side).iter().sum());
        let readings = (base.readings[Member::B as usize], after[Member::B as usize]);
        let mut faults = Count::between(Member::B, readings, answers.by_side(Member::B), served).faults();
        let mut together = Together { percent, connections: load.connections, answers, faults: Vec::new() };
        if together.mixed() > 0 {
            faults.push(Fault::Mixed { times: together.mixed() });
        }
        if let Some(reason) = together.answers.failure.clone() {
            faults.push(Fault::Failed { times: together.answers.failed, reason });
        }
        together.faults = faults;
        Ok(together)
    }

    /// Walks the whole new chain through the front service's preview name, while everybody else is on the old one.
    async fn verify_chain(&self, stage: &Stage, findings: &mut Findings) -> Result<(), StoryError> {
        let name = Member::B.preview(Side::Blue);
        let got = self.way.get(&name, Mark::Uncounted).await.unwrap_or_else(|error| error.to_string());
        let expected = answer(Side::Blue, Side::Blue);
        let is_whole = got == expected;
        let style = if is_whole { Style::Green } else { Style::Red };
        let line = Line::plain(format!("verify: {name} at 0%: ")).with(style, format!("{got:?}"));
        let rest = ", the whole new chain: its calls have the release's lane";
        stage.tell(Event { long: line.clone().with(Style::Plain, rest), short: line });
        if !is_whole {
            findings.faults.push(Fault::Preview { name: name.clone(), got: got.clone(), expected });
        }
        findings.previews.push((name, got));
        Ok(())
    }
}
