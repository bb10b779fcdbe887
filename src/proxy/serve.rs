//! What becomes of an accepted connection: admitted or refused, connected, relayed.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::admit::{Admitted, Arrival, ListenerState, admit};
use super::establish::establish;
use super::log::End;
use super::relay::{Opening, Relay};
use super::shared::Shared;
use crate::net::accept::{Accept, AcceptError};
use crate::net::stream::reset_on_close;
use crate::state::ErrorReason;
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
        match admit(&self.shared, &self.listener, arrival) {
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
        let is_said = self.warned.is_some_and(|warned| warned.elapsed() < WARN_AGAIN);
        if error != AcceptError::Connection && !is_said {
            self.warned = Some(Instant::now());
            tracing::warn!(reason = error.label(), "cannot accept a connection");
        }
    }
}

/// The connect phase. `None` when no backend serves the connection, which has been counted and reset.
async fn open(stream: StdStream, admitted: Admitted) -> Option<Relay> {
    let Admitted { arrival, route, source, mut course, permit, mut record } = admitted;
    let client = Refused(TcpStream::from_std(stream).ok());
    let outcome = match &client.0 {
        Some(stream) => {
            let start = tokio::time::Instant::from_std(arrival.accepted);
            establish((stream, start), (permit.shared(), &route), &source, &mut course).await
        }
        None => Err(ErrorReason::Resources),
    };
    if let Some(record) = &mut record {
        let (color, why, endpoint) = course.last();
        record.note(|line| {
            (line.color, line.endpoint, line.tries) = (Some((color.clone(), why)), endpoint, course.tries());
        });
    }
    match outcome {
        Ok(backend) => {
            let client = client.keep()?;
            Some(Relay::new(client, backend, Opening { accepted: arrival.accepted, permit, record }))
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
