//! The questions in flight, and who waits for them.
//!
//! Keeps, finds and counts; what is done about a question is [`super::turn`]'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::super::later::WayBack;
use super::message::Answer;
use super::policy::{Outcome, Race};
use super::question::{Key, Query};
use super::routes::Group;

/// A question in flight. Places are used again, serials are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightId {
    place: usize,
    serial: u64,
}

/// A client that waits.
#[derive(Debug)]
pub struct Waiter {
    /// What it asked.
    pub query: Query,
    /// Where its reply goes.
    pub to: WayBack,
    /// Since when.
    pub since: Instant,
}

/// One question in flight.
#[derive(Debug)]
pub struct Flight {
    /// The question.
    pub key: Key,
    /// As the first client wrote it.
    pub question: Arc<[u8]>,
    /// Who may answer; the race counts them from 0.
    pub group: Arc<Group>,
    /// Whom to ask next.
    pub race: Race,
    /// Who waits; at least one.
    pub waiters: Vec<Waiter>,
    /// The best that was heard so far.
    best: Option<(Outcome, Answer)>,
    /// Whether some upstream could be reached, as far as is known.
    pub is_reachable: bool,
    /// Whether the question has come more than once.
    pub is_repeated: bool,
    serial: u64,
}

impl Flight {
    /// Keeps what an upstream said, unless something better is known.
    pub fn keep(&mut self, outcome: Outcome, answer: Answer) {
        let worth = |outcome| match outcome {
            Outcome::Answered => 3,
            Outcome::Truncated => 2,
            Outcome::Failed => 1,
            Outcome::NoEdns | Outcome::Unwilling | Outcome::Unreachable => 0,
        };
        let known = self.best.as_ref().map_or(0, |(outcome, _)| worth(*outcome));
        if worth(outcome) > known {
            self.best = Some((outcome, answer));
        }
    }

    /// The best that was heard.
    pub fn take_best(&mut self) -> Option<Answer> {
        self.best.take().map(|(_, answer)| answer)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Flights {
    table: Slab<Flight>,
    by_key: HashMap<Key, usize>,
    serial: u64,
    waiting: usize,
}

impl Flights {
    /// Clients that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The same question, if it is in flight.
    pub fn find(&self, key: &Key) -> Option<FlightId> {
        let place = *self.by_key.get(key)?;
        self.table.get(place).map(|flight| FlightId { place, serial: flight.serial })
    }

    /// One more client waits for a question in flight.
    pub fn join(&mut self, id: FlightId, waiter: Waiter) {
        if let Some(flight) = self.get_mut(id) {
            flight.waiters.push(waiter);
            self.waiting += 1;
        }
    }

    /// A new question, which is not in flight.
    pub fn insert(&mut self, key: Key, group: Arc<Group>, race: Race, waiter: Waiter) -> FlightId {
        self.serial += 1;
        let (serial, question) = (self.serial, Arc::clone(&waiter.query.question));
        let (waiters, best) = (vec![waiter], None);
        let flight = Flight {
            key: key.clone(),
            question,
            group,
            race,
            waiters,
            best,
            is_reachable: false,
            is_repeated: false,
            serial,
        };
        let place = self.table.insert(flight);
        self.by_key.insert(key, place);
        self.waiting += 1;
        FlightId { place, serial }
    }

    /// The question, if it is still in flight.
    pub fn get_mut(&mut self, id: FlightId) -> Option<&mut Flight> {
        self.table.get_mut(id.place).filter(|flight| flight.serial == id.serial)
    }

    /// Takes a question out.
    pub fn remove(&mut self, id: FlightId) -> Option<Flight> {
        self.get_mut(id)?;
        let flight = self.table.remove(id.place);
        self.by_key.remove(&flight.key);
        self.waiting -= flight.waiters.len();
        Some(flight)
    }

    /// Those that `choose` wants.
    pub fn ids(&self, choose: impl Fn(&Flight) -> bool) -> Vec<FlightId> {
        let chosen = self.table.iter().filter(|(_, flight)| choose(flight));
        chosen.map(|(place, flight)| FlightId { place, serial: flight.serial }).collect()
    }

    /// When the next one has to be looked at.
    pub fn due(&self) -> Option<Instant> {
        self.table.iter().map(|(_, flight)| flight.race.due()).min()
    }
}
