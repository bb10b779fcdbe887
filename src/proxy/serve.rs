//! What becomes of an accepted connection: checked, decided, served or refused.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpStream;

use super::decide::Course;
use super::establish::{Source, establish};
use super::relay::{Opening, Relay};
use super::route::{Route, Via};
use super::shared::{Permit, Shared};
use crate::net::accept::{Accept, AcceptError};
use crate::net::stream::reset_on_close;
use crate::state::{ErrorReason, PortState, ServiceState, Snapshot};
use crate::telemetry::names::ACCEPT_ERRORS;

/// What the workers know of one listener. It may change while the listener stays.
pub struct ListenerState {
    /// Where its connections go.
    pub route: ArcSwap<Route>,
    /// Its service as it was last, for what waits in the queue when the service has gone.
    pub last: ArcSwapOption<ServiceState>,
}

/// Takes the connections of one listener on one worker.
pub struct Handler {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The listener.
    pub listener: Arc<ListenerState>,
}

impl Accept for Handler {
    fn accepted(&mut self, stream: StdStream, peer: SocketAddr) {
        match self.admit(peer) {
            Ok(admitted) => {
                let opening = Box::pin(open(stream, admitted));
                tokio::spawn(Task::Opening(opening));
            }
            Err(reason) => {
                tracing::debug!(reason = reason.label(), "connection refused");
                reset_on_close(&stream);
            }
        }
    }

    fn failed(&mut self, error: AcceptError) {
        metrics::counter!(ACCEPT_ERRORS.name, "listener" => "proxy", "reason" => error.label()).increment(1);
        if error != AcceptError::Connection {
            tracing::warn!(reason = error.label(), "cannot accept a connection");
        }
    }
}

/// A connection that may come in, with its color decided.
struct Admitted {
    accepted: Instant,
    route: Arc<Route>,
    source: Source,
    course: Course,
    permit: Permit,
}

impl Handler {
    /// Checks who comes and whether there is room, then decides the color: refusing takes no turn of the
    /// split.
    fn admit(&self, peer: SocketAddr) -> Result<Admitted, ErrorReason> {
        let accepted = Instant::now();
        let route = self.listener.route.load_full();
        let snapshot = self.shared.snapshot.load();
        let last = self.listener.last.load();
        let (source, service) = if let Some(service) = find(&snapshot, &route) {
            (Source::Current(Arc::clone(service)), service)
        } else {
            let last = last.as_ref().ok_or_else(|| self.refuse_removed(&route))?;
            (Source::Last(Arc::clone(last)), last)
        };
        let port = service.port(route.port).ok_or_else(|| self.refuse_removed(&route))?;
        let refuse = |reason| {
            port.live.errors(reason).fetch_add(1, Ordering::Relaxed);
            reason
        };
        if !self.may_come(&snapshot, &route.via, peer) {
            return Err(refuse(ErrorReason::NotAllowed));
        }
        let permit = self.shared.admit().ok_or_else(|| refuse(ErrorReason::Limit))?;
        let course = Course::begin(&route, port, peer.ip(), service.service.policy.retries);
        let course = course.map_err(refuse)?;
        Ok(Admitted { accepted, route, source, course, permit })
    }

    fn may_come(&self, snapshot: &Snapshot, via: &Via, peer: SocketAddr) -> bool {
        let vip = &snapshot.catalog.settings.vip;
        *via == Via::Expose || vip.allow_from.permits(peer.ip(), vip.pool.0, &self.shared.networks.load())
    }

    fn refuse_removed(&self, route: &Route) -> ErrorReason {
        let port = self.shared.live.port(&route.service, route.port);
        port.errors(ErrorReason::Removed).fetch_add(1, Ordering::Relaxed);
        ErrorReason::Removed
    }
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

/// The connect phase. `None` when no backend serves the connection, which has been counted and reset.
async fn open(stream: StdStream, admitted: Admitted) -> Option<Relay> {
    let Admitted { accepted, route, source, mut course, permit } = admitted;
    let client = Refused(TcpStream::from_std(stream).ok());
    let outcome = match &client.0 {
        Some(stream) => {
            let start = tokio::time::Instant::from_std(accepted);
            establish((stream, start), (permit.shared(), &route), &source, &mut course).await
        }
        None => Err(ErrorReason::Resources),
    };
    match outcome {
        Ok(backend) => {
            let client = client.keep()?;
            Some(Relay::new(client, backend, Opening { accepted, permit }))
        }
        Err(reason) => {
            course.chosen_live().errors(reason).fetch_add(1, Ordering::Relaxed);
            tracing::debug!(service = %route.service, color = %course.chosen(), reason = reason.label(),
                "no backend serves a connection");
            None
        }
    }
}

/// A client that no backend serves yet: closing it says RST, also when its worker ends.
struct Refused(Option<TcpStream>);

impl Refused {
    fn keep(mut self) -> Option<TcpStream> {
        self.0.take()
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            reset_on_close(client);
        }
    }
}

/// The task of a connection. What the connect phase needs is freed before the relay begins.
enum Task {
    Opening(Pin<Box<dyn Future<Output = Option<Relay>> + Send>>),
    Relaying(Relay),
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Self::Relaying(relay) => return Pin::new(relay).poll(context),
                Self::Opening(opening) => match opening.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Ready(Some(relay)) => *self = Self::Relaying(relay),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_no_larger_than_its_relay() {
        assert!(size_of::<Task>() <= size_of::<Relay>() + size_of::<usize>());
    }
}
