//! How an upstream has done so far, and so which one is asked first. Pure: `now` is an argument.

use std::time::{Duration, Instant};

/// Failures in a row after which an upstream is down.
const FAILURES_MAX: u32 = 3;
/// An upstream that is down gets a copy of a question so often.
const PROBE: Duration = Duration::from_secs(1);
/// A failure puts an upstream behind the others for so long, if it is not down.
const GRUDGE: Duration = Duration::from_secs(10);
/// Refusals in a row that count as a failure: some servers refuse what they block, and are fine.
const REFUSALS_MAX: u32 = 8;
/// A measured time says nothing about now after so long.
const RTT_LIFE: Duration = Duration::from_secs(60);
/// An upstream that sends questions back to teal rests for so long.
const LOOP_REST: Duration = Duration::from_secs(30);
/// Upstreams of one class are asked in the order of the configuration: bounds of the classes.
const CLASSES: [Duration; 3] =
    [Duration::from_millis(25), Duration::from_millis(100), super::policy::PATIENCE];

/// Whether something has just changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anybody must know.
    None,
    /// It is down from now on.
    Down,
    /// It is up again.
    Up,
}

/// What is known about an upstream. It is up until it fails.
#[derive(Debug, Clone, Default)]
pub struct Health {
    failures: u32,
    failed_at: Option<Instant>,
    is_down: bool,
    probed_at: Option<Instant>,
    rtt: Option<(Duration, Instant)>,
    looped_at: Option<Instant>,
    /// Refusals in a row, and when the last one was.
    refusals: u32,
    refused_at: Option<Instant>,
}

/// The lower the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    tier: u8,
    class: u8,
}

impl Health {
    /// Whether it is used before others that are down.
    pub fn is_up(&self) -> bool {
        !self.is_down
    }

    /// The smoothed time from question to answer, if one was measured (RFC 6298 §2).
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|(rtt, _)| rtt)
    }

    /// It has answered a question over UDP after `took`, in time or late.
    pub fn measured(&mut self, took: Duration, now: Instant) {
        let smoothed = match self.rtt {
            Some((rtt, at)) if now.saturating_duration_since(at) < RTT_LIFE => (rtt * 7 + took) / 8,
            _ => took,
        };
        self.rtt = Some((smoothed, now));
    }

    /// It has answered, in time or late, as a server that works does.
    pub fn succeeded(&mut self) -> Change {
        self.refusals = 0;
        self.looped_at = None;
        self.lives()
    }

    /// It has answered, but refuses to resolve the name.
    pub fn refused(&mut self, now: Instant) -> Change {
        self.refusals = self.refusals.saturating_add(1);
        self.refused_at = Some(now);
        self.lives()
    }

    fn lives(&mut self) -> Change {
        self.failures = 0;
        self.failed_at = None;
        if std::mem::take(&mut self.is_down) { Change::Up } else { Change::None }
    }

    /// It has not answered a question asked at `asked_at`, or not as a server should. Questions that were under
    /// way together count once.
    pub fn failed(&mut self, asked_at: Instant, now: Instant) -> Change {
        if self.failed_at.is_some_and(|failed_at| asked_at < failed_at) {
            return Change::None;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        if self.failures < FAILURES_MAX || self.is_down {
            return Change::None;
        }
        self.is_down = true;
        self.probed_at = Some(now);
        Change::Down
    }

    /// A question that it was asked has come back to teal.
    pub fn looped(&mut self, now: Instant) {
        self.looped_at = Some(now);
    }

    /// Whether a question has come back since it last answered one.
    pub fn has_looped(&self) -> bool {
        self.looped_at.is_some()
    }

    /// Whether it sends questions back to teal, as far as is known.
    pub fn is_looping(&self, now: Instant) -> bool {
        self.looped_at.is_some_and(|at| now.saturating_duration_since(at) < LOOP_REST)
    }

    /// Whether it is down and a copy of the question that others are asked should go to it. Says so once a
    /// second.
    pub fn take_probe(&mut self, now: Instant) -> bool {
        let due = self.is_down && self.probed_at.is_none_or(|at| now.saturating_duration_since(at) >= PROBE);
        if due {
            self.probed_at = Some(now);
        }
        due
    }

    /// Where it stands among others.
    pub fn rank(&self, now: Instant) -> Rank {
        let lately = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < GRUDGE);
        let refuses = self.refusals >= REFUSALS_MAX && lately(self.refused_at);
        let tier = if self.is_down { 2 } else { u8::from(refuses || lately(self.failed_at)) };
        let fresh = self.rtt.filter(|(_, at)| now.saturating_duration_since(*at) < RTT_LIFE);
        let class = fresh.map_or(0, |(rtt, _)| CLASSES.iter().filter(|bound| rtt > **bound).count());
        Rank { tier, class: u8::try_from(class).unwrap_or(u8::MAX) }
    }
}

/// The numbers of those that may be asked, the best first: those that work and have not failed lately, quick
/// ones before slow ones, else as configured. Those that loop are left out.
pub fn order<'a>(upstreams: impl Iterator<Item = &'a Health>, now: Instant) -> Vec<u8> {
    let usable = upstreams.enumerate().filter(|(_, health)| !health.is_looping(now));
    let mut ranked: Vec<(Rank, u8)> =
        usable.filter_map(|(index, health)| Some((health.rank(now), u8::try_from(index).ok()?))).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn order_of(healths: &[Health], now: Instant) -> Vec<u8> {
        order(healths.iter(), now)
    }

    #[test]
    fn three_failures_in_a_row_are_down_and_any_answer_is_up() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for expected in [Change::None, Change::None, Change::Down, Change::None] {
            assert_eq!(health.failed(now, now), expected);
            now += MS;
        }
        assert!(!health.is_up());
        assert_eq!(health.refused(now), Change::Up, "it lives");
        assert_eq!((health.failed(now, now), health.succeeded()), (Change::None, Change::None));
    }

    #[test]
    fn questions_that_were_under_way_together_fail_once() {
        let (mut health, start) = (Health::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(health.failed(start, start + MS), Change::None);
        }
        assert_eq!(health.failed(start + MS, start + MS * 2), Change::None);
        assert_eq!(health.failed(start + MS * 2, start + MS * 3), Change::Down);
    }

    #[test]
    fn one_that_is_down_is_probed_once_a_second() {
        let (mut health, start) = (Health::default(), Instant::now());
        assert!(!health.take_probe(start));
        for n in 0..3 {
            health.failed(start + MS * n, start + MS * n);
        }
        assert!(!health.take_probe(start + MS * 900), "it has just failed");
        assert!(health.take_probe(start + MS * 1002));
        assert!(!health.take_probe(start + MS * 1900));
        assert!(health.take_probe(start + MS * 2002));
    }

    #[test]
    fn order_is_the_configuration_s_until_there_is_a_reason() {
        let now = Instant::now();
        let mut healths = [Health::default(), Health::default(), Health::default()];
        assert_eq!(order_of(&healths, now), [0, 1, 2]);
        healths[0].measured(MS * 20, now);
        healths[1].measured(MS, now);
        assert_eq!(order_of(&healths, now), [0, 1, 2], "both are quick");
        healths[0].failed(now, now);
        assert_eq!(order_of(&healths, now), [1, 2, 0]);
        assert_eq!(order_of(&healths, now + GRUDGE), [0, 1, 2]);
        healths[1].measured(PATIENCE * 20, now);
        assert_eq!(order_of(&healths, now + GRUDGE), [0, 2, 1], "a slow one");
        assert_eq!(order_of(&healths, now + RTT_LIFE), [0, 1, 2], "long ago");
        healths[2].looped(now);
        assert_eq!(order_of(&healths, now), [1, 0]);
        assert_eq!(order_of(&healths, now + LOOP_REST), [0, 2, 1]);
    }

    #[test]
    fn a_server_that_blocks_a_few_names_stays_where_it_is() {
        let now = Instant::now();
        let mut healths = [Health::default(), Health::default()];
        for _ in 1..REFUSALS_MAX {
            healths[0].refused(now);
        }
        assert_eq!(order_of(&healths, now), [0, 1]);
        healths[0].refused(now);
        assert_eq!(order_of(&healths, now), [1, 0]);
        healths[0].succeeded();
        assert_eq!(order_of(&healths, now), [0, 1]);
    }

    const PATIENCE: Duration = super::super::policy::PATIENCE;
}
