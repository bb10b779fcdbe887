//! Which endpoints of a color are ejected for failed connections, and for how long. Pure: `now` is an
//! argument.

use std::time::{Duration, Instant};

use crate::model::Outlier;
use crate::state::{EjectionRecord, EndpointLive};

/// What became of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is ejected for so long.
    Ejected(Duration),
    /// Its ejection is over.
    Back,
}

/// Goes over the endpoints of one color: takes back those whose time is over, or that served a connection
/// meanwhile, and those that are too many since the color or its bound became smaller, the soonest due first. Then
/// ejects those that failed too often, as far as the bound allows.
pub fn sweep<'a>(
    endpoints: impl Iterator<Item = &'a EndpointLive> + Clone,
    outlier: Option<&Outlier>,
    now: Instant,
    mut changed: impl FnMut(&EndpointLive, Change),
) {
    let (mut count, mut ejected) = (0, 0);
    for endpoint in endpoints.clone() {
        count += 1;
        if !endpoint.outlier.is_ejected() {
            continue;
        }
        let is_over = endpoint.outlier.record().until.is_none_or(|until| now >= until);
        if is_over || outlier.is_none() || endpoint.outlier.failures() == 0 {
            end(endpoint, now);
            changed(endpoint, Change::Back);
        } else {
            ejected += 1;
        }
    }
    let Some(outlier) = outlier else { return };
    let max = ejected_max(count, outlier);
    if ejected > max {
        let mut held: Vec<_> = endpoints.clone().filter(|endpoint| endpoint.outlier.is_ejected()).collect();
        held.sort_by_key(|endpoint| endpoint.outlier.record().until);
        for endpoint in held.into_iter().take(ejected - max) {
            end(endpoint, now);
            changed(endpoint, Change::Back);
        }
        return;
    }
    for endpoint in endpoints {
        let is_due = endpoint.outlier.failures() >= outlier.consecutive_failures;
        if is_due && !endpoint.outlier.is_ejected() && ejected < max {
            let length = eject(endpoint, outlier, now);
            ejected += 1;
            changed(endpoint, Change::Ejected(length));
        }
    }
}

/// Ends an ejection; its failures are forgotten.
pub fn end(endpoint: &EndpointLive, now: Instant) {
    let record = endpoint.outlier.record();
    endpoint.outlier.note(EjectionRecord { until: None, ended: Some(now), ..record });
}

fn eject(endpoint: &EndpointLive, outlier: &Outlier, now: Instant) -> Duration {
    let before = endpoint.outlier.record();
    let is_recent =
        before.ended.is_some_and(|ended| now.saturating_duration_since(ended) < outlier.max_ejection);
    let times = if is_recent { before.times.saturating_add(1) } else { 1 };
    let length = outlier.ejection.saturating_mul(times).min(outlier.max_ejection);
    endpoint.outlier.note(EjectionRecord { until: Some(now + length), times, ended: None });
    length
}

/// How many of so many endpoints may be ejected at once: a share, but always one.
fn ejected_max(endpoints: usize, outlier: &Outlier) -> usize {
    (endpoints * outlier.max_ejected_percent as usize / 100).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{ColorName, ServiceName};
    use crate::state::{Live, SuccessAt, Unheard};

    const OUTLIER: Outlier = Outlier {
        consecutive_failures: 5,
        ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(100),
        max_ejected_percent: 50,
        resets: true,
    };

    fn color(count: u16) -> Vec<Arc<EndpointLive>> {
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let live = Live::default();
        (1..=count).map(|port| live.endpoint((&service, 80, &color), ([127, 0, 0, 1], port).into())).collect()
    }

    fn sweep_all(color: &[Arc<EndpointLive>], now: Instant) -> Vec<(u16, Change)> {
        sweep_within(color, OUTLIER.max_ejected_percent, now)
    }

    fn sweep_within(color: &[Arc<EndpointLive>], percent: u32, now: Instant) -> Vec<(u16, Change)> {
        let mut changes = Vec::new();
        let note = |endpoint: &EndpointLive, change| changes.push((endpoint.address.port(), change));
        let outlier = Outlier { max_ejected_percent: percent, ..OUTLIER };
        sweep(color.iter().map(Arc::as_ref), Some(&outlier), now, note);
        changes
    }

    fn fail(endpoint: &EndpointLive, times: u32) {
        (0..times).for_each(|_| endpoint.outlier.failed());
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time_until_it_holds_for_a_while() {
        let color = color(1);
        let mut now = Instant::now();
        fail(&color[0], 4);
        color[0].outlier.succeeded();
        fail(&color[0], 4);
        assert_eq!(sweep_all(&color, now), []);
        for seconds in [30, 60, 90, 100, 100] {
            fail(&color[0], 5);
            let length = Duration::from_secs(seconds);
            assert_eq!(sweep_all(&color, now), [(1, Change::Ejected(length))]);
            assert_eq!(sweep_all(&color, now + length.mul_f64(0.99)), []);
            now += length;
            assert_eq!(sweep_all(&color, now), [(1, Change::Back)]);
            assert_eq!(color[0].outlier.failures(), 0);
        }
        now += OUTLIER.max_ejection;
        fail(&color[0], 5);
        assert_eq!(sweep_all(&color, now), [(1, Change::Ejected(OUTLIER.ejection))]);
    }

    #[test]
    fn a_connection_that_succeeds_all_the_same_ends_an_ejection_and_so_does_switching_it_off() {
        let color = color(2);
        let now = Instant::now();
        fail(&color[0], 5);
        fail(&color[1], 5);
        assert_eq!(sweep_all(&color, now), [(1, Change::Ejected(OUTLIER.ejection))], "half of them");
        color[0].outlier.succeeded();
        let next = [(1, Change::Back), (2, Change::Ejected(OUTLIER.ejection))];
        assert_eq!(sweep_all(&color, now), next, "then it is the other's turn");
        let mut changes = Vec::new();
        sweep(color.iter().map(Arc::as_ref), None, now, |_, change| changes.push(change));
        assert_eq!(changes, [Change::Back]);
    }

    #[test]
    fn in_a_color_that_became_smaller_those_that_are_due_the_soonest_are_back() {
        let color = color(4);
        let now = Instant::now();
        fail(&color[3], 5);
        sweep_all(&color, now);
        fail(&color[1], 5);
        sweep_all(&color, now + Duration::from_secs(1));
        assert_eq!(color.iter().filter(|endpoint| endpoint.outlier.is_ejected()).count(), 2);
        let smaller = [Arc::clone(&color[1]), Arc::clone(&color[3])];
        let later = now + Duration::from_secs(2);
        assert_eq!(sweep_all(&smaller, later), [(4, Change::Back)]);
        assert_eq!(color[3].outlier.failures(), 0);
        // One is left: it stays ejected, as always one may be.
        assert_eq!(sweep_all(&smaller[..1], later), []);
        assert!(color[1].outlier.is_ejected());
    }

    proptest! {
        /// The same while reloads take endpoints out of the color, put them back and change the share.
        #[test]
        fn the_share_holds_at_any_size_of_the_color(
            steps in proptest::collection::vec((0_usize..8, 1_usize..9, 0_u32..101, 0_u64..20), 1..120),
        ) {
            let color = color(8);
            let mut now = Instant::now();
            for (first, many, percent, seconds) in steps {
                let mut part: Vec<_> = color.iter().cycle().skip(first).take(many).cloned().collect();
                for endpoint in &part {
                    fail(endpoint, OUTLIER.consecutive_failures);
                }
                now += Duration::from_secs(seconds);
                let is_held = |endpoint: &&Arc<EndpointLive>| {
                    endpoint.outlier.record().until.is_some_and(|until| until > now)
                };
                let held = part.iter().filter(is_held).count();
                sweep_within(&part, percent, now);
                part.retain(|endpoint| endpoint.outlier.is_ejected());
                let max = (many * percent as usize / 100).max(1);
                prop_assert!(part.len() <= max, "{} of {many} at {percent} %", part.len());
                prop_assert!(part.len() >= held.min(max), "no more are taken back than are too many");
            }
        }

        /// Whatever happens and whenever it is looked at: never more than the share, never longer than the
        /// longest, and nobody who did not fail often enough.
        #[test]
        fn the_bounds_hold(
            count in 1_u16..9,
            steps in proptest::collection::vec((0_usize..8, 0_u32..4, 0_u64..40), 1..120),
        ) {
            let color = color(count);
            let mut now = Instant::now();
            for (which, what, seconds) in steps {
                let endpoint = &color[which % color.len()];
                match what {
                    0 => endpoint.outlier.succeeded(),
                    1 => end(endpoint, now),
                    more => fail(endpoint, more * 2),
                }
                now += Duration::from_secs(seconds);
                let failures: Vec<u32> = color.iter().map(|e| e.outlier.failures()).collect();
                for (port, change) in sweep_all(&color, now) {
                    if let Change::Ejected(length) = change {
                        prop_assert!(length >= OUTLIER.ejection && length <= OUTLIER.max_ejection);
                        prop_assert!(failures[usize::from(port) - 1] >= OUTLIER.consecutive_failures);
                    }
                }
                let ejected: Vec<_> = color.iter().filter(|e| e.outlier.is_ejected()).collect();
                prop_assert!(ejected.len() <= (color.len() / 2).max(1));
                for endpoint in ejected {
                    prop_assert!(endpoint.outlier.record().until.is_some_and(|until| until > now));
                }
            }
        }

        /// In both modes an endpoint is ejected exactly when the last so many connections that say something
        /// about it all failed, with connections that overlap in any way.
        #[test]
        fn a_row_of_failures_is_one_in_both_modes(
            resets in any::<bool>(),
            events in proptest::collection::vec((0_u32..6, 0_u64..2), 1..200),
        ) {
            let success = SuccessAt::of(Some(&Outlier { resets, ..OUTLIER }));
            let color = color(1);
            let (cell, mut now) = (&color[0].outlier, Instant::now());
            let mut row = 0;
            for (what, seconds) in events {
                now += Duration::from_secs(seconds);
                match what {
                    0 => cell.failed(),
                    1 => cell.accepted(success),
                    2 => cell.heard(success),
                    3 => cell.ended_unheard(success, Unheard::Reset),
                    4 => cell.ended_unheard(success, Unheard::Clean),
                    _ => cell.ended_unheard(success, Unheard::Otherwise),
                }
                row = match (what, resets) {
                    (0, _) | (3, true) => row + 1,
                    (1, false) | (2 | 4, true) => 0,
                    _ => row,
                };
                prop_assert_eq!(cell.failures(), row);
                let was = cell.is_ejected();
                sweep_all(&color, now);
                let due = row >= OUTLIER.consecutive_failures;
                if !was {
                    prop_assert_eq!(cell.is_ejected(), due);
                }
                if was && !cell.is_ejected() {
                    row = 0;
                }
            }
        }
    }
}
