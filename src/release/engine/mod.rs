//! The task that drives releases: looks at them a few times a second, records what is decided, and only then
//! carries it out.
//!
//! What a release is stands in the snapshot, where the one writer put it together with the weights; the engine
//! remembers samples, clocks and answers of gates (`run`). When it ends, traffic goes on with the weights applied
//! last.

mod archive;
mod commands;
mod facts;
mod look;
mod requests;
mod run;
mod show;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::machine::{self, BaselineEffect, Decision, GateState, restored, shift_failed};
use super::outside::{Asked, AskedMember, GateOutcome, Message, Notifier, Outside, run_hook};
use crate::model::release::Percent;
use crate::model::{Catalog, ServiceName};
use crate::state::release::{Release, ReleaseId};
use crate::state::requests::ChangeRequest;
use crate::state::{Actor, Cause, Journaling, Live, Order, SnapshotCell, Wish};
use archive::Archive;
pub use commands::{REASON_OF_FILE, member};
pub use requests::{Refused, RefusedKind, Reply, Request, SpecText};
use run::{Recording, Run};

/// How often releases are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Programs and requests that run at a time; further ones are refused.
const JOBS_MAX: usize = 64;

/// What the engine works with.
pub struct Parts {
    /// What is.
    pub snapshot: SnapshotCell,
    /// Live facts.
    pub live: Arc<Live>,
    /// The task of the one writer.
    pub changes: mpsc::Sender<ChangeRequest>,
    /// Whom notifications go to.
    pub notifier: Arc<Notifier>,
    /// The state directory.
    pub state: PathBuf,
}

/// What a job has to say when it ends.
enum Done {
    Gate { release: ReleaseId, name: String, asked: u64, outcome: GateOutcome },
    Hook,
}

/// Drives releases. There is one in a process.
pub struct Engine {
    parts: Parts,
    outside: Arc<Outside>,
    runs: BTreeMap<ReleaseId, Run>,
    jobs: JoinSet<Done>,
    archive: Archive,
    started: Instant,
}

/// Who acts when nobody says anything.
fn by_itself(why: &str) -> Cause {
    let actor = Actor { name: "(release)".to_owned(), ..Actor::default() };
    Cause { actor, at: unix_seconds(), why: why.to_owned() }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Engine {
    /// One that has not looked at anything yet.
    pub fn new(parts: Parts) -> Self {
        let archive = Archive::new(&parts.state);
        let (outside, started) = (Arc::default(), Instant::now());
        Self { parts, outside, runs: BTreeMap::new(), jobs: JoinSet::new(), archive, started }
    }

    /// Drives releases until `stop` is cancelled.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        self.restore().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.look().await,
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    self.answer(request).await;
                }
                Some(done) = self.jobs.join_next() => self.note(done.ok()),
            }
        }
    }

    /// What becomes of releases that were open when the daemon ended.
    async fn restore(&mut self) {
        let snapshot = self.parts.snapshot.load_full();
        for release in snapshot.releases.all().filter(|release| release.is_live()) {
            self.runs.entry(release.id.clone()).or_default().resample(release, &snapshot, Instant::now());
            if let Some(decision) = restored(release, self.now()) {
                let cause = by_itself(&decision.why);
                // A journal that cannot be written is a reason of its own to hold.
                let _ = self.carry_out(release, decision, cause).await;
            }
        }
    }

    fn now(&self) -> machine::Now {
        machine::Now { monotonic: self.started.elapsed(), unix_seconds: unix_seconds() }
    }

    /// The release as it is: as recorded, or as it would be if it could be.
    fn current(&self, release: &Arc<Release>) -> Arc<Release> {
        let unrecorded = self.runs.get(&release.id).and_then(|run| run.unrecorded.clone());
        unrecorded.map_or_else(|| Arc::clone(release), Arc::new)
    }

    fn note(&mut self, done: Option<Done>) {
        let Some(Done::Gate { release, name, asked, outcome }) = done else { return };
        let Some(run) = self.runs.get_mut(&release) else { return };
        if run.asked == asked {
            let state = match outcome {
                GateOutcome::Passed => GateState::Passed,
                GateOutcome::Failed(words) => GateState::Failed(words),
                GateOutcome::Inconclusive(words) => GateState::Inconclusive(words),
            };
            run.gates.insert(name, state);
        }
    }

    /// Records a decision, carries it out, and does what follows from it. When it cannot be recorded, nothing is
    /// done and the release holds, in memory.
    async fn carry_out(
        &mut self,
        current: &Release,
        mut decision: Decision,
        cause: Cause,
    ) -> Result<(), Refused> {
        let moves = !decision.weights.is_empty() || decision.baseline != BaselineEffect::None;
        if moves || decision.next != *current {
            decision.next.decided.clone_from(&decision.why);
            let changed = self.change(order_of(&decision, cause)).await;
            let now = self.now();
            let run = self.runs.entry(current.id.clone()).or_default();
            match changed {
                Ok(recording) => run.note_changed(recording),
                Err(refused) => {
                    run.put_off(shift_failed(current, &refused.words, now), Instant::now());
                    return Err(refused);
                }
            }
        }
        tracing::info!(release = %decision.next.id, phase = decision.next.phase.word(), "{}", decision.why);
        super::metrics::count(current, &decision);
        let snapshot = self.parts.snapshot.load_full();
        if decision.resample {
            let run = self.runs.entry(current.id.clone()).or_default();
            run.resample(&decision.next, &snapshot, Instant::now());
        }
        self.ask_gates(&decision, &snapshot.catalog);
        self.run_hooks(&decision, &snapshot.catalog);
        for (notice, words) in &decision.notices {
            let asked = asked(&decision.next, decision.next.applied, &snapshot.catalog);
            let message = Message { notice: *notice, asked, words: words.clone() };
            for whom in &decision.next.spec.notify {
                self.parts.notifier.notify(whom, &message);
            }
        }
        Ok(())
    }

    async fn change(&self, order: Order) -> Result<Recording, Refused> {
        let stopping = || Refused::new(RefusedKind::Failed, "teal is stopping: nothing is changed any more");
        let (reply, result) = oneshot::channel();
        let sent = self.parts.changes.send(ChangeRequest::Order(order, reply)).await;
        sent.map_err(|_| stopping())?;
        let outcome = result.await.map_err(|_| stopping())?.map_err(Refused::from)?;
        Ok(if outcome.unrecorded.is_none() { Recording::Done } else { Recording::Owed })
    }

    fn ask_gates(&mut self, decision: &Decision, catalog: &Catalog) {
        if decision.gates.is_empty() {
            return;
        }
        let (release, folder) = (&decision.next, catalog.settings.release.gates_dir.clone());
        let asked_of = Arc::new(asked(release, release.applied + 1, catalog));
        let is_busy = self.jobs.len() + decision.gates.len() > JOBS_MAX;
        let run = self.runs.entry(release.id.clone()).or_default();
        run.asked += 1;
        run.gates.clear();
        for name in &decision.gates {
            let known = release.spec.gates.get(name).cloned();
            let Some(gate) = known.filter(|_| !is_busy) else {
                let words = "too many programs and requests of releases run already".to_owned();
                run.gates.insert(name.clone(), GateState::Inconclusive(words));
                continue;
            };
            run.gates.insert(name.clone(), GateState::Running);
            let (id, asked, name) = (release.id.clone(), run.asked, name.clone());
            let (outside, asked_of, folder) =
                (Arc::clone(&self.outside), Arc::clone(&asked_of), folder.clone());
            self.jobs.spawn(async move {
                let outcome = outside.run_gate(&gate, &asked_of, &folder).await;
                Done::Gate { release: id, name, asked, outcome }
            });
        }
    }

    /// One after the other; one that fails is said, and changes nothing.
    fn run_hooks(&mut self, decision: &Decision, catalog: &Catalog) {
        if decision.hooks.is_empty() {
            return;
        }
        let (hooks, folder) = (decision.hooks.clone(), catalog.settings.release.hooks_dir.clone());
        let asked = asked(&decision.next, decision.next.applied, catalog);
        self.jobs.spawn(async move {
            for program in hooks {
                match run_hook(&folder, &program, &asked).await {
                    Ok(()) => tracing::info!(release = %asked.release, program, "hook done"),
                    Err(words) => tracing::warn!(release = %asked.release, program, "hook failed: {words}"),
                }
            }
            Done::Hook
        });
    }
}

/// The order that carries a decision out, in one swap.
fn order_of(decision: &Decision, cause: Cause) -> Order {
    let members = || decision.next.members.iter();
    let moved = |name: &ServiceName| {
        let weights = decision.weights.get(name)?.clone();
        let service = name.clone();
        // An open release keeps its weights, whatever the file says meanwhile.
        let is_open = decision.next.is_open();
        Some(if is_open {
            Wish::Weights { service, colors: weights }
        } else {
            Wish::Restore { service, weights }
        })
    };
    let wishes = match decision.baseline {
        BaselineEffect::None => decision.weights.keys().filter_map(moved).collect(),
        BaselineEffect::New => members()
            .map(|m| Wish::Baseline { service: m.service.clone(), weights: m.weights.clone() })
            .collect(),
        BaselineEffect::Old => members()
            .map(|m| Wish::Baseline { service: m.service.clone(), weights: m.before.clone() })
            .collect(),
    };
    let journaling = if decision.even_unrecorded { Journaling::Emergency } else { Journaling::Required };
    Order { wishes, release: Some(Box::new(decision.next.clone())), cause, journaling }
}

/// What somebody outside is told of a release at a stage, counted from 1.
fn asked(release: &Release, stage: usize, catalog: &Catalog) -> Asked {
    let step = stage.checked_sub(1).and_then(|index| release.stages.get(index)).map(|stage| stage.step);
    let percent =
        step.and_then(|step| release.spec.steps.get(step)).map_or(Percent::NONE, |step| step.percent);
    let zone = catalog.settings.dns.zones.first().map_or("local", |zone| zone.as_str());
    let members = release.members.iter().map(|member| AskedMember {
        service: member.service.clone(),
        from: member.from.clone(),
        to: member.to.clone(),
        preview: format!("{}.{}.{zone}", member.to, member.service),
    });
    Asked {
        release: release.id.clone(),
        app: release.app().clone(),
        version: release.spec.version.clone(),
        step: step.map_or(0, |step| step + 1),
        percent,
        members: members.collect(),
    }
}
