//! One step of the forwarder, with everything locked: what a query, an upstream's packet or the clock leads to.
//!
//! Nothing waits here. Replies are gathered in an [`Outbox`] and sent when the lock is free again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use super::super::batch::{BATCH, Received as Batch, Wildcard};
use super::super::later::WayBack;
use super::super::reply::ExtendedError;
use super::super::wire::Header;
use super::super::{Scope, Verdict};
use super::flights::{Flight, FlightId, Waiter};
use super::lane::{Asked, Lane};
use super::message::{self, Answer, Origin, Received};
use super::metrics::Limited;
use super::outbox::Outbox;
use super::policy::{Manner, Outcome, Race, Step};
use super::question::{Edns, Key, Query, write_query};
use super::routes::Group;
use super::upstream::{Ignored, Upstream};
use super::{Forwarder, Inner};
use crate::model::Domain;

/// One step.
pub(super) struct Turn<'a> {
    pub(super) forwarder: &'a Arc<Forwarder>,
    inner: MutexGuard<'a, Inner>,
    pub(super) now: Instant,
    outbox: Outbox,
}

impl<'a> Turn<'a> {
    pub(super) fn begin(forwarder: &'a Arc<Forwarder>, now: Instant) -> Self {
        let mut inner = forwarder.lock();
        let outbox = inner.spare.pop().unwrap_or_default();
        Self { forwarder, inner, now, outbox }
    }

    /// Ends it. What is in the outbox, if there is one, is to be delivered.
    pub(super) fn end(mut self) -> Option<Outbox> {
        self.forwarder.metrics.in_flight(self.inner.flights.waiting());
        if !self.outbox.is_empty() {
            self.inner.outboxes_under_way += 1;
            return Some(self.outbox);
        }
        if self.inner.is_idle() {
            self.forwarder.idle.notify_waiters();
        }
        self.inner.keep_outbox(self.outbox);
        None
    }

    pub(super) fn inner(&mut self) -> &mut Inner {
        &mut self.inner
    }

    /// A client's query. It waits, or is given back with its answer.
    pub(super) fn ask(
        &mut self,
        query: Query,
        domain: Option<&Domain>,
        (to, source): (WayBack, IpAddr),
    ) -> Option<(Waiter, Answer)> {
        let key = query.key();
        let waiter = Waiter { query, to, since: self.now };
        if let Some((reason, error)) = self.refuse(&key, source) {
            self.forwarder.metrics.limited(reason);
            return Some((waiter, Answer::failure(error)));
        }
        if let Some(id) = self.inner.flights.find(&key) {
            self.inner.flights.join(id, waiter);
            self.suspect_loop(id, source);
            return None;
        }
        let group = self.inner.routes.find(domain).cloned();
        let order = group.as_ref().map(|group| group.order(self.now)).unwrap_or_default();
        let Some(group) = group.filter(|_| !order.is_empty()) else {
            self.forwarder.metrics.limited(Limited::NoUpstream);
            return Some((waiter, Answer::failure(ExtendedError::NoReachableAuthority)));
        };
        let (race, step) = Race::start(&order, self.now);
        self.probe(&group, &key, &waiter.query.question, order.first().copied());
        let id = self.inner.flights.insert(key, group, race, waiter);
        let (flight, answer) = self.advance(id, step)?;
        flight.waiters.into_iter().next().map(|waiter| (waiter, answer))
    }

    /// Why a query is not asked upstream, if it is not.
    fn refuse(&mut self, key: &Key, source: IpAddr) -> Option<(Limited, ExtendedError)> {
        let now = self.now;
        if let Some(upstream) = self.inner.loops.find(key.name(), now) {
            self.loop_found(upstream);
            return Some((Limited::Loop, ExtendedError::NetworkError));
        }
        let inner = &mut *self.inner;
        if inner.flights.waiting() >= inner.settings.max_in_flight {
            return Some((Limited::InFlight, ExtendedError::Other));
        }
        let rate = inner.settings.rate_per_source?;
        (!inner.rates.take(source, rate, now)).then_some((Limited::Rate, ExtendedError::Other))
    }

    /// The same question came again while it is in flight: perhaps one of the upstreams sent it.
    fn suspect_loop(&mut self, id: FlightId, source: IpAddr) {
        let Some(flight) = self.inner.flights.get_mut(id) else { return };
        flight.is_repeated = true;
        let sends = |upstream: &Arc<Upstream>| {
            let ip = upstream.address.ip();
            ip == source || (ip.is_loopback() && source.is_loopback())
        };
        if flight.group.upstreams.iter().any(sends) {
            self.test_loop(id);
        }
    }

    /// Looks whether an upstream that is asked this question sends it back.
    fn test_loop(&mut self, id: FlightId) {
        let Some(flight) = self.inner.flights.get_mut(id) else { return };
        let (key, question, group) =
            (flight.key.clone(), Arc::clone(&flight.question), Arc::clone(&flight.group));
        let waited_for = |index: usize| u8::try_from(index).is_ok_and(|index| flight.race.waits_for(index));
        let candidates: Vec<usize> = (0..group.upstreams.len()).filter(|index| waited_for(*index)).collect();
        if !self.inner.loops.begin(self.now) {
            return;
        }
        for upstream in candidates.into_iter().filter_map(|index| group.upstreams.get(index)) {
            let random = self.inner.random();
            let marked = self.inner.loops.mark(&question, upstream.address, random, self.now);
            let Some(marked) = marked else { continue };
            let edns = upstream.edns(self.now);
            let asked = Asked { key: key.with_question(&marked), flight: None, edns, at: self.now };
            if let Err(error) = self.send(upstream, asked, &marked) {
                tracing::debug!(%error, upstream = %upstream.address, "cannot test an upstream for a loop");
            }
        }
    }

    /// A question that was sent to this upstream, and that nobody else can know, has come to teal.
    fn loop_found(&mut self, address: SocketAddr) {
        let now = self.now;
        let Some(upstream) = self.inner.routes.upstream(address).cloned() else { return };
        upstream.looped(now);
        let message = format!(
            "{address} sends the questions that teal asks it back to teal: take teal out of its servers, or it \
             out of `upstreams`; until then it is not asked"
        );
        self.forwarder.problems.set(&subject(address), message);
        let waits =
            |flight: &Flight| place_of(flight, address).is_some_and(|place| flight.race.waits_for(place));
        for id in self.inner.flights.ids(waits) {
            let Some(flight) = self.inner.flights.get_mut(id) else { continue };
            let Some(place) = place_of(flight, address) else { continue };
            let step = flight.race.answered(place, Outcome::Unreachable, now);
            self.go_on(id, step);
        }
    }

    /// Upstreams that are down get a copy of a question now and then: what comes back shows whether they are
    /// up, and no client waits for it.
    fn probe(&mut self, group: &Arc<Group>, key: &Key, question: &[u8], first: Option<u8>) {
        for (index, upstream) in group.upstreams.iter().enumerate() {
            let is_asked_anyway = first.is_some_and(|first| usize::from(first) == index);
            if !is_asked_anyway && upstream.take_probe(self.now) {
                let edns = upstream.edns(self.now);
                let asked = Asked { key: key.clone(), flight: None, edns, at: self.now };
                if self.send(upstream, asked, question).is_err() {
                    upstream.came(Outcome::Unreachable, self.now, self.now);
                }
            }
        }
    }

    /// Does what the policy says, until there is something to wait for or the end. The clients of a question
    /// that has ended are answered by whoever calls.
    fn advance(&mut self, id: FlightId, mut step: Step) -> Option<(Flight, Answer)> {
        loop {
            match step {
                Step::Wait => break,
                Step::Finish => return self.take(id),
                Step::Ask(candidate, manner) => match self.dispatch(id, candidate, manner) {
                    Ok(()) => break,
                    Err(upstream) => {
                        upstream.came(Outcome::Unreachable, self.now, self.now);
                        let flight = self.inner.flights.get_mut(id)?;
                        step = flight.race.answered(candidate, Outcome::Unreachable, self.now);
                    }
                },
            }
        }
        let due = self.inner.flights.get_mut(id)?.race.due();
        if self.inner.wake_at.is_none_or(|at| due < at) {
            self.inner.wake_at = Some(due);
            self.forwarder.wake.notify_one();
        }
        None
    }

    /// Asks a candidate, or says that it cannot be asked.
    fn dispatch(&mut self, id: FlightId, candidate: u8, manner: Manner) -> Result<(), Arc<Upstream>> {
        let Some(flight) = self.inner.flights.get_mut(id) else { return Ok(()) };
        let Some(upstream) = flight.group.upstreams.get(usize::from(candidate)).cloned() else {
            return Ok(());
        };
        let (key, question, deadline) =
            (flight.key.clone(), Arc::clone(&flight.question), flight.race.deadline());
        let edns = match manner {
            Manner::UdpWithoutEdns => Edns::Without,
            Manner::Udp | Manner::Tcp => upstream.edns(self.now),
        };
        if manner == Manner::Tcp {
            let id_of_query = self.inner.random_id();
            let mut query = Vec::new();
            write_query(&key, &question, (id_of_query, edns), &mut query);
            let asked = Asked { key, flight: Some((id, candidate)), edns, at: self.now };
            upstream.asked_over_tcp();
            self.forwarder.spawn_exchange(upstream, asked, query, deadline);
            return Ok(());
        }
        let asked = Asked { key, flight: Some((id, candidate)), edns, at: self.now };
        match self.send(&upstream, asked, &question) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, upstream = %upstream.address, "cannot ask an upstream");
                Err(upstream)
            }
        }
    }

    /// Sends one datagram.
    fn send(&mut self, upstream: &Arc<Upstream>, asked: Asked, question: &[u8]) -> io::Result<()> {
        let lane = match upstream.lane(self.now) {
            Some(lane) => lane,
            None => self.open_lane(upstream)?,
        };
        let (key, edns) = (asked.key.clone(), asked.edns);
        let inner = &mut *self.inner;
        let id = lane.enter(asked, || inner.random_id());
        let id = id.ok_or_else(|| io::Error::other("no ID is left"))?;
        let mut packet = std::mem::take(&mut self.inner.packet);
        write_query(&key, question, (id, edns), &mut packet);
        upstream.asked_over_udp();
        // An error may be about a datagram before this one: the second try is about it alone.
        let sent = lane.send(&packet).or_else(|_| lane.send(&packet));
        self.inner.packet = packet;
        if sent.is_err() {
            lane.leave(id);
        }
        sent
    }

    fn open_lane(&self, upstream: &Arc<Upstream>) -> io::Result<Arc<Lane>> {
        let lane = Lane::open(Arc::clone(upstream), self.now)?;
        upstream.use_lane(&lane);
        self.forwarder.spawn_reader(&lane);
        Ok(lane)
    }

    /// Receives a batch from an upstream.
    pub(super) fn receive(&mut self, lane: &Arc<Lane>) {
        let address = lane.upstream.address;
        let family = usize::from(address.is_ipv6());
        let mut batch =
            self.inner.batches[family].take().unwrap_or_else(|| Batch::new(address, Wildcard::No));
        match lane.receive(|socket| batch.receive(socket), BATCH) {
            Ok(_) => {
                for datagram in batch.datagrams() {
                    self.on_datagram(lane, datagram.begin, datagram.packet.is_none());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.on_error(lane, &error),
        }
        self.inner.batches[family] = Some(batch);
    }

    fn on_datagram(&mut self, lane: &Arc<Lane>, packet: &[u8], is_cut: bool) {
        let upstream = &lane.upstream;
        let header = Header::read(packet).filter(Header::is_response);
        let Some(header) = header else { return upstream.ignored(Ignored::Malformed) };
        let Some(asked) = lane.asked(header.id) else { return upstream.ignored(Ignored::Unasked) };
        if !message::answers(packet, &asked.key) {
            return upstream.ignored(Ignored::Question);
        }
        lane.leave(header.id);
        upstream.measured(self.now.saturating_duration_since(asked.at), self.now);
        let mut received = message::read(packet, asked.edns);
        if is_cut {
            received.outcome = Outcome::Truncated;
        }
        self.on_answer(upstream, &asked, received);
    }

    /// An upstream has answered. Answers that come too late show that it is up.
    pub(super) fn on_answer(&mut self, upstream: &Arc<Upstream>, asked: &Asked, received: Received) {
        let has_looped = upstream.has_looped();
        upstream.came(received.outcome, asked.at, self.now);
        if has_looped && !upstream.has_looped() {
            self.forwarder.problems.clear(&subject(upstream.address));
        }
        let Some((id, candidate)) = asked.flight else { return };
        let Some(flight) = self.inner.flights.get_mut(id) else { return };
        flight.is_reachable = true;
        let took = self.now.saturating_duration_since(asked.at);
        let origin = Some(Origin { upstream: upstream.address, took });
        flight.keep(received.outcome, Answer { origin, ..received.answer });
        let step = flight.race.answered(candidate, received.outcome, self.now);
        self.go_on(id, step);
    }

    /// ICMP says that the upstream does not listen, or that there is no way to it.
    fn on_error(&mut self, lane: &Arc<Lane>, error: &io::Error) {
        tracing::debug!(%error, upstream = %lane.upstream.address, "an upstream cannot be reached");
        for asked in lane.take_all() {
            self.on_unreachable(&lane.upstream, &asked);
        }
    }

    /// A question that was sent will not be answered.
    pub(super) fn on_unreachable(&mut self, upstream: &Arc<Upstream>, asked: &Asked) {
        upstream.came(Outcome::Unreachable, asked.at, self.now);
        let Some((id, candidate)) = asked.flight else { return };
        let Some(flight) = self.inner.flights.get_mut(id) else { return };
        let step = flight.race.answered(candidate, Outcome::Unreachable, self.now);
        self.go_on(id, step);
    }

    /// The clock: whoever has waited long enough is asked again elsewhere, or given up.
    pub(super) fn pass(&mut self) {
        let now = self.now;
        for id in self.inner.flights.ids(|flight| flight.race.due() <= now) {
            let Some(flight) = self.inner.flights.get_mut(id) else { continue };
            let (late, step) = flight.race.passed(now);
            flight.is_reachable |= late.is_some();
            let is_suspect = flight.is_repeated && late.is_some();
            let late = late.and_then(|late| flight.group.upstreams.get(usize::from(late)).cloned());
            if let Some(upstream) = late {
                upstream.timed_out(now);
            }
            if is_suspect {
                self.test_loop(id);
            }
            self.go_on(id, step);
        }
        self.inner.wake_at = self.inner.flights.due();
    }

    /// Does what the policy says, and answers the clients if it was the last thing.
    fn go_on(&mut self, id: FlightId, step: Step) {
        if let Some((flight, answer)) = self.advance(id, step) {
            for waiter in flight.waiters {
                self.reply(waiter, &answer);
            }
        }
    }

    /// Takes a question out of flight. Every answer of an upstream, and every failure, passes here once, with
    /// its question, and is remembered.
    fn take(&mut self, id: FlightId) -> Option<(Flight, Answer)> {
        let mut flight = self.inner.flights.remove(id)?;
        let answer = flight.take_best().unwrap_or_else(|| {
            let error = if flight.is_reachable {
                ExtendedError::NoReachableAuthority
            } else {
                ExtendedError::NetworkError
            };
            Answer::failure(error)
        });
        let answer = self.keep(&flight.key, answer);
        Some((flight, answer))
    }

    fn reply(&mut self, waiter: Waiter, answer: &Answer) {
        let transport = waiter.query.transport;
        let took = self.now.saturating_duration_since(waiter.since);
        let is_counted = !waiter.to.is_operators();
        let rcode = self.outbox.put(&waiter.query, answer, waiter.to);
        if is_counted {
            self.forwarder.dns_metrics.count(Verdict::Reply(Scope::Forwarded, rcode), transport);
            self.forwarder.dns_metrics.observe(took, 1);
        }
    }
}

/// Which problem an upstream's is.
pub(super) fn subject(upstream: SocketAddr) -> String {
    format!("{PROBLEMS}{upstream}")
}

/// How the subjects of problems with upstreams begin.
pub(super) const PROBLEMS: &str = "dns upstream ";

/// Which candidate of a question an upstream is.
fn place_of(flight: &Flight, upstream: SocketAddr) -> Option<u8> {
    let place = flight.group.upstreams.iter().position(|candidate| candidate.address == upstream)?;
    u8::try_from(place).ok()
}
