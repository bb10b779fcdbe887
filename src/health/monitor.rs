//! Runs the checks of the current snapshot: follows it, starts what is due, notes the outcomes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::agenda::{Agenda, Random, delay, first_delay};
use super::ejection::{self, Change};
use super::outcome::{Failure, Outcome};
use super::slow_start::{self, Look};
use super::targets::{self, Question, Target, questions};
use super::{http, tcp, verdict};
use crate::model::{CheckKind, OnAllDown};
use crate::state::{
    ColorState, EndpointLive, HealthState, Live, PortState, Problems, ServiceState, Snapshot, SnapshotCell,
};
use crate::telemetry::HistogramCell;
use crate::telemetry::names::HEALTH_CHECK_DURATION;

/// How often it looks for a new snapshot.
const FOLLOW: Duration = Duration::from_millis(100);
/// Checks that are due within so long begin together, so that thousands do not wake the thread each.
const TOGETHER: Duration = Duration::from_millis(10);
/// Prefix of the subjects of problems with services of which everything is down.
const SUBJECT: &str = "health ";
/// The subject of the problem that this host cannot ask.
const OWN_SUBJECT: &str = "checks";
/// That problem is over when it has not occurred for so long.
const OWN_FAULT_OVER: Duration = Duration::from_secs(10);

/// What a monitor works with.
pub struct Parts {
    /// Says what is to be checked.
    pub snapshot: SnapshotCell,
    /// Where the series are.
    pub live: Arc<Live>,
    /// Where it says that everything of a service is down.
    pub problems: Problems,
    /// Checks that may run at once, each with a descriptor; at least 1.
    pub checks_max: usize,
    /// What the spreading of checks begins with; differs from host to host.
    pub seed: u64,
}

/// Tells when every endpoint of the first snapshot has been checked once.
#[derive(Debug, Clone)]
pub struct FirstRound(watch::Receiver<bool>);

impl FirstRound {
    /// Returns once the round is over, or its monitor has ended.
    pub async fn over(&mut self) {
        // An error says that the monitor has ended.
        let _ = self.0.wait_for(|over| *over).await;
    }
}

/// Runs checks. One in a process: it alone writes the health of endpoints.
pub struct Monitor {
    parts: Parts,
    durations: Durations,
    random: Random,
    agenda: Agenda,
    probes: HashMap<u64, Probe>,
    ids: HashMap<Question, u64>,
    next_id: u64,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    generation: Option<u64>,
    first_round: watch::Sender<bool>,
    /// Whether health or the snapshot changed since problems were looked for.
    changed: bool,
    own_fault: Option<Instant>,
    /// Whether it has looked at the first snapshot's endpoints.
    look: Look,
}

/// A question that is asked again and again.
struct Probe {
    question: Question,
    targets: Vec<Target>,
    /// When it is asked next; absent while it is being asked.
    due: Option<Instant>,
    asked: Asked,
}

/// How often a question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Never,
    Before,
}

/// A check that is over.
struct Done {
    id: u64,
    started: Instant,
    outcome: Outcome,
}

/// `health_check_duration_seconds{kind,result}`
struct Durations {
    live: Arc<Live>,
    cells: HashMap<(&'static str, &'static str), HistogramCell>,
}

impl Durations {
    fn observe(&mut self, kind: &'static str, result: &'static str, took: Duration) {
        let cell = self.cells.entry((kind, result)).or_insert_with(|| {
            self.live.series().histogram(HEALTH_CHECK_DURATION, &[("kind", kind), ("result", result)])
        });
        cell.observe(took);
    }
}

impl Monitor {
    /// A monitor that has checked nothing yet.
    pub fn new(parts: Parts) -> (Self, FirstRound) {
        let (first_round, over) = watch::channel(false);
        let monitor = Self {
            durations: Durations { live: Arc::clone(&parts.live), cells: HashMap::new() },
            random: Random(parts.seed),
            agenda: Agenda::default(),
            probes: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            running: FuturesUnordered::new(),
            generation: None,
            first_round,
            changed: false,
            own_fault: None,
            look: Look::First,
            parts,
        };
        (monitor, FirstRound(over))
    }

    /// Checks until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= look_at {
                self.follow(now);
                self.sweep(now);
                self.report(now);
                look_at = now + FOLLOW;
            }
            self.start_due(now);
            let has_room = self.running.len() < self.parts.checks_max;
            let due = self.agenda.next().filter(|_| has_room).map(|due| due.max(now + TOGETHER));
            let wake = due.map_or(look_at, |due| due.min(look_at));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.running.next(), if !self.running.is_empty() => self.note(&done),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Takes up what a new snapshot has, and lets go of what it has not.
    fn follow(&mut self, now: Instant) {
        let snapshot = self.parts.snapshot.load_full();
        if self.generation.replace(snapshot.generation) == Some(snapshot.generation) {
            return;
        }
        self.changed = true;
        let wanted = questions(&snapshot);
        self.forget(&wanted);
        for (question, targets) in wanted {
            match self.ids.get(&question).and_then(|id| Some((*id, self.probes.get_mut(id)?))) {
                None => self.add(question, targets, now),
                Some((id, probe)) => {
                    let is_new =
                        targets.iter().any(|target| target.live.health.state() == HealthState::Pending);
                    probe.targets = targets;
                    if is_new && probe.due.is_some_and(|due| due > now) {
                        probe.due = Some(now);
                        self.agenda.add(now, id);
                    }
                }
            }
        }
        self.tell_first_round();
    }

    fn add(&mut self, question: Question, targets: Vec<Target>, now: Instant) {
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(question.clone(), id);
        self.probes.insert(id, Probe { question, targets, due: Some(now), asked: Asked::Never });
        self.agenda.add(now, id);
    }

    /// Drops the questions that are not wanted any more.
    fn forget(&mut self, wanted: &HashMap<Question, Vec<Target>>) {
        let asked = self.probes.values().flat_map(|probe| &probe.targets);
        targets::forget(asked, wanted.values().flatten());
        self.ids.retain(|question, _| wanted.contains_key(question));
        self.probes.retain(|_, probe| wanted.contains_key(&probe.question));
    }

    /// Ejects endpoints to which connections fail, takes back those whose time is over, and lets shares grow.
    fn sweep(&mut self, now: Instant) {
        let snapshot = self.parts.snapshot.load();
        for service in snapshot.services.values() {
            for color in service.ports.iter().flat_map(|port| &port.colors) {
                let endpoints = color.endpoints.iter().map(|endpoint| &*endpoint.live);
                let policy = &service.service.policy;
                ejection::sweep(endpoints, policy.outlier.as_ref(), now, |endpoint, change| {
                    self.changed = true;
                    log_ejection((service, color), endpoint, change);
                });
                slow_start::sweep(&color.endpoints, policy.slow_start, now, self.look);
            }
        }
        self.look = Look::Later;
    }

    fn start_due(&mut self, now: Instant) {
        while self.running.len() < self.parts.checks_max {
            let Some((due, id)) = self.agenda.pop_due(now) else { return };
            let Some(probe) = self.probes.get_mut(&id) else { continue };
            if probe.due != Some(due) {
                // It was put to another time.
                continue;
            }
            probe.due = None;
            self.running.push(Box::pin(ask(id, probe.question.clone())));
        }
    }

    fn note(&mut self, done: &Done) {
        let Some(probe) = self.probes.get_mut(&done.id) else { return };
        let check = &probe.question.check;
        let wait = match probe.asked {
            Asked::Never => first_delay(check, self.random.draw()),
            Asked::Before => delay(check, self.random.draw()),
        };
        let due = done.started + wait;
        probe.due = Some(due);
        self.agenda.add(due, done.id);
        if let Outcome::NotAsked(error) = &done.outcome {
            self.own_fault = Some(Instant::now());
            let message = format!("cannot check endpoints: {error}; their health stays as it was");
            self.parts.problems.set(OWN_SUBJECT, message);
            return;
        }
        let Some(result) = done.outcome.result() else { return };
        let word = if result == verdict::Result::Passed { "passed" } else { "failed" };
        self.durations.observe(check.kind.word(), word, done.started.elapsed());
        for target in &probe.targets {
            let before = target.live.health.verdict();
            let after = verdict::after(before, result, check);
            target.live.health.set(after);
            if result == verdict::Result::Passed && target.live.outlier.is_ejected() {
                ejection::end(&target.live, Instant::now());
                self.changed = true;
                tracing::info!(service = %target.service, color = %target.color, endpoint = %target.live.address,
                    "endpoint is used again: a check passed");
            }
            if before.state != after.state {
                self.changed = true;
                target.color_live.health_transitions(after.state).fetch_add(1, Ordering::Relaxed);
                log(target, (before.state, after.state), &done.outcome);
            }
        }
        if probe.asked == Asked::Never {
            probe.asked = Asked::Before;
            self.tell_first_round();
        }
    }

    /// Tells once that every question was asked once; what is down shows in the status by then.
    fn tell_first_round(&mut self) {
        let is_over = || self.probes.values().all(|probe| probe.asked == Asked::Before);
        if !*self.first_round.borrow() && is_over() {
            self.report(Instant::now());
            self.first_round.send_replace(true);
        }
    }

    /// Sets and clears the problems that status shows.
    fn report(&mut self, now: Instant) {
        if self.own_fault.is_some_and(|at| now.saturating_duration_since(at) >= OWN_FAULT_OVER) {
            self.own_fault = None;
            self.parts.problems.clear(OWN_SUBJECT);
        }
        if std::mem::take(&mut self.changed) {
            report_down(&self.parts.snapshot.load(), &self.parts.problems);
        }
    }
}

/// Notes each service of which everything with weight is down.
fn report_down(snapshot: &Snapshot, problems: &Problems) {
    let mut subjects = Vec::new();
    for service in snapshot.services.values() {
        for port in service.ports.iter().filter(|port| port.is_down()) {
            let subject = format!("{SUBJECT}{}:{}", service.service.name, port.port.listen);
            problems.set(&subject, down_message(service, port));
            subjects.push(subject);
        }
    }
    problems.clear_others(SUBJECT, &subjects);
}

fn down_message(service: &ServiceState, port: &PortState) -> String {
    let weighted = port.colors.iter().filter(|color| !color.weight.is_zero());
    let endpoints = weighted.flat_map(|color| &color.endpoints);
    let count = endpoints.filter(|endpoint| endpoint.is_enabled()).count();
    if count == 0 {
        return "every endpoint with weight is disabled by hand and gets no connection: `teal endpoint enable` \
                takes one back"
            .to_owned();
    }
    let what = match service.service.policy.on_all_down {
        OnAllDown::Try => "are tried all the same (on_all_down = \"try\")",
        OnAllDown::Reject => "get no connection (on_all_down = \"reject\")",
    };
    format!(
        "every endpoint with weight is down ({count}), as checks or failed connections say; they {what}: mend them, or the check"
    )
}

async fn ask(id: u64, question: Question) -> Done {
    let started = Instant::now();
    let Question { address, check } = &question;
    let asked = async {
        match &check.kind {
            CheckKind::Tcp => tcp::check(*address).await,
            CheckKind::Http(http) => http::check(*address, http).await,
        }
    };
    let answer = tokio::time::timeout(check.timeout, asked).await.unwrap_or(Err(Failure::Timeout));
    Done { id, started, outcome: Outcome::of(answer) }
}

fn log_ejection((service, color): (&ServiceState, &ColorState), endpoint: &EndpointLive, change: Change) {
    let (service, color_name, endpoint) = (&service.service.name, &color.name, endpoint.address);
    match change {
        Change::Ejected(length) => {
            color.live.ejections().fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%service, color = %color_name, %endpoint, ?length,
                "endpoint is ejected: connections to it failed");
        }
        Change::Back => tracing::info!(%service, color = %color_name, %endpoint, "endpoint is used again"),
    }
}

/// One line for each change, and for what is down from the beginning.
fn log(target: &Target, (before, after): (HealthState, HealthState), outcome: &Outcome) {
    let Target { service, port, color, live, .. } = target;
    let endpoint = live.address;
    match (outcome, before) {
        (Outcome::Failed(failure), _) => {
            tracing::warn!(%service, port, %color, %endpoint, "endpoint is {}: {failure}", after.label());
        }
        (_, HealthState::Pending) => {
            tracing::debug!(%service, port, %color, %endpoint, "endpoint is healthy");
        }
        _ => tracing::info!(%service, port, %color, %endpoint, "endpoint is healthy again"),
    }
}
