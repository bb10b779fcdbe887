//! What becomes of an accepted connection: admitted or refused, connected, relayed.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::admit::{Admitted, Arrival, First, ListenerState, admit, first, refuse_preface};
use super::establish::{Backend, establish};
use super::log::End;
use super::preface::{self, Ends, Preface};
use super::relay::{Opening, Relay};
use super::route::Route;
use super::shared::{Permit, Shared};
use crate::model::ProxyProtocol;
use crate::net::accept::{Accept, AcceptError};
use crate::net::stream::reset_on_close;
use crate::state::{ClosedReason, ErrorReason};
use crate::telemetry::names::ACCEPT_ERRORS;

/// Takes the connections of one listener on one worker.
pub struct Handler {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The listener.
    pub listener: Arc<ListenerState>,
    /// When it last said that it cannot accept.
    pub warned: Option<Instant>,
}

/// A host without descriptors fails twenty times a second: each is counted, few are said.
const WARN_AGAIN: Duration = Duration::from_secs(10);

impl Accept for Handler {
    fn accepted(&mut self, stream: StdStream, peer: SocketAddr) {
        let arrival = Arrival { accepted: Instant::now(), source: peer };
        let route = self.listener.route.load_full();
        let reason = match first(&self.shared, &route, arrival) {
            Ok(First::Nothing) => match admit(&self.shared, (&self.listener, route), arrival, None) {
                Ok(admitted) => {
                    let opening = Box::pin(open(Client::new(stream), admitted, Preface::default()));
                    return drop(tokio::spawn(Task::Opening(opening)));
                }
                Err(reason) => reason,
            },
            Ok(First::Header(permit)) => {
                let to = (Arc::clone(&self.shared), Arc::clone(&self.listener), route);
                let opening = Box::pin(open_after_header(Client::new(stream), to, (arrival, permit)));
                return drop(tokio::spawn(Task::Opening(opening)));
            }
            Err(reason) => reason,
        };
        tracing::debug!(reason = reason.label(), "connection refused");
        reset_on_close(&stream);
    }

    fn failed(&mut self, error: AcceptError) {
        metrics::counter!(ACCEPT_ERRORS.name, "listener" => "proxy", "reason" => error.label()).increment(1);
        let is_said = self.warned.is_some_and(|warned| warned.elapsed() < WARN_AGAIN);
        if error != AcceptError::Connection && !is_said {
            self.warned = Some(Instant::now());
            tracing::warn!(reason = error.label(), "cannot accept a connection");
        }
    }
}

/// Reads the PROXY header, then goes on as if its client had just been accepted.
async fn open_after_header(
    client: Client,
    (shared, listener, route): (Arc<Shared>, Arc<ListenerState>, Arc<Route>),
    (arrival, permit): (Arrival, Permit),
) -> Option<Relay> {
    let Ok(preface) = preface::read(client.0.as_ref()?).await else {
        refuse_preface(&shared, &route, arrival);
        return None;
    };
    let source = preface.ends.map_or(arrival.source, |ends| ends.source);
    let arrival = Arrival { accepted: Instant::now(), source };
    match admit(&shared, (&listener, route), arrival, Some(permit)) {
        Ok(admitted) => open(client, admitted, preface).await,
        Err(reason) => {
            tracing::debug!(reason = reason.label(), "connection refused");
            None
        }
    }
}

/// The connect phase. `None` when no backend serves the connection, which has been counted and reset.
async fn open(client: Client, admitted: Admitted, preface: Preface) -> Option<Relay> {
    let Admitted { arrival, route, source, mut course, permit, mut record } = admitted;
    let outcome = match &client.0 {
        Some(stream) => {
            let start = tokio::time::Instant::from_std(arrival.accepted);
            establish((stream, start), (permit.shared(), &route), &source, &mut course).await
        }
        None => Err(ErrorReason::Resources),
    };
    if let Some(record) = &mut record {
        // A backend that did not answer at first may serve after others were tried.
        let (color, why, endpoint) = match &outcome {
            Ok(Backend { attempt, .. }) => (&attempt.color, attempt.why, Some(attempt.endpoint.address)),
            Err(_) => course.last(),
        };
        record.note(|line| {
            (line.color, line.endpoint, line.tries) = (Some((color.clone(), why)), endpoint, course.tries());
        });
    }
    match outcome {
        Ok(backend) => {
            let client = client.keep()?;
            let first = first_bytes((&client, arrival.source), backend.attempt.proxy_protocol, preface);
            let is_gone = first.is_err();
            let (first, header_length) = first.unwrap_or_default();
            let opening = Opening { accepted: arrival.accepted, permit, record, first, header_length };
            let relay = Relay::new(client, backend, opening);
            if is_gone {
                relay.end(ClosedReason::ClientReset);
                return None;
            }
            Some(relay)
        }
        Err(reason) => {
            course.chosen_live().errors(reason).fetch_add(1, Ordering::Relaxed);
            if let Some(record) = &mut record {
                record.note(|line| line.end = End::of_unserved(reason));
            }
            tracing::debug!(service = %route.service, color = %course.chosen(), reason = reason.label(),
                "no backend serves a connection");
            None
        }
    }
}

/// What the backend gets first: the header, where its color wants one, and what the client has said so far,
/// which then goes in the same segment. Also how long the header is.
///
/// # Errors
/// The client has gone.
fn first_bytes(
    (client, source): (&TcpStream, SocketAddr),
    version: Option<ProxyProtocol>,
    preface: Preface,
) -> io::Result<(Vec<u8>, u16)> {
    let Some(version) = version else { return Ok((preface.early, 0)) };
    let destination = match preface.ends {
        Some(ends) => ends.destination,
        None => client.local_addr()?,
    };
    let mut first = preface::header(version, Ends { source, destination });
    let header_length = u16::try_from(first.len()).unwrap_or(u16::MAX);
    first.extend(preface.early);
    let mut said = [0; SAID_MAX];
    match client.try_read(&mut said) {
        Ok(length) => first.extend(&said[..length]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok((first, header_length))
}

/// What fits a segment behind a header.
const SAID_MAX: usize = 1024;

/// A client that no backend serves yet: closing it says RST, also when its worker ends. Absent when its
/// worker has no room for it.
struct Client(Option<TcpStream>);

impl Client {
    fn new(stream: StdStream) -> Self {
        Self(TcpStream::from_std(stream).ok())
    }

    fn keep(mut self) -> Option<TcpStream> {
        self.0.take()
    }
}

impl Drop for Client {
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
