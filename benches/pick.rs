//! What a pick costs, by algorithm and number of endpoints. `cargo bench --bench pick`.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use teal::balance::{Pick, RetryBudget, SourceAffinity};
use teal::model::Balance;

const ALGORITHMS: [(&str, Balance); 3] = [
    ("round_robin", Balance::RoundRobin),
    ("least_connections", Balance::LeastConnections),
    ("source_hash", Balance::SourceHash),
];

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for (name, balance) in ALGORITHMS {
        for count in [3u16, 100, 4096] {
            let member = |port| (SocketAddr::from(([10, 0, 0, 1], 1000 + port)), 1 + port % 2);
            let members: Vec<_> = (0..count).map(member).collect();
            let pick = Pick::new(balance, &members, 7).expect("there are endpoints");
            let places = AtomicU64::new(0);
            let mut client = 0u32;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    client = client.wrapping_add(1);
                    let place = pick.take(&places, IpAddr::V4(client.into()));
                    pick.endpoint(black_box(place), |_| false, |_| 0)
                });
            });
        }
    }
    group.finish();
}

/// What affinity costs instead of the split, and what every connection costs in the retry budget.
fn others(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    let affinity = SourceAffinity::new([("blue", 97), ("green", 3)].into_iter());
    let mut client = 0u32;
    group.bench_function("affinity_of_2_colors", |bencher| {
        bencher.iter(|| {
            client = client.wrapping_add(1);
            affinity.color(IpAddr::V4(client.into()))
        });
    });
    let budget = RetryBudget::default();
    group
        .bench_function("retry_budget_note", |bencher| bencher.iter(|| budget.note_connection(black_box(7))));
    group.bench_function("retry_budget_take", |bencher| bencher.iter(|| budget.take(black_box(7), 20)));
    group.finish();
}

criterion_group!(all, pick, others);
criterion_main!(all);
