//! The connect phase: tries endpoints in the order of the course until one accepts, the time is over
//! or the client goes away.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::attempt::{Attempt, Order};
use super::connect::{Connecting, is_out_of_ports, reason_of};
use super::decide::Course;
use super::lifetime::Timeouts;
use super::route::Route;
use super::shared::Shared;
use crate::net::stream::poll_broken;
use crate::state::{ErrorReason, ServiceState, Why};

/// Where each try finds its service.
#[derive(Debug)]
pub enum Source {
    /// In the snapshot that is current then; for the first try as it was decided, should the service
    /// have been removed in that very moment.
    Current(Arc<ServiceState>),
    /// The service left the snapshot while the connection waited in the queue of a listener that was
    /// closing: as it was last.
    Last(Arc<ServiceState>),
}

impl Source {
    fn service(&self, (shared, route): (&Shared, &Route), order: Order) -> Option<Arc<ServiceState>> {
        match self {
            Self::Last(service) => Some(Arc::clone(service)),
            Self::Current(decided) => {
                let snapshot = shared.snapshot.load();
                let service = snapshot.services.get(&route.service);
                let service = service.filter(|service| service.port(route.port).is_some());
                service.or((order == Order::First).then_some(decided)).cloned()
            }
        }
    }
}

/// A backend that accepted.
#[derive(Debug)]
pub struct Backend {
    /// The connection to it.
    pub stream: TcpStream,
    /// The try that succeeded.
    pub attempt: Attempt,
    /// How long it may live.
    pub timeouts: Timeouts,
    /// The service's keepalive.
    pub keepalive: Option<Duration>,
}

/// Tries until a backend accepts.
///
/// # Errors
/// Why the last try failed, or what ended trying.
pub async fn establish(
    (client, accepted): (&TcpStream, Instant),
    (shared, route): (&Shared, &Route),
    source: &Source,
    course: &mut Course,
) -> Result<Backend, ErrorReason> {
    // The policy may change between tries, the bound of the whole phase does not.
    let mut phase_end = None;
    let mut failure = None;
    loop {
        let order = if failure.is_none() { Order::First } else { Order::Retry };
        let Some(service) = source.service((shared, route), order) else { return Err(ErrorReason::Removed) };
        let policy = &service.service.policy;
        let phase_end = *phase_end.get_or_insert_with(|| accepted + policy.connect_total_timeout);
        let now = Instant::now();
        if now >= phase_end {
            return Err(course.refusal(failure.or(Some(ErrorReason::Timeout))));
        }
        let Some(attempt) = course.next(&service) else {
            return Err(course.refusal(failure));
        };
        if !may_try(&attempt, (shared, route), &service, now) {
            attempt.live.retry_budget_exhausted().fetch_add(1, Ordering::Relaxed);
            course.refuse_retry(attempt.order);
            continue;
        }
        if attempt.order != Order::First {
            attempt.live.retries.fetch_add(1, Ordering::Relaxed);
        }
        let try_end = phase_end.min(now + policy.connect_timeout);
        let is_fair = (try_end - now) * 2 >= policy.connect_timeout;
        let patience = if is_fair { Patience::Fair } else { Patience::Rest };
        let (keepalive, timeouts) = (policy.keepalive, Timeouts::of(policy));
        let connecting = start(&attempt, &policy.source_addresses);
        drop(service);
        match try_one(client, (&attempt, connecting), try_end).await {
            Ok(stream) => {
                note_success(course, &attempt);
                return Ok(Backend { stream, attempt, timeouts, keepalive });
            }
            Err(ErrorReason::ClientGone) => return Err(ErrorReason::ClientGone),
            Err(reason) => {
                if reason == ErrorReason::Timeout {
                    course.note_unanswered(&attempt);
                }
                note_failure(&attempt, reason, patience);
                failure = Some(reason);
            }
        }
    }
}

/// Whether the retry budget allows the try, which it then has noted.
fn may_try(
    attempt: &Attempt,
    (shared, route): (&Shared, &Route),
    service: &ServiceState,
    now: Instant,
) -> bool {
    let Some(port) = service.port(route.port) else { return true };
    let (budget, second) = (&port.live.retry_budget, shared.second(now.into_std()));
    match attempt.order {
        Order::First => budget.note_connection(second),
        Order::Retry | Order::Again => {
            return budget.take(second, service.service.policy.retry_budget_percent);
        }
        // A color that works must serve the connection, and there are only so many colors.
        Order::NextColor => {}
    }
    true
}

/// Begins to connect, from the next of the source addresses that has a port left.
fn start(attempt: &Attempt, sources: &[IpAddr]) -> Result<Connecting, ErrorReason> {
    let address = attempt.endpoint.address;
    let fitting = || sources.iter().filter(|source| source.is_ipv4() == address.is_ipv4()).copied();
    let count = fitting().count().max(1);
    let turns = &attempt.endpoint.source_turns;
    let turn = if count > 1 { turns.fetch_add(1, Ordering::Relaxed) as usize % count } else { 0 };
    // `None` leaves the choice to the kernel.
    let given = fitting().map(Some).chain(fitting().next().is_none().then_some(None));
    let mut outcome = Err(Errno::ADDRNOTAVAIL.into());
    for source in given.cycle().skip(turn).take(count) {
        outcome = Connecting::start(address, source);
        if !outcome.as_ref().is_err_and(is_out_of_ports) {
            break;
        }
        attempt.live.source_ports_exhausted().fetch_add(1, Ordering::Relaxed);
    }
    outcome.map_err(|error| {
        tracing::debug!(%address, %error, "cannot connect to a backend");
        reason_of(&error)
    })
}

async fn try_one(
    client: &TcpStream,
    (attempt, connecting): (&Attempt, Result<Connecting, ErrorReason>),
    try_end: Instant,
) -> Result<TcpStream, ErrorReason> {
    let address = attempt.endpoint.address;
    let connecting = connecting?;
    let outcome = poll_fn(|context| {
        if let Poll::Ready(result) = connecting.poll_connected(context) {
            return Poll::Ready(result.map_err(|error| reason_of(&error)));
        }
        poll_broken(client, context).map(|()| Err(ErrorReason::ClientGone))
    });
    let outcome = timeout_at(try_end, outcome).await.unwrap_or(Err(ErrorReason::Timeout));
    if let Err(reason) = outcome {
        tracing::debug!(%address, reason = reason.label(), "no connection to a backend");
    }
    outcome.map(|()| connecting.into_stream())
}

/// Whether a try had at least half of the time that the policy gives to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It had.
    Fair,
    /// It had less, what was left of the connect phase.
    Rest,
}

/// Counts failures that speak against the endpoint.
fn note_failure(attempt: &Attempt, reason: ErrorReason, patience: Patience) {
    let is_its_own = match reason {
        ErrorReason::Refused | ErrorReason::Unreachable | ErrorReason::Other => true,
        ErrorReason::Timeout => patience == Patience::Fair,
        _ => false,
    };
    if is_its_own {
        attempt.endpoint.outlier.failed();
        attempt.live.note_failed_try(attempt.sort(), reason);
    }
}

/// Counts what served the connection, and watches over promise 2: nothing reaches a color of weight 0
/// unless somebody said so.
fn note_success(course: &Course, attempt: &Attempt) {
    attempt.live.note_served(attempt.sort());
    attempt.endpoint.outlier.accepted(attempt.success);
    if attempt.why == Why::Lane {
        attempt.live.lane_connections().fetch_add(1, Ordering::Relaxed);
    }
    if attempt.why.is_by_weight() && attempt.weight.is_zero() {
        attempt.live.weight_zero_violations.fetch_add(1, Ordering::Relaxed);
    }
    if attempt.color != *course.chosen() {
        course.chosen_live().spilled(&attempt.color).fetch_add(1, Ordering::Relaxed);
    }
}
