//! Slow start by an injected clock: which ways into use begin it, and how the share grows.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{ColorName, ServiceName};
use crate::state::{Admission, EjectionRecord, Live, Verdict};

const WHOLE: Duration = Duration::from_secs(30);

struct Stage {
    endpoint: EndpointState,
    now: Instant,
}

impl Stage {
    /// An endpoint that nobody has looked at, with this health; checks are done where it has one.
    fn new(health: Option<HealthState>) -> Self {
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let address = ([127, 0, 0, 1], 1).into();
        let live = Live::default().endpoint((&service, 80, &color), address);
        let admission = Admission::Enabled;
        let endpoint = EndpointState { address, weight: 1, admission, live, checked: health.is_some() };
        let stage = Self { endpoint, now: Instant::now() };
        stage.check(health.unwrap_or(HealthState::Pending));
        stage
    }

    /// One that has its full share.
    fn running() -> Self {
        let mut stage = Self::new(Some(HealthState::Healthy));
        assert_eq!(stage.look(Look::First), 100);
        stage
    }

    fn check(&self, state: HealthState) {
        self.endpoint.live.health.set(Verdict { state, against: 0 });
    }

    fn eject(&self, until: Option<Instant>) {
        self.endpoint.live.outlier.note(EjectionRecord { until, ..EjectionRecord::default() });
    }

    /// The share in percent after one more look.
    fn look(&mut self, look: Look) -> u32 {
        sweep(std::slice::from_ref(&self.endpoint), Some(WHOLE), self.now, look);
        self.endpoint.live.slow_start.share.get().percent()
    }

    /// The shares right now, after half of the time, and after all of it.
    fn grow(&mut self) -> [u32; 3] {
        let mut after = |wait| {
            self.now += wait;
            self.look(Look::Later)
        };
        [after(Duration::ZERO), after(WHOLE / 2), after(WHOLE / 2)]
    }
}

const SLOW: [u32; 3] = [9, 50, 100];
const AT_ONCE: [u32; 3] = [100; 3];

#[test]
fn every_way_back_into_use_is_slow() {
    let mut stage = Stage::running();
    stage.check(HealthState::Unhealthy);
    assert_eq!(stage.look(Look::Later), 9);
    stage.check(HealthState::Healthy);
    assert_eq!(stage.grow(), SLOW, "healthy again");
    stage.eject(Some(stage.now));
    stage.look(Look::Later);
    stage.eject(None);
    assert_eq!(stage.grow(), SLOW, "an ejection ended");
    stage.endpoint.admission = Admission::Disabled;
    stage.look(Look::Later);
    stage.endpoint.admission = Admission::Enabled;
    assert_eq!(stage.grow(), SLOW, "enabled");
    // Out of use half-way: from the beginning.
    stage.check(HealthState::Unhealthy);
    stage.look(Look::Later);
    stage.check(HealthState::Healthy);
    stage.look(Look::Later);
    stage.now += WHOLE / 2;
    stage.check(HealthState::Unhealthy);
    stage.look(Look::Later);
    stage.check(HealthState::Healthy);
    assert_eq!(stage.grow(), SLOW);
}

#[test]
fn one_that_appears_while_teal_runs_is_slow_and_one_that_was_there_at_its_start_is_not() {
    let mut checked = Stage::new(Some(HealthState::Pending));
    assert_eq!(checked.look(Look::Later), 9, "also before it is known to work");
    checked.check(HealthState::Healthy);
    assert_eq!(checked.grow(), SLOW);
    assert_eq!(Stage::new(None).grow(), SLOW, "without checks");
    let mut known = Stage::new(Some(HealthState::Pending));
    known.look(Look::First);
    known.check(HealthState::Healthy);
    assert_eq!(known.grow(), AT_ONCE);
    let mut down = Stage::new(Some(HealthState::Pending));
    down.look(Look::First);
    down.check(HealthState::Unhealthy);
    down.look(Look::Later);
    down.check(HealthState::Healthy);
    assert_eq!(down.grow(), SLOW, "down at the start: that is a recovery");
}

#[test]
fn switched_off_it_gives_all_at_once_and_switched_on_it_takes_nothing_away() {
    let mut stage = Stage::running();
    stage.check(HealthState::Unhealthy);
    stage.look(Look::Later);
    stage.check(HealthState::Healthy);
    sweep(std::slice::from_ref(&stage.endpoint), None, stage.now, Look::Later);
    assert!(stage.endpoint.live.slow_start.share.get().is_full());
    assert_eq!(stage.grow(), AT_ONCE);
    assert_eq!(Arc::strong_count(&stage.endpoint.live), 1);
}

proptest! {
    /// Whatever happens and whenever it is looked at: while in use the share never falls, and is full once
    /// it has been in use for all of the time.
    #[test]
    fn the_share_only_grows_in_use_and_is_full_in_time(
        steps in proptest::collection::vec((0_u32..4, 0_u64..12_000), 1..200),
    ) {
        let mut stage = Stage::running();
        let (mut used_since, mut last) = (stage.now.checked_sub(WHOLE), 100);
        for (what, wait_ms) in steps {
            stage.now += Duration::from_millis(wait_ms);
            stage.check(if what == 0 { HealthState::Unhealthy } else { HealthState::Healthy });
            let share = stage.look(Look::Later);
            match (what, used_since) {
                (0, _) => used_since = None,
                (_, None) => {
                    prop_assert_eq!(share, 9);
                    used_since = Some(stage.now);
                }
                (_, Some(since)) => {
                    prop_assert!(share >= last);
                    prop_assert_eq!(share == 100, stage.now - since >= WHOLE);
                }
            }
            last = share;
        }
    }
}
