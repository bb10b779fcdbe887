//! Telling people and programs what became of a release: signed POST requests from a bounded queue, beside the
//! release and never in its way.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::Notify as Wake;
use tokio_util::sync::CancellationToken;

use super::Asked;
use super::http::Patience;
use super::webhook::{self, Post};
use crate::model::release::{Notice, Notify};
use crate::telemetry::names::RELEASE_NOTIFICATIONS;

/// Messages that wait at most; the oldest makes room.
const QUEUE_MAX: usize = 256;
/// Addresses that are told something at the same time; one after the other at each.
const IN_FLIGHT_MAX: usize = 8;

/// Five tries in about a minute, as servers take that long to restart.
pub const PATIENCE: Patience<'static> = Patience {
    total: Duration::from_secs(120),
    each: Duration::from_secs(10),
    pauses: &[
        Duration::from_secs(2),
        Duration::from_secs(6),
        Duration::from_secs(15),
        Duration::from_secs(30),
    ],
    tries: 5,
};

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub notice: Notice,
    /// The release, and where it is.
    pub asked: Asked,
    /// Why, in one line.
    pub words: String,
}

#[derive(Serialize)]
struct Body<'a> {
    kind: &'static str,
    notice: Notice,
    host: &'a str,
    #[serde(flatten)]
    asked: &'a Asked,
    reason: &'a str,
    text: &'a str,
}

impl Message {
    /// One line for a chat.
    pub fn text(&self, host: &str) -> String {
        let Asked { release, app, version, step, percent, .. } = &self.asked;
        let what = match self.notice {
            Notice::Hold => "holds",
            Notice::Fail => "was judged as failed",
            Notice::Rollback => "is rolled back",
            Notice::Awaiting => "is ready to be confirmed",
            Notice::Confirmed => "is confirmed",
        };
        let colon = if self.words.is_empty() { "" } else { ": " };
        let at =
            if *step == 0 { "before its first step".into() } else { format!("at step {step} ({percent})") };
        let line = format!("{app} {version} on {host} {what} {at}{colon}{} [{release}]", self.words);
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    fn body(&self) -> Result<hyper::body::Bytes, String> {
        let host = webhook::host();
        let text = self.text(&host);
        webhook::json(&Body {
            kind: "notification",
            notice: self.notice,
            host: &host,
            asked: &self.asked,
            reason: &self.words,
            text: &text,
        })
    }
}

/// The queue of a daemon's notifications.
#[derive(Default)]
pub struct Notifier {
    queue: Mutex<VecDeque<(Notify, Message)>>,
    wake: Wake,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Notifier {
    /// Puts a message into the queue, if `whom` wants to know of such; never waits.
    pub fn notify(&self, whom: &Notify, message: &Message) {
        if !whom.on.is_empty() && !whom.on.contains(&message.notice) {
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= QUEUE_MAX && queue.pop_front().is_some() {
            count("dropped");
        }
        queue.push_back((whom.clone(), message.clone()));
        drop(queue);
        self.wake.notify_one();
    }

    /// Messages that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sends messages until `stop`. To each address they go in order; an address that does not answer keeps no other
    /// from being told. What waits at the end is lost.
    pub async fn run(&self, stop: CancellationToken, patience: Patience<'_>) {
        let mut busy = BTreeSet::new();
        let mut deliveries = FuturesUnordered::new();
        loop {
            while let Some((whom, message)) = self.next(&busy) {
                busy.insert(whom.url.clone());
                deliveries.push(deliver(whom, message, patience));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                Some(url) = deliveries.next() => {
                    busy.remove(&url);
                }
            }
        }
    }

    /// The oldest message to somebody who is not being told something else.
    fn next(&self, busy: &BTreeSet<String>) -> Option<(Notify, Message)> {
        if busy.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let index = queue.iter().position(|(whom, _)| !busy.contains(&whom.url))?;
        queue.remove(index)
    }
}

/// Sends one message, and returns the address that is free again.
async fn deliver(whom: Notify, message: Message, patience: Patience<'_>) -> String {
    let release = &message.asked.release;
    match send(&whom, &message, patience).await {
        Ok(()) => {
            count("delivered");
            tracing::debug!(%release, "told of {:?}", message.notice);
        }
        Err(words) => {
            count("failed");
            tracing::warn!(%release, "nobody was told of {:?}: {words}", message.notice);
        }
    }
    whom.url
}

async fn send(whom: &Notify, message: &Message, patience: Patience<'_>) -> Result<(), String> {
    let post = Post::new(&whom.url, whom.secret_file.as_deref(), message.body()?)?;
    let told = |words: String| format!("{}: {words}", post.shown());
    let answer = post.send(patience).await.map_err(told)?;
    if answer.status.is_success() { Ok(()) } else { Err(told(answer.words())) }
}

fn count(result: &'static str) {
    metrics::counter!(RELEASE_NOTIFICATIONS.name, "result" => result).increment(1);
}
