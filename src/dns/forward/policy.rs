//! Whom to ask next: one question, a few upstreams, two seconds.
//!
//! Pure: `now` is an argument, and what is done about a [`Step`] is the caller's business. Which upstream
//! comes first is [`super::health`]'s.

use std::time::{Duration, Instant};

/// The time that a client waits for an answer at most. Resolvers of clients and of Docker wait 4 to 5 s.
pub const BUDGET: Duration = Duration::from_secs(2);
/// The time that an upstream has before the next one is asked as well.
pub const PATIENCE: Duration = Duration::from_millis(400);
/// Upstreams of one group at most.
pub const CANDIDATES_MAX: usize = 8;

/// What came back from an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer that goes to the client: NOERROR, NXDOMAIN or YXDOMAIN.
    Answered,
    /// TC: the whole answer has to be fetched over TCP.
    Truncated,
    /// It does not know EDNS, and may be asked without.
    NoEdns,
    /// SERVFAIL: another one may know.
    Failed,
    /// REFUSED, a referral, or what makes no sense: it does not resolve this for us.
    Unwilling,
    /// Nothing came, and nothing will: the host or port cannot be reached, or the stream has ended.
    Unreachable,
}

/// How an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// One datagram.
    Udp,
    /// One datagram without an OPT.
    UdpWithoutEdns,
    /// A stream.
    Tcp,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the candidate with this number.
    Ask(u8, Manner),
    /// Wait until [`Race::due`].
    Wait,
    /// There is an answer, or there will be none: tell the clients.
    Finish,
}

/// What a candidate is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was not asked.
    Fresh,
    /// It was asked and has not answered.
    Asked,
    /// It was asked over TCP and has not answered.
    AskedTcp,
    /// It was asked without EDNS and has not answered.
    AskedPlain,
    /// It cannot help.
    Over,
}

/// How one question fares.
#[derive(Debug, Clone)]
pub struct Race {
    /// Candidates in the order in which they are asked.
    order: [u8; CANDIDATES_MAX],
    count: usize,
    /// By candidate.
    states: [State; CANDIDATES_MAX],
    /// Who was asked last, as a place in `order`.
    last: usize,
    answered: bool,
    /// When patience with the one asked last is over.
    patience_ends: Instant,
    deadline: Instant,
}

impl Race {
    /// Begins with candidates in this order; more than [`CANDIDATES_MAX`] are left out.
    pub fn start(order: &[u8], now: Instant) -> (Self, Step) {
        let count = order.len().min(CANDIDATES_MAX);
        let mut kept = [0; CANDIDATES_MAX];
        kept[..count].copy_from_slice(&order[..count]);
        let mut race = Self {
            order: kept,
            count,
            states: [State::Fresh; CANDIDATES_MAX],
            last: 0,
            answered: false,
            patience_ends: now,
            deadline: now + BUDGET,
        };
        let step = race.next_fresh(now).unwrap_or(Step::Finish);
        (race, step)
    }

    /// Whether a client can be told what an upstream said.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// When [`Self::passed`] is to be called at the latest.
    pub fn due(&self) -> Instant {
        self.patience_ends.min(self.deadline)
    }

    /// When the clients have to be told something.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether a candidate was asked and may still answer.
    pub fn waits_for(&self, candidate: u8) -> bool {
        matches!(
            self.states.get(usize::from(candidate)),
            Some(State::Asked | State::AskedTcp | State::AskedPlain)
        )
    }

    /// A candidate has answered, or cannot be asked.
    pub fn answered(&mut self, candidate: u8, outcome: Outcome, now: Instant) -> Step {
        let Some(state) = self.states.get_mut(usize::from(candidate)) else { return Step::Wait };
        match (outcome, *state) {
            (Outcome::Answered, _) => {
                self.answered = true;
                return Step::Finish;
            }
            // A second answer of the same kind, to a question that was repeated, changes nothing.
            (_, State::Over)
            | (Outcome::Truncated, State::AskedTcp)
            | (Outcome::NoEdns, State::AskedPlain | State::AskedTcp) => return Step::Wait,
            (Outcome::Truncated, _) => {
                *state = State::AskedTcp;
                self.patience_ends = now + PATIENCE;
                return Step::Ask(candidate, Manner::Tcp);
            }
            (Outcome::NoEdns, _) => {
                *state = State::AskedPlain;
                self.patience_ends = now + PATIENCE;
                return Step::Ask(candidate, Manner::UdpWithoutEdns);
            }
            _ => *state = State::Over,
        }
        if now >= self.deadline {
            return Step::Finish;
        }
        self.next_fresh(now).unwrap_or_else(|| self.rest())
    }

    /// Time has passed. The candidate named first, if there is one, has not answered in time.
    pub fn passed(&mut self, now: Instant) -> (Option<u8>, Step) {
        if now >= self.deadline {
            return (self.late(), Step::Finish);
        }
        if now < self.patience_ends {
            return (None, Step::Wait);
        }
        let late = self.late();
        let step = self.next_fresh(now).or_else(|| self.repeat(now)).unwrap_or_else(|| self.rest());
        (late, step)
    }

    fn late(&self) -> Option<u8> {
        let last = *self.order[..self.count].get(self.last)?;
        self.waits_for(last).then_some(last)
    }

    /// Nobody is left to be asked.
    fn rest(&self) -> Step {
        let waiting = self.order[..self.count].iter().any(|candidate| self.waits_for(*candidate));
        if waiting { Step::Wait } else { Step::Finish }
    }

    /// The first that was not asked.
    fn next_fresh(&mut self, now: Instant) -> Option<Step> {
        let mut order = self.order[..self.count].iter();
        let place = order.position(|candidate| self.states[usize::from(*candidate)] == State::Fresh)?;
        self.states[usize::from(self.order[place])] = State::Asked;
        Some(self.ask(place, now, Manner::Udp))
    }

    /// A datagram may have been lost: the next after the one asked last that is still asked by datagram gets
    /// it once more.
    fn repeat(&mut self, now: Instant) -> Option<Step> {
        let places = (1..=self.count).map(|step| (self.last + step) % self.count);
        for place in places {
            let manner = match self.states[usize::from(self.order[place])] {
                State::Asked => Manner::Udp,
                State::AskedPlain => Manner::UdpWithoutEdns,
                _ => continue,
            };
            return Some(self.ask(place, now, manner));
        }
        self.patience_ends = self.deadline;
        None
    }

    fn ask(&mut self, place: usize, now: Instant, manner: Manner) -> Step {
        self.last = place;
        self.patience_ends = now + PATIENCE;
        Step::Ask(self.order[place], manner)
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
