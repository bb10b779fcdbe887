//! Who may come in: what is checked before the split decides, so that refusing takes no turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::decide::Course;
use super::establish::Source;
use super::log::{End, Record};
use super::route::{Route, Via};
use super::shared::{Permit, Shared};
use crate::state::{ErrorReason, PortState, ServiceState, Snapshot};

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

/// Checks who comes and whether there is room, then decides the color.
///
/// # Errors
/// Why it is refused, which has been counted and logged.
pub fn admit(
    shared: &Arc<Shared>,
    listener: &ListenerState,
    arrival: Arrival,
) -> Result<Admitted, ErrorReason> {
    let route = listener.route.load_full();
    let snapshot = shared.snapshot.load();
    let last = listener.last.load();
    let (source, service) = if let Some(service) = find(&snapshot, &route) {
        (Source::Current(Arc::clone(service)), service)
    } else {
        let last = last.as_ref().ok_or_else(|| refuse_removed(shared, &route))?;
        (Source::Last(Arc::clone(last)), last)
    };
    let port = service.port(route.port).ok_or_else(|| refuse_removed(shared, &route))?;
    let mut record = service.service.policy.log_connections.then(|| {
        Record::begin(&shared.connection_log, Arc::clone(&route), (arrival.source, arrival.accepted))
    });
    let entered = enter(shared, (&snapshot, &route), (service, port), arrival);
    let (permit, course) = entered.inspect_err(|reason| {
        port.live.errors(*reason).fetch_add(1, Ordering::Relaxed);
        if let Some(record) = &mut record {
            record.note(|line| line.end = End::of_unserved(*reason));
        }
    })?;
    Ok(Admitted { arrival, route, source, course, permit, record })
}

fn enter(
    shared: &Arc<Shared>,
    (snapshot, route): (&Snapshot, &Route),
    (service, port): (&ServiceState, &PortState),
    arrival: Arrival,
) -> Result<(Permit, Course), ErrorReason> {
    if !may_come(shared, snapshot, &route.via, arrival.source) {
        return Err(ErrorReason::NotAllowed);
    }
    let mut permit = shared.admit().ok_or(ErrorReason::Limit)?;
    let who = (arrival.source.ip(), arrival.accepted);
    permit.entrance = Some(service.live.enter(&service.service.policy.limits, who)?);
    let course = Course::begin(route, port, arrival.source.ip(), service.service.policy.retries)?;
    Ok((permit, course))
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
