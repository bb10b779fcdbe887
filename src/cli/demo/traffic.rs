//! The clients: a number of connections, several at a time, and what they were answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cast::{Member, PerSide, Side, sides_of};
use super::client::{Mark, Way};

/// Clients that are under way at once.
const CLIENTS: u32 = 8;

/// How many connections, and over how long a time they begin.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// All of them.
    pub connections: u32,
    /// Zero: as fast as they can.
    pub spread: Duration,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// How often each answer came.
    pub texts: BTreeMap<String, u64>,
    /// The last one.
    pub last: String,
    /// Connections without a good answer.
    pub failed: u64,
    /// Why the first of them failed.
    pub failure: Option<String>,
}

/// Shared while clients run.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<Answers>>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came back until now.
    pub fn answers(&self) -> Answers {
        self.lock().clone()
    }

    fn note(&self, result: Result<String, String>) {
        let mut answers = self.lock();
        let failure = match result {
            Ok(text) if sides_of(&text).is_some() => {
                answers.last.clone_from(&text);
                *answers.texts.entry(text).or_default() += 1;
                return;
            }
            Ok(text) => format!("nobody answers {text:?} here"),
            Err(failure) => failure,
        };
        answers.failed += 1;
        answers.failure.get_or_insert(failure);
    }
}

impl Answers {
    /// Good answers.
    pub fn total(&self) -> u64 {
        self.texts.values().sum()
    }

    /// How many of them each side of a service had a part in.
    pub fn by_side(&self, member: Member) -> PerSide<u64> {
        let mut counts = [0; 2];
        for (text, times) in &self.texts {
            if let Some((b, a)) = sides_of(text) {
                let side: Side = if member == Member::A { a } else { b };
                counts[side as usize] += times;
            }
        }
        counts
    }
}

/// Opens every connection and waits for the last answer. When dropped, what is under way ends.
pub async fn run(way: Way, load: Load, tally: Tally) {
    let begun = Arc::new(AtomicU32::new(0));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (begun, tally) = (Arc::clone(&begun), tally.clone());
        clients.spawn(async move {
            loop {
                let turn = begun.fetch_add(1, Ordering::Relaxed);
                if turn >= load.connections {
                    return;
                }
                if !load.spread.is_zero() {
                    tokio::time::sleep_until(start + load.spread * turn / load.connections).await;
                }
                let answer = way.get(&Member::B.host(), Mark::Counted).await;
                tally.note(answer.map_err(|error| error.to_string()));
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        if let Err(error) = ended {
            tally.note(Err(format!("a client of the demo panicked: {error}")));
        }
    }
}
