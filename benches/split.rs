//! What a decision costs, alone and when threads share one split, and what a change of weights costs
//! to lay out. `cargo bench --bench split`.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use teal::balance::{Schedule, Split};

/// Weights of two and of eight colors, with short and with long cycles.
const WEIGHTS: [(&str, &[u16]); 4] = [
    ("2_colors_97_3", &[97, 3]),
    ("2_colors_1_999", &[1, 999]),
    ("8_colors_of_100", &[30, 20, 15, 12, 10, 7, 5, 1]),
    ("8_colors_of_4511", &[1000, 999, 1, 999, 500, 3, 1000, 9]),
];

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split/decide");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, weights) in WEIGHTS {
        let split = Split::new(weights.to_vec(), 0);
        group.bench_function(BenchmarkId::new("1_thread", name), |bencher| bencher.iter(|| split.decide()));
    }
    for threads in [2, 4] {
        let split = Split::new(vec![97, 3], 0);
        group.bench_function(format!("{threads}_threads"), |bencher| {
            bencher.iter_custom(|decisions| contended(&split, threads, decisions));
        });
    }
    group.finish();
}

/// The time in which each of the threads makes so many decisions, from the moment all are there.
fn contended(split: &Split, threads: usize, decisions: u64) -> Duration {
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let work = || {
            barrier.wait();
            for _ in 0..decisions {
                black_box(split.decide());
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        barrier.wait();
        let begin = Instant::now();
        for worker in workers {
            worker.join().expect("deciding does not panic");
        }
        begin.elapsed()
    })
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split/schedule");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, weights) in WEIGHTS {
        group.bench_function(name, |bencher| bencher.iter(|| Schedule::new(black_box(weights), 0)));
    }
    group.finish();
}

criterion_group!(all, decide, build);
criterion_main!(all);
