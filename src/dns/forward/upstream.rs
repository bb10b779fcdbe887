//! One upstream: how it has done, how it is asked, and what is counted about it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::health::{Change, Health};
use super::lane::Lane;
use super::policy::{Outcome, PATIENCE};
use super::question::Edns;
use crate::telemetry::names::{
    DNS_UPSTREAM_FAILURES, DNS_UPSTREAM_IGNORED, DNS_UPSTREAM_QUERIES, DNS_UPSTREAM_RTT, DNS_UPSTREAM_UP,
};
use crate::telemetry::{CounterCell, HistogramCell, Series};

/// A server that does not know EDNS is asked without it for so long.
const EDNS_REST: Duration = Duration::from_secs(300);

/// Why a packet from an upstream is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It is no response, or too short for one.
    Malformed,
    /// Nothing with its ID was asked on this socket, or it was answered already.
    Unasked,
    /// Something else was asked with its ID.
    Question,
}

/// Why an upstream did not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It did not answer in time.
    Timeout,
    /// It cannot be reached, or ended the stream.
    Unreachable,
    /// It said SERVFAIL.
    ServFail,
    /// It does not resolve the name for teal.
    Refused,
}

impl Failure {
    const ALL: [Self; 4] = [Self::Timeout, Self::Unreachable, Self::ServFail, Self::Refused];

    fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::ServFail => "servfail",
            Self::Refused => "refused",
        }
    }

    /// In words, for status.
    fn describe(self) -> &'static str {
        match self {
            Self::Timeout => "did not answer in time",
            Self::Unreachable => "cannot be reached",
            Self::ServFail => "answered SERVFAIL",
            Self::Refused => "refuses to resolve",
        }
    }
}

/// A server that questions are sent to. Lives as long as a group names it or a question waits for it.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    state: Mutex<State>,
    cells: Cells,
    series: Arc<Series>,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    /// Where the next question leaves from.
    lane: Option<Arc<Lane>>,
    lanes_open: usize,
    without_edns_until: Option<Instant>,
    last_failure: Option<(Failure, Instant)>,
}

/// What is counted, resolved once.
#[derive(Debug)]
struct Cells {
    udp: CounterCell,
    tcp: CounterCell,
    rtt: HistogramCell,
    failures: [CounterCell; Failure::ALL.len()],
    ignored: [CounterCell; 3],
}

/// How an upstream does, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether it answers, as far as is known.
    pub is_up: bool,
    /// Whether it sends questions back to teal.
    pub is_looping: bool,
    /// The smoothed time of its answers.
    pub rtt: Option<Duration>,
    /// What went wrong last, and how long ago.
    pub last_failure: Option<(&'static str, Duration)>,
}

impl Upstream {
    /// One that nothing is known of.
    pub fn new(address: SocketAddr, series: &Arc<Series>) -> Arc<Self> {
        let upstream = address.to_string();
        let counter = |family, name, value| series.counter(family, &[("upstream", &upstream), (name, value)]);
        let cells = Cells {
            udp: counter(DNS_UPSTREAM_QUERIES, "transport", "udp"),
            tcp: counter(DNS_UPSTREAM_QUERIES, "transport", "tcp"),
            rtt: series.histogram(DNS_UPSTREAM_RTT, &[("upstream", &upstream)]),
            failures: Failure::ALL.map(|reason| counter(DNS_UPSTREAM_FAILURES, "reason", reason.label())),
            ignored: ["malformed", "unasked", "question"]
                .map(|reason| counter(DNS_UPSTREAM_IGNORED, "reason", reason)),
        };
        let new = Self { address, state: Mutex::default(), cells, series: Arc::clone(series) };
        new.show(true);
        Arc::new(new)
    }

    /// Takes its series away: nobody names it any more.
    pub fn retire(&self) {
        self.series.remove(&[("upstream", &self.address.to_string())]);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, is_up: bool) {
        let labels = [("upstream", &*self.address.to_string())];
        self.series.set_gauge(DNS_UPSTREAM_UP, &labels, f64::from(u8::from(is_up)));
    }

    /// How it has done, to be put in order with others.
    pub fn health(&self) -> Health {
        self.state().health.clone()
    }

    /// For status.
    pub fn condition(&self, now: Instant) -> Condition {
        let state = self.state();
        Condition {
            is_up: state.health.is_up(),
            is_looping: state.health.is_looping(now),
            rtt: state.health.rtt(),
            last_failure: state
                .last_failure
                .map(|(failure, at)| (failure.describe(), now.saturating_duration_since(at))),
        }
    }

    /// Whether a copy of a question should go to it, see [`Health::take_probe`].
    pub fn take_probe(&self, now: Instant) -> bool {
        self.state().health.take_probe(now)
    }

    /// How it is to be asked.
    pub fn edns(&self, now: Instant) -> Edns {
        let plain = self.state().without_edns_until.is_some_and(|until| now < until);
        if plain { Edns::Without } else { Edns::With }
    }

    /// Counts a datagram that was sent.
    pub fn asked_over_udp(&self) {
        self.cells.udp.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stream that was begun.
    pub fn asked_over_tcp(&self) {
        self.cells.tcp.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a packet that answers nothing.
    pub fn ignored(&self, reason: Ignored) {
        self.cells.ignored[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// It answered over UDP after this time.
    pub fn measured(&self, took: Duration, now: Instant) {
        self.cells.rtt.observe(took);
        self.state().health.measured(took, now);
    }

    /// What came of a question asked at `asked_at`.
    pub fn came(&self, outcome: Outcome, asked_at: Instant, now: Instant) {
        match outcome {
            Outcome::Answered | Outcome::Truncated => self.learn(None, Health::succeeded, now),
            Outcome::NoEdns => {
                self.state().without_edns_until = Some(now + EDNS_REST);
                self.learn(None, Health::succeeded, now);
            }
            Outcome::Failed => self.learn(Some(Failure::ServFail), Health::succeeded, now),
            Outcome::Unwilling => self.learn(Some(Failure::Refused), |health| health.refused(now), now),
            Outcome::Unreachable => {
                self.learn(Some(Failure::Unreachable), |health| health.failed(asked_at, now), now);
            }
        }
    }

    /// It has not answered within the patience.
    pub fn timed_out(&self, now: Instant) {
        let asked_at = now.checked_sub(PATIENCE).unwrap_or(now);
        self.learn(Some(Failure::Timeout), |health| health.failed(asked_at, now), now);
    }

    /// Whether a question has come back to teal since it last answered one.
    pub fn has_looped(&self) -> bool {
        self.state().health.has_looped()
    }

    /// A question that it was asked has come back to teal.
    pub fn looped(&self, now: Instant) {
        self.state().health.looped(now);
    }

    fn learn(&self, failure: Option<Failure>, learn: impl FnOnce(&mut Health) -> Change, now: Instant) {
        let mut state = self.state();
        if let Some(failure) = failure {
            self.cells.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
            state.last_failure = Some((failure, now));
        }
        let change = learn(&mut state.health);
        drop(state);
        let upstream = self.address;
        match change {
            Change::None => return,
            Change::Down => tracing::warn!(%upstream, "an upstream does not answer; others are asked first"),
            Change::Up => tracing::info!(%upstream, "an upstream answers again"),
        }
        self.show(change == Change::Up);
    }

    /// The lane that questions leave by, if it may take one more.
    pub fn lane(&self, now: Instant) -> Option<Arc<Lane>> {
        let state = self.state();
        let lane = state.lane.as_ref()?;
        let is_spent = lane.is_spent(now);
        // More sockets than that make nothing safer.
        let may_renew = state.lanes_open < super::lane::LANES_MAX;
        let is_over = lane.is_closed() || (is_spent && may_renew);
        (!is_over).then(|| Arc::clone(lane))
    }

    /// Questions leave by this one from now on.
    pub fn use_lane(&self, lane: &Arc<Lane>) {
        let mut state = self.state();
        state.lanes_open += 1;
        state.lane = Some(Arc::clone(lane));
    }

    /// A lane is no more.
    pub fn forget_lane(&self, lane: &Arc<Lane>) {
        let mut state = self.state();
        state.lanes_open -= 1;
        if state.lane.as_ref().is_some_and(|used| Arc::ptr_eq(used, lane)) {
            state.lane = None;
        }
    }
}
