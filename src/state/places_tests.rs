//! Limits hold exactly, whoever comes at the same time.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::*;
use crate::telemetry::stripes::become_worker;

const THREADS: u32 = 8;
const MAX: NonZeroU32 = NonZeroU32::new(5).unwrap();

fn service() -> Arc<ServiceLive> {
    Arc::new(ServiceLive::new(Instant::now()))
}

fn from(last: u8) -> (IpAddr, Instant) {
    (IpAddr::from([192, 0, 2, last]), Instant::now())
}

/// Many threads enter and leave; returns the largest number inside at once, and how many came in.
fn crowd(service: &Arc<ServiceLive>, limits: ConnectionLimits) -> (u32, u32) {
    let (inside, most, entered) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let Ok(entrance) = service.enter(&limits, from(1)) else { continue };
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    entered.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(entrance);
                }
            });
        }
    });
    (most.into_inner(), entered.into_inner())
}

#[test]
fn promise_15_a_limit_is_never_passed_and_all_its_places_come_back() {
    let limits = [
        ConnectionLimits { service: Some(MAX), ..ConnectionLimits::default() },
        ConnectionLimits { source: Some(MAX), ..ConnectionLimits::default() },
    ];
    for limits in limits {
        let service = service();
        let (most, entered) = crowd(&service, limits);
        assert!(most <= MAX.get() && entered > 0, "{most} at once");
        assert_eq!(service.places.taken(), 0);
        let all: Vec<_> = (0..MAX.get()).map(|_| service.enter(&limits, from(1)).unwrap()).collect();
        service.enter(&limits, from(1)).unwrap_err();
        drop(all);
        service.enter(&limits, from(1)).unwrap();
    }
}

#[test]
fn a_rate_lets_in_exactly_so_many_from_many_threads() {
    let count = NonZeroU32::new(100).unwrap();
    let rate = AcceptRate { count, per: Duration::from_secs(3600) };
    let limits = ConnectionLimits { rate: Some(rate), ..ConnectionLimits::default() };
    assert_eq!(crowd(&service(), limits).1, 100);
}

#[test]
fn a_rate_saves_up_for_one_period_at_most() {
    let (pace, count) = (Pace::default(), NonZeroU32::new(10).unwrap());
    let rate = AcceptRate { count, per: Duration::from_secs(1) };
    let taken_at = |ms: u64| (0..100).filter(|_| pace.take(rate, ms * 1_000_000)).count();
    assert_eq!(taken_at(0), 10);
    assert_eq!(taken_at(99), 0);
    assert_eq!(taken_at(100), 1);
    assert_eq!(taken_at(500), 4);
    assert_eq!(taken_at(3_600_000), 10);
}

#[test]
fn a_client_at_its_limit_takes_nothing_from_the_others() {
    let service = service();
    let limits =
        ConnectionLimits { service: Some(MAX), source: NonZeroU32::new(1), rate: None, endpoint: None };
    let _held = service.enter(&limits, from(1)).unwrap();
    assert_eq!(service.enter(&limits, from(1)).unwrap_err(), ErrorReason::LimitSource);
    assert_eq!(service.places.taken(), 1);
    let others: Vec<_> = (2..6).map(|last| service.enter(&limits, from(last)).unwrap()).collect();
    assert_eq!(service.enter(&limits, from(9)).unwrap_err(), ErrorReason::LimitService);
    assert_eq!(others.len(), 4);
}

#[test]
fn promise_15_an_address_is_forgotten_with_its_last_connection() {
    let service = service();
    let limits = ConnectionLimits { source: Some(MAX), ..ConnectionLimits::default() };
    let known = || service.sources.get().map_or(0, |sources| sources.known());
    let held: Vec<_> = (0..200).map(|last| service.enter(&limits, from(last)).unwrap()).collect();
    assert_eq!(known(), 200);
    drop(held);
    assert_eq!(known(), 0);
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    let _both = [(mapped, Instant::now()), from(1)].map(|who| service.enter(&limits, who).unwrap());
    assert_eq!(known(), 1, "one address in two forms");
}

#[test]
fn a_limit_that_is_set_later_counts_who_is_there() {
    let service = service();
    let _held: Vec<_> =
        (0..7).map(|_| service.enter(&ConnectionLimits::default(), from(1)).unwrap()).collect();
    let limits = ConnectionLimits { service: Some(MAX), ..ConnectionLimits::default() };
    assert_eq!(service.enter(&limits, from(1)).unwrap_err(), ErrorReason::LimitService);
}

#[test]
fn a_limit_is_exact_over_those_who_came_without_one_whoever_gives_their_places_back() {
    let places = Places::default();
    let worker = |index: usize, work: &(dyn Fn() + Sync)| {
        become_worker(index);
        work();
    };
    let by_all = |work: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            for index in 0..THREADS as usize {
                scope.spawn(move || worker(index, work));
            }
        });
    };
    by_all(&|| (0..3).for_each(|_| assert!(places.take(None))));
    assert_eq!(places.taken(), 3 * THREADS);
    let (max, entered) = (NonZeroU32::new(3 * THREADS + 5), AtomicU32::new(0));
    by_all(&|| {
        for _ in 0..50 {
            entered.fetch_add(u32::from(places.take(max)), Ordering::SeqCst);
        }
    });
    assert_eq!((entered.into_inner(), places.taken()), (5, 3 * THREADS + 5));
    // This thread is none of those that took them.
    (0..places.taken()).for_each(|_| places.give_back());
    assert_eq!(
        (places.taken(), places.take(NonZeroU32::new(1)), places.take(NonZeroU32::new(1))),
        (0, true, false)
    );
}
