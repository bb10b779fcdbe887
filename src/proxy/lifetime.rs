//! How long a served connection may live: idle, half-closed, at all, and at the end of its drain.
//!
//! One timer for all of them, set anew only when it fires: a read costs a look at the clock and no timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::model::Policy;
use crate::state::ClosedReason;
use crate::state::drain::{CLOSING, QUIET};

/// What bounds a connection, as its service said when it was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// Without a byte in either direction, once one side has said FIN.
    pub half_close: Option<Duration>,
    /// Since the client was accepted.
    pub age: Option<Duration>,
}

impl Timeouts {
    /// Those of a policy.
    pub fn of(policy: &Policy) -> Self {
        Self {
            idle: policy.idle_timeout,
            half_close: policy.half_close_timeout,
            age: policy.max_connection_age,
        }
    }
}

/// Watches over the timeouts of one connection.
#[derive(Debug)]
pub struct Lifetime {
    timeouts: Timeouts,
    accepted: Instant,
    /// When a byte or the first FIN last moved.
    last_moved: Instant,
    half: Half,
    ending: Ending,
    /// Absent until something bounds the connection: its first FIN, where only that does.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether one side has said FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Open,
    Closed,
}

/// Whether teal ends the connection as soon as it is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It does not.
    No,
    /// It waits until nothing has moved for a while, counted from then at the earliest.
    Wanted(Instant),
    /// The backend was told FIN at that time, and should say it as well.
    Begun(Instant),
}

impl Lifetime {
    /// For a connection accepted at `accepted`. `None` when nothing bounds it.
    pub fn new(timeouts: Timeouts, accepted: Instant) -> Option<Box<Self>> {
        let Timeouts { idle, half_close, age } = timeouts;
        idle.or(half_close).or(age)?;
        Some(Box::new(Self::of(timeouts, accepted)))
    }

    /// For a connection that nothing bounded until now.
    pub fn unbounded() -> Box<Self> {
        Box::new(Self::of(Timeouts { idle: None, half_close: None, age: None }, Instant::now()))
    }

    fn of(timeouts: Timeouts, accepted: Instant) -> Self {
        let last_moved = Instant::now();
        Self { timeouts, accepted, last_moved, half: Half::Open, ending: Ending::No, timer: None }
    }

    /// From now on [`Self::poll_over`] says [`ClosedReason::DrainIdle`] whenever nothing has moved for [`QUIET`].
    pub fn want_end(&mut self) {
        if self.ending == Ending::No {
            self.put_off_end();
            self.timer = None;
        }
    }

    /// It says that again after as long a time at the earliest.
    pub fn put_off_end(&mut self) {
        self.ending = Ending::Wanted(Instant::now());
    }

    /// No longer so.
    pub fn keep(&mut self) {
        self.ending = Ending::No;
    }

    /// The backend was told FIN. It is given a while to say it as well.
    pub fn begin_end(&mut self) {
        self.ending = Ending::Begun(Instant::now());
    }

    /// Whether the backend was told FIN by teal itself.
    pub fn is_ending(&self) -> bool {
        matches!(self.ending, Ending::Begun(_))
    }

    /// Notes that bytes moved.
    pub fn note_moved(&mut self) {
        self.last_moved = Instant::now();
    }

    /// Notes that one side said FIN and the other did not yet.
    pub fn note_half_closed(&mut self) {
        self.half = Half::Closed;
        self.last_moved = Instant::now();
        // What is due now may be due sooner than the timer fires.
        self.timer = None;
    }

    /// When the connection is over unless something moves, and why. The first of several.
    fn due(&self) -> Option<(Instant, ClosedReason)> {
        let half_close = self.timeouts.half_close.filter(|_| self.half == Half::Closed);
        let after = |since: Instant, timeout: Option<Duration>, reason| {
            timeout.and_then(|timeout| Some((since.checked_add(timeout)?, reason)))
        };
        let ending = match self.ending {
            Ending::No => None,
            Ending::Wanted(since) => after(self.last_moved.max(since), Some(QUIET), ClosedReason::DrainIdle),
            Ending::Begun(at) => after(at, Some(CLOSING), ClosedReason::DrainDeadline),
        };
        [
            ending,
            after(self.accepted, self.timeouts.age, ClosedReason::Age),
            after(self.last_moved, half_close, ClosedReason::HalfClose),
            after(self.last_moved, self.timeouts.idle, ClosedReason::Idle),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(due, _)| *due)
    }

    /// Ready once the connection is over.
    pub fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<ClosedReason> {
        loop {
            let Some(timer) = &mut self.timer else {
                let Some((due, _)) = self.due() else { return Poll::Pending };
                self.timer = Some(Box::pin(tokio::time::sleep_until(due)));
                continue;
            };
            std::task::ready!(timer.as_mut().poll(context));
            match self.due() {
                Some((due, reason)) if due <= Instant::now() => return Poll::Ready(reason),
                Some((due, _)) => {
                    if let Some(timer) = &mut self.timer {
                        timer.as_mut().reset(due);
                    }
                }
                None => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const OFF: Timeouts = Timeouts { idle: None, half_close: None, age: None };

    const SECONDS_5: Option<Duration> = Some(Duration::from_secs(5));
    const SECONDS_10: Option<Duration> = Some(Duration::from_secs(10));
    const SECONDS_25: Option<Duration> = Some(Duration::from_secs(25));

    fn lifetime(timeouts: Timeouts) -> Lifetime {
        *Lifetime::new(timeouts, Instant::now()).unwrap()
    }

    async fn over(lifetime: &mut Lifetime) -> (ClosedReason, u64) {
        let reason = poll_fn(|context| lifetime.poll_over(context)).await;
        (reason, lifetime.accepted.elapsed().as_secs())
    }

    async fn wait(lifetime: &mut Lifetime, number: u64) {
        let outcome = tokio::time::timeout(Duration::from_secs(number), over(lifetime)).await;
        assert!(outcome.is_err(), "over too early: {outcome:?}");
    }

    #[tokio::test]
    async fn without_timeouts_there_is_nothing_to_watch() {
        assert!(Lifetime::new(OFF, Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_puts_off_idle_and_not_age() {
        let mut lifetime = lifetime(Timeouts { idle: SECONDS_10, age: SECONDS_25, ..OFF });
        for _ in 0..2 {
            wait(&mut lifetime, 9).await;
            lifetime.note_moved();
        }
        assert_eq!(over(&mut lifetime).await, (ClosedReason::Age, 25));
        let mut lifetime = self::lifetime(Timeouts { idle: SECONDS_10, age: SECONDS_25, ..OFF });
        assert_eq!(over(&mut lifetime).await, (ClosedReason::Idle, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn half_close_counts_from_the_fin_and_is_put_off_by_what_moves() {
        let mut lifetime = lifetime(Timeouts { half_close: SECONDS_5, ..OFF });
        wait(&mut lifetime, 100).await;
        lifetime.note_half_closed();
        wait(&mut lifetime, 4).await;
        lifetime.note_moved();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::HalfClose, 109));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fin_brings_forward_what_an_idle_timer_waits_for() {
        let mut lifetime = lifetime(Timeouts { idle: SECONDS_25, half_close: SECONDS_5, ..OFF });
        wait(&mut lifetime, 1).await;
        lifetime.note_half_closed();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::HalfClose, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_wanted_comes_once_it_was_quiet_and_is_taken_back() {
        let mut lifetime = *Lifetime::unbounded();
        wait(&mut lifetime, 100).await;
        lifetime.note_moved();
        lifetime.want_end();
        wait(&mut lifetime, 4).await;
        lifetime.note_moved();
        lifetime.want_end();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::DrainIdle, 109));
        lifetime.keep();
        wait(&mut lifetime, 100).await;
        lifetime.want_end();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::DrainIdle, 214));
        lifetime.put_off_end();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::DrainIdle, 219));
        lifetime.begin_end();
        assert!(lifetime.is_ending());
        assert_eq!(over(&mut lifetime).await, (ClosedReason::DrainDeadline, 249), "the backend says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_put_off_again_and_again_leaves_other_timeouts_as_they_are() {
        let mut lifetime = lifetime(Timeouts { idle: SECONDS_10, ..OFF });
        lifetime.want_end();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::DrainIdle, 5));
        lifetime.put_off_end();
        wait(&mut lifetime, 4).await;
        lifetime.put_off_end();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::Idle, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_timeout_shorter_than_half_close_still_counts() {
        let mut lifetime = lifetime(Timeouts { idle: SECONDS_5, half_close: SECONDS_10, ..OFF });
        lifetime.note_half_closed();
        assert_eq!(over(&mut lifetime).await, (ClosedReason::Idle, 5));
    }
}
