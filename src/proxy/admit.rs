//! Who may come in: what is checked before the split decides, so that refusing takes no turn.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::Ipv4Net;

use super::decide::Course;
use super::establish::Source;
use super::log::{End, Record};
use super::route::{Route, Via};
use super::shared::{Permit, Shared};
use crate::model::ColorName;
use crate::state::{ErrorReason, Lane, PortState, ServiceState, Snapshot};

/// What the workers know of one listener. It may change while the listener stays.
pub struct ListenerState {
    /// Where its connections go.
    pub route: ArcSwap<Route>,
    /// Its service as it was last, for what waits in the queue when the service has gone.
    pub last: ArcSwapOption<ServiceState>,
}

/// A connection that came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When.
    pub accepted: Instant,
    /// From where.
    pub source: SocketAddr,
}

/// A connection that may come in, with its color decided.
pub struct Admitted {
    /// When and from where it came.
    pub arrival: Arrival,
    /// By which listener.
    pub route: Arc<Route>,
    /// Where each try finds its service.
    pub source: Source,
    /// Whom to try.
    pub course: Course,
    /// Its place under the limits.
    pub permit: Permit,
    /// What the log will say of it.
    pub record: Option<Record>,
}

/// What has to come before a connection can be admitted.
pub enum First {
    /// Nothing.
    Nothing,
    /// A PROXY protocol header; the connection has its place in the process meanwhile.
    Header(Permit),
}

/// Whether a header comes first: at `expose` addresses of services that trust somebody to send one.
///
/// # Errors
/// Why it is refused, which has been counted and logged: it is nobody whose header is trusted, or there is
/// no room.
pub fn first(shared: &Arc<Shared>, route: &Arc<Route>, arrival: Arrival) -> Result<First, ErrorReason> {
    if route.via != Via::Expose {
        return Ok(First::Nothing);
    }
    let snapshot = shared.snapshot.load();
    let Some(service) = find(&snapshot, route) else { return Ok(First::Nothing) };
    let trusted = &service.service.policy.proxy_protocol_from;
    if trusted.0.is_empty() {
        return Ok(First::Nothing);
    }
    let pool = snapshot.catalog.settings.vip.pool.0;
    let outcome = if trusted.permits(arrival.source.ip(), pool, &shared.networks.load()) {
        shared.admit().ok_or(ErrorReason::Limit)
    } else {
        Err(ErrorReason::ProxyProtocol)
    };
    outcome.map(First::Header).inspect_err(|reason| refuse(shared, (service, route), arrival, *reason))
}

/// Notes that no header came that could be read.
pub fn refuse_preface(shared: &Arc<Shared>, route: &Arc<Route>, arrival: Arrival) {
    let snapshot = shared.snapshot.load();
    if let Some(service) = find(&snapshot, route) {
        refuse(shared, (service, route), arrival, ErrorReason::ProxyProtocol);
    }
}

/// Counts and logs a connection for which no color was decided.
fn refuse(
    shared: &Shared,
    (service, route): (&ServiceState, &Arc<Route>),
    arrival: Arrival,
    reason: ErrorReason,
) {
    if let Some(port) = service.port(route.port) {
        port.live.errors(reason).fetch_add(1, Ordering::Relaxed);
    }
    if let Some(mut record) = record(shared, (service, route), arrival) {
        record.note(|line| line.end = End::of_unserved(reason));
    }
}

fn record(
    shared: &Shared,
    (service, route): (&ServiceState, &Arc<Route>),
    arrival: Arrival,
) -> Option<Record> {
    let who = (arrival.source, arrival.accepted);
    let is_logged = service.service.policy.log_connections;
    is_logged.then(|| Record::begin(&shared.connection_log, Arc::clone(route), who))
}

/// Checks who comes and whether there is room, then decides the color. `permit` is the connection's place
/// in the process, if it has one already.
///
/// # Errors
/// Why it is refused, which has been counted and logged.
pub fn admit(
    shared: &Arc<Shared>,
    (listener, route): (&ListenerState, Arc<Route>),
    arrival: Arrival,
    permit: Option<Permit>,
) -> Result<Admitted, ErrorReason> {
    let snapshot = shared.snapshot.load();
    let last = listener.last.load();
    let (source, service) = if let Some(service) = find(&snapshot, &route) {
        (Source::Current(Arc::clone(service)), service)
    } else {
        let last = last.as_ref().ok_or_else(|| refuse_removed(shared, &route))?;
        (Source::Last(Arc::clone(last)), last)
    };
    let port = service.port(route.port).ok_or_else(|| refuse_removed(shared, &route))?;
    if !may_come(shared, &snapshot, &route.via, arrival.source) {
        refuse(shared, (service, &route), arrival, ErrorReason::NotAllowed);
        return Err(ErrorReason::NotAllowed);
    }
    if route.via == Via::Vip && !service.inbound.may_call(arrival.source.ip()) {
        refuse(shared, (service, &route), arrival, ErrorReason::NotCaller);
        return Err(ErrorReason::NotCaller);
    }
    let pool = snapshot.catalog.settings.vip.pool.0;
    let (permit, course) = enter((shared, pool), &route, (service, port), (arrival, permit))
        .inspect_err(|reason| refuse(shared, (service, &route), arrival, *reason))?;
    let record = record(shared, (service, &route), arrival);
    Ok(Admitted { arrival, route, source, course, permit, record })
}

fn enter(
    (shared, pool): (&Arc<Shared>, Ipv4Net),
    route: &Route,
    (service, port): (&ServiceState, &PortState),
    (arrival, permit): (Arrival, Option<Permit>),
) -> Result<(Permit, Course), ErrorReason> {
    let mut permit = permit.or_else(|| shared.admit()).ok_or(ErrorReason::Limit)?;
    let who = (arrival.source.ip(), arrival.accepted);
    permit.entrance = Some(service.live.enter(&service.service.policy.limits, who)?);
    let lane = lane((shared, pool), route, (service, port), who.0);
    let course = Course::begin(route, port, (who.0, lane), service.service.policy.retries)?;
    Ok((permit, course))
}

/// The color of the caller's lane, if it has one. An address of this host is anybody's, also where it is an
/// endpoint's.
fn lane<'a>(
    (shared, pool): (&Shared, Ipv4Net),
    route: &Route,
    (service, port): (&'a ServiceState, &PortState),
    source: IpAddr,
) -> Option<&'a ColorName> {
    let lanes = service.inbound.lanes.as_ref()?;
    if matches!(route.via, Via::Preview(_)) {
        return None;
    }
    let is_host = shared.networks.load().is_host(source, pool);
    match if is_host { Lane::Ambiguous } else { lanes.lane(source) } {
        Lane::Color(color) => Some(color),
        Lane::None => None,
        Lane::Ambiguous => {
            port.live.lane_ambiguous().fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

fn may_come(shared: &Shared, snapshot: &Snapshot, via: &Via, source: SocketAddr) -> bool {
    let vip = &snapshot.catalog.settings.vip;
    *via == Via::Expose || vip.allow_from.permits(source.ip(), vip.pool.0, &shared.networks.load())
}

fn refuse_removed(shared: &Shared, route: &Route) -> ErrorReason {
    let port = shared.live.port(&route.service, route.port);
    port.errors(ErrorReason::Removed).fetch_add(1, Ordering::Relaxed);
    ErrorReason::Removed
}

/// The service that serves the route, in this snapshot.
fn find<'a>(snapshot: &'a Snapshot, route: &Route) -> Option<&'a Arc<ServiceState>> {
    let (service, port): (_, &PortState) = snapshot.port(&route.service, route.port)?;
    let serves = match &route.via {
        Via::Vip | Via::Expose => true,
        Via::Preview(name) => port.colors.iter().any(|color| color.name == *name),
    };
    serves.then_some(service)
}
