//! Names of others: questions that upstreams are asked, for clients that wait.
//!
//! The sockets hand over what [`super::answer()`] does not know itself ([`super::later`]); replies leave later,
//! from the socket or the connection that was asked. What decides is pure: [`policy`] (whom to ask next), [`health`]
//! (who comes first), [`message`] (what an answer is and what a client sees of it), [`rate`], [`system`].
//! `turn` is one step with everything locked; this file moves packets and keeps time.

mod flights;
pub mod health;
mod lane;
mod looping;
pub mod message;
mod metrics;
mod outbox;
pub mod policy;
pub mod question;
pub mod rate;
mod recall;
mod routes;
mod stream;
pub mod system;
mod turn;
mod upstream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::answer::{Scope, Verdict};
use super::batch::Received as Batch;
use super::cache::{Cache, Kept};
use super::later::{Forward, Outside, WayBack};
use super::metrics::DnsMetrics;
use super::reply::{Rcode, Transport};
use crate::model::{CacheSettings, ForwardSettings, HostNetworks};
use crate::state::{Problems, Snapshot};
use crate::telemetry::Series;

use flights::Flights;
use lane::{Asked, Lane};
use looping::LoopTests;
use metrics::ForwardMetrics;
use outbox::Outbox;
use question::{KEY_OCTETS_MAX, Query};
use rate::RateLimit;
use routes::{Material, Own, Routes};
use turn::{PROBLEMS, Turn, subject};
pub use upstream::Condition;
use upstream::Upstream;

/// Streams to upstreams that are open at once; further questions wait for one within their time.
const STREAMS_MAX: usize = 32;
/// Outboxes kept for the next step.
const SPARE_MAX: usize = 4;
/// The problem of having nobody to ask.
const NOBODY: &str = "dns upstreams";

/// Asks upstreams.
#[derive(Debug)]
pub struct Forwarder {
    inner: Mutex<Inner>,
    /// The clock has to look again.
    wake: Notify,
    /// Nobody waits any more, and every reply has been sent.
    idle: Notify,
    streams: Semaphore,
    metrics: ForwardMetrics,
    dns_metrics: DnsMetrics,
    series: Arc<Series>,
    problems: Problems,
}

/// Everything that changes.
struct Inner {
    flights: Flights,
    cache: Cache,
    routes: Routes,
    settings: ForwardSettings,
    /// The snapshot that the routes are made of.
    generation: Option<u64>,
    system: Vec<SocketAddr>,
    rates: RateLimit,
    loops: LoopTests,
    random: StdRng,
    /// When the clock looks next.
    wake_at: Option<Instant>,
    /// Buffers, used again and again.
    packet: Vec<u8>,
    batches: [Option<Batch>; 2],
    spare: Vec<Outbox>,
    /// Outboxes whose replies are being sent.
    outboxes_under_way: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("flights", &self.flights).finish_non_exhaustive()
    }
}

impl Inner {
    fn random_id(&mut self) -> u16 {
        self.random.random()
    }

    fn is_idle(&self) -> bool {
        self.flights.waiting() == 0 && self.outboxes_under_way == 0
    }

    fn keep_outbox(&mut self, outbox: Outbox) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(outbox);
        }
    }

    fn random(&mut self) -> u128 {
        self.random.random()
    }
}

/// One upstream, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// The domain that it is asked for; none for all that have no upstreams of their own.
    pub domain: Option<String>,
    /// How it does.
    pub condition: Condition,
}

impl Forward for Arc<Forwarder> {
    fn forward(&self, query: &Outside<'_>, way_back: WayBack, out: &mut Vec<u8>) -> Option<(Scope, Rcode)> {
        let mut turn = Turn::begin(self, Instant::now());
        let snapshot = query.snapshot;
        self.follow(turn.inner(), snapshot, query.host);
        let asked = Query::read(query.packet, query.transport)?;
        if let Some(rcode) = turn.recall(&asked, out) {
            turn.end();
            return self.give((Scope::Cache, rcode), way_back, out);
        }
        // By name: the routes may be those of another snapshot.
        let domain = query.domain.and_then(|index| snapshot.answers.forwarded(index));
        let answered = turn.ask(asked.to_owned(), domain, (way_back, query.source));
        if let Some(outbox) = turn.end() {
            // Others were waiting for the same upstream, which is out.
            let this = Arc::clone(self);
            tokio::spawn(async move { this.deliver(Some(outbox)).await });
        }
        let (waiter, answer) = answered?;
        let rcode = message::write_reply(&waiter.query, &answer, out).rcode;
        self.give((Scope::Forwarded, rcode), waiter.to, out)
    }

    fn kept(&self, query: &Outside<'_>) -> Option<Kept> {
        let mut space = [0; KEY_OCTETS_MAX];
        let asked = Query::read(query.packet, query.transport)?;
        self.lock().cache.kept(asked.key_in(&mut space), Instant::now())
    }

    fn flush(&self, name: &[u8]) -> usize {
        let mut inner = self.lock();
        let flushed = inner.cache.flush(name);
        self.metrics.cache(inner.cache.size());
        flushed
    }
}

impl Forwarder {
    /// One that knows no upstream yet.
    pub fn new(dns_metrics: DnsMetrics, series: Arc<Series>, problems: Problems) -> Self {
        let inner = Inner {
            flights: Flights::default(),
            cache: Cache::new(CacheSettings::by_default()),
            routes: Routes::default(),
            settings: ForwardSettings::off(),
            generation: None,
            system: Vec::new(),
            rates: RateLimit::default(),
            loops: LoopTests::default(),
            random: rand::make_rng(),
            wake_at: None,
            packet: Vec::new(),
            batches: [None, None],
            spare: Vec::new(),
            outboxes_under_way: 0,
        };
        Self {
            inner: Mutex::new(inner),
            wake: Notify::new(),
            idle: Notify::new(),
            streams: Semaphore::new(STREAMS_MAX),
            metrics: ForwardMetrics::default(),
            dns_metrics,
            series,
            problems,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a reply that is in `out` at once: over UDP it leaves with others.
    fn give(
        &self,
        (scope, rcode): (Scope, Rcode),
        way_back: WayBack,
        out: &mut Vec<u8>,
    ) -> Option<(Scope, Rcode)> {
        if way_back.is_datagram() {
            return Some((scope, rcode));
        }
        if !way_back.is_operators() {
            self.dns_metrics.count(Verdict::Reply(scope, rcode), Transport::Tcp);
        }
        way_back.send(std::mem::take(out));
        None
    }

    /// What the host's resolv.conf says now.
    pub fn set_system(&self, servers: Vec<SocketAddr>) {
        let mut inner = self.lock();
        if inner.system != servers {
            tracing::debug!(?servers, "the host's resolvers");
            inner.system = servers;
            inner.generation = None;
        }
    }

    /// Makes the routes what the newest snapshot seen says: a thread may still have the one before. Questions in
    /// flight keep the upstreams that they began with.
    fn follow(&self, inner: &mut Inner, snapshot: &Snapshot, host: &HostNetworks) {
        if inner.generation.is_some_and(|known| known >= snapshot.generation) {
            return;
        }
        inner.generation = Some(snapshot.generation);
        let dns = &snapshot.catalog.settings.dns;
        let material = Material { settings: dns, system: &inner.system, host, series: &self.series };
        let (routes, own) = inner.routes.build(&material);
        inner.settings = dns.forward.clone();
        inner.cache.set(&dns.cache);
        let now = Instant::now();
        let looping = routes.groups().flat_map(|(_, group)| &group.upstreams);
        let looping = looping.filter(|upstream| upstream.condition(now).is_looping);
        let mut keep: Vec<String> = looping.map(|upstream| subject(upstream.address)).collect();
        for Own(address) in own {
            let message = format!("{address} is teal itself and is not asked: name another server");
            self.problems.set(&subject(address), message);
            keep.push(subject(address));
        }
        self.problems.clear_others(PROBLEMS, &keep);
        let empty = routes.groups().find(|(_, group)| group.upstreams.is_empty());
        match empty {
            Some((domain, _)) => {
                let names =
                    domain.map_or_else(|| "outside the zones".to_owned(), |domain| format!("below {domain}"));
                let message = format!(
                    "there is no server to ask for names {names}: the host's resolv.conf names none that is not \
                     teal itself; name one in `upstreams`"
                );
                self.problems.set(NOBODY, message);
            }
            None => self.problems.clear(NOBODY),
        }
        inner.routes = routes;
    }

    /// Every upstream as it is now, by domain.
    pub fn status(&self, snapshot: &Snapshot, host: &HostNetworks) -> Vec<UpstreamStatus> {
        let mut inner = self.lock();
        self.follow(&mut inner, snapshot, host);
        let now = Instant::now();
        let groups = inner.routes.groups().flat_map(|(domain, group)| {
            group.upstreams.iter().map(move |upstream| UpstreamStatus {
                address: upstream.address,
                domain: domain.map(ToString::to_string),
                condition: upstream.condition(now),
            })
        });
        groups.collect()
    }

    /// Queries that wait.
    pub fn in_flight(&self) -> usize {
        self.lock().flights.waiting()
    }

    /// Returns when no query waits, and every reply has been sent. Each query waits [`policy::BUDGET`] at most.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.lock().is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Keeps the time of what waits, until `stop` is cancelled. Without it, questions that get no answer have no
    /// end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let wake_at = self.lock().wake_at;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep_until(wake_at.map_or_else(far_away, Into::into)) => {
                    let outbox = self.on_clock();
                    self.deliver(outbox).await;
                }
            }
        }
    }

    /// One step; what is in the outbox is to be delivered.
    fn step(self: &Arc<Self>, step: impl FnOnce(&mut Turn<'_>)) -> Option<Outbox> {
        let mut turn = Turn::begin(self, Instant::now());
        step(&mut turn);
        turn.end()
    }

    fn on_clock(self: &Arc<Self>) -> Option<Outbox> {
        let mut turn = Turn::begin(self, Instant::now());
        turn.pass();
        turn.end()
    }

    async fn deliver(&self, outbox: Option<Outbox>) {
        let Some(mut outbox) = outbox else { return };
        outbox.send(&self.dns_metrics).await;
        let mut inner = self.lock();
        inner.outboxes_under_way -= 1;
        inner.keep_outbox(outbox);
        if inner.is_idle() {
            self.idle.notify_waiters();
        }
    }

    /// Receives what comes by a lane, until it is over.
    fn spawn_reader(self: &Arc<Self>, lane: &Arc<Lane>) {
        let (this, lane) = (Arc::clone(self), Arc::clone(lane));
        tokio::spawn(async move {
            while let Some(until) = lane.live_until(Instant::now()) {
                tokio::select! {
                    ready = lane.ready() => {
                        // Only a runtime that goes down cannot tell.
                        if ready.is_err() {
                            break;
                        }
                        let outbox = this.step(|turn| turn.receive(&lane));
                        this.deliver(outbox).await;
                    }
                    () = sleep_until(until.into()) => {}
                }
            }
            lane.upstream.forget_lane(&lane);
        });
    }

    /// Asks over TCP.
    fn spawn_exchange(
        self: &Arc<Self>,
        upstream: Arc<Upstream>,
        asked: Asked,
        query: Vec<u8>,
        deadline: Instant,
    ) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let exchange = async {
                // Never closed.
                let _place = this.streams.acquire().await;
                stream::exchange(upstream.address, &query, &asked.key).await
            };
            let ended = timeout_at(deadline.into(), exchange).await;
            let outbox = this.step(|turn| match ended {
                Ok(Ok(packet)) => turn.on_answer(&upstream, &asked, message::read(&packet, asked.edns)),
                Ok(Err(error)) => {
                    tracing::debug!(%error, upstream = %upstream.address, "an upstream's stream failed");
                    turn.on_unreachable(&upstream, &asked);
                }
                // The clock has seen to the question.
                Err(_) => {}
            });
            this.deliver(outbox).await;
        });
    }
}

/// When nothing waits, the clock sleeps until it is told.
fn far_away() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}
