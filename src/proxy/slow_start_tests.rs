//! Slow start in the course of connections: who gets how many, for every way to pick.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::balance::Share;
use crate::model::testing::{color, service};
use crate::model::{Balance, EndpointWeight, Service};
use crate::proxy::decide::tests::{CLIENT, begin_from, endpoints, snapshot_of, state};
use crate::proxy::route::Via;
use crate::state::{HealthState, Live, Snapshot, Verdict};
use std::net::Ipv4Addr;
use std::time::Duration;

const WHOLE: Duration = Duration::from_secs(100);

fn slow(balance: Balance, weights: &[u16]) -> Service {
    let mut blue = color("blue", 1, &endpoints(100, u16::try_from(weights.len()).unwrap()));
    for (endpoint, weight) in blue.endpoints.iter_mut().zip(weights) {
        endpoint.weight = EndpointWeight::new(i64::from(*weight)).unwrap();
    }
    let mut service = service("a", 80, vec![blue, color("green", 1, &endpoints(200, 1))]);
    service.policy.slow_start = Some(WHOLE);
    service.policy.balance = balance;
    service
}

/// Gives these endpoints of blue the shares of slow starts that began so many seconds ago, of 100.
fn set_shares(snapshot: &Snapshot, seconds: &[u64]) {
    let blue = &state(snapshot).ports[0].colors[0];
    for (endpoint, seconds) in blue.endpoints.iter().zip(seconds) {
        endpoint.live.slow_start.share.set(Share::after(Duration::from_secs(*seconds), WHOLE));
    }
}

/// How many of so many connections through the preview name each endpoint gets; each ends at once.
fn counts(snapshot: &Snapshot, connections: u32) -> Vec<u32> {
    let blue = &state(snapshot).ports[0].colors[0];
    let mut counts = vec![0; blue.endpoints.len()];
    for _ in 0..connections {
        let mut course = begin_from(CLIENT, snapshot, Via::Preview(blue.name.clone()), 0);
        let attempt = course.next(state(snapshot)).expect("nobody is turned away");
        counts[usize::from(attempt.endpoint.address.port() - 100)] += 1;
    }
    counts
}

/// The endpoint that each of some clients gets.
fn owners(snapshot: &Snapshot) -> BTreeMap<IpAddr, u16> {
    let clients = (0..2000_u32).map(|number| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)));
    let owner = |client| {
        let blue = &state(snapshot).ports[0].colors[0];
        let mut course = begin_from(client, snapshot, Via::Preview(blue.name.clone()), 0);
        let attempt = course.next(state(snapshot)).expect("nobody is turned away");
        (client, attempt.endpoint.address.port())
    };
    clients.map(owner).collect()
}

proptest! {
    // Each case is thousands of connections.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Round robin: each endpoint gets its part of weight times share, as exactly as turns allow.
    #[test]
    fn turns_are_shared_by_weight_times_share(
        endpoints in proptest::collection::vec((1_u16..=5, 10_u64..=100), 1..8),
    ) {
        let (weights, seconds): (Vec<_>, Vec<_>) = endpoints.iter().copied().unzip();
        let live = Live::default();
        let snapshot = snapshot_of(&live, slow(Balance::RoundRobin, &weights), None);
        set_shares(&snapshot, &seconds);
        let parts: Vec<f64> = endpoints.iter().map(|(w, s)| f64::from(*w) * *s as f64).collect();
        let whole: f64 = parts.iter().sum();
        for (count, part) in counts(&snapshot, 4000).iter().zip(&parts) {
            let due = 4000.0 * part / whole;
            prop_assert!((f64::from(*count) - due).abs() <= 40.0 + due * 0.02, "{count} of {due}");
        }
    }

    /// All of them in slow start, equally far: as if there were none.
    #[test]
    fn where_all_have_just_come_turns_are_as_ever(
        weights in proptest::collection::vec(1_u16..=5, 1..8),
        second in 0_u64..100,
        balance in prop_oneof![Just(Balance::RoundRobin), Just(Balance::LeastConnections), Just(Balance::SourceHash)],
    ) {
        let live = Live::default();
        let slow_ones = snapshot_of(&live, slow(balance, &weights), None);
        set_shares(&slow_ones, &vec![second; weights.len()]);
        let live = Live::default();
        let full_ones = snapshot_of(&live, slow(balance, &weights), None);
        set_shares(&full_ones, &vec![100; weights.len()]);
        prop_assert_eq!(counts(&slow_ones, 200), counts(&full_ones, 200));
    }

    /// Source hash: as a share grows clients move to that endpoint, each once, and no other client moves.
    #[test]
    fn clients_only_move_to_the_one_whose_share_grows(count in 2_usize..6, which in 0_usize..6) {
        let which = which % count;
        let live = Live::default();
        let snapshot = snapshot_of(&live, slow(Balance::SourceHash, &vec![1; count]), None);
        let slow_port = 100 + u16::try_from(which).unwrap();
        let mut seconds = vec![100; count];
        let mut before: Option<BTreeMap<IpAddr, u16>> = None;
        for second in [0, 20, 40, 60, 80, 100] {
            seconds[which] = second;
            set_shares(&snapshot, &seconds);
            let now = owners(&snapshot);
            if let Some(before) = before {
                for (client, owner) in &now {
                    prop_assert!(*owner == before[client] || *owner == slow_port);
                }
            }
            before = Some(now);
        }
    }
}

#[test]
fn least_connections_gives_a_slow_one_its_share_and_never_all() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, slow(Balance::LeastConnections, &[1, 1, 1, 1]), None);
    set_shares(&snapshot, &[10, 100, 100, 100]);
    let counts = counts(&snapshot, 31_000);
    assert!((800..1_200).contains(&counts[0]), "{counts:?}");
    assert!(counts[1..].iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
}

#[test]
fn dead_ones_leave_their_turns_to_the_others_by_their_shares() {
    let live = Live::default();
    let mut service = slow(Balance::RoundRobin, &[1, 1, 1]);
    service.policy.health = crate::model::HealthCheck::tcp();
    let snapshot = snapshot_of(&live, service, None);
    set_shares(&snapshot, &[50, 100, 100]);
    let states = [HealthState::Healthy, HealthState::Healthy, HealthState::Unhealthy];
    for (endpoint, state) in state(&snapshot).ports[0].colors[0].endpoints.iter().zip(states) {
        endpoint.live.health.set(Verdict { state, against: 0 });
    }
    let counts = counts(&snapshot, 3_000);
    assert!(counts[0].abs_diff(1_000) <= 2 && counts[2] == 0, "{counts:?}");
}

#[test]
fn a_slow_one_gets_all_where_nobody_else_works_and_the_split_stays_exact() {
    let live = Live::default();
    let snapshot = snapshot_of(&live, slow(Balance::RoundRobin, &[1]), None);
    set_shares(&snapshot, &[0]);
    for _ in 0..1_000 {
        let mut course = begin_from(CLIENT, &snapshot, Via::Vip, 0);
        course.next(state(&snapshot)).expect("nobody is turned away");
    }
    let decisions: Vec<_> = state(&snapshot).ports[0]
        .colors
        .iter()
        .map(|color| color.live.decisions.load(std::sync::atomic::Ordering::Relaxed))
        .collect();
    assert_eq!(decisions, [500, 500]);
}
