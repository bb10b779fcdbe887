//! What a reload costs inside the writer: a snapshot built from nothing, and one built on the last one
//! after one weight of one service changed. `cargo bench --bench snapshot`.

#[path = "support/catalog.rs"]
mod catalog;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use teal::state::answers::Answers;
use teal::state::build::{Parts, build};
use teal::state::{Live, Snapshot};

use catalog::Example;
use teal::model::{Catalog, Weight};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// The same catalog, but for one weight of one service.
fn with_weight(catalog: &Catalog, index: usize, weight: i64) -> Arc<Catalog> {
    let mut changed = catalog.clone();
    let service = changed.services.get_mut(&catalog::service_name(index)).expect("the catalog has it");
    Arc::make_mut(service).colors[1].weight = Weight::new(weight).expect("0 to 1000");
    Arc::new(changed)
}

fn snapshot(example: &Example, catalog: &Arc<Catalog>, live: &Live, before: Option<&Snapshot>) -> Snapshot {
    let addresses = &example.addresses;
    // Names and addresses stay the same over a change of weights.
    let answers =
        before.map_or_else(|| Answers::build(catalog, addresses, 1), |before| Arc::clone(&before.answers));
    let parts = Parts {
        catalog: Arc::clone(catalog),
        addresses,
        answers,
        releases: Arc::default(),
        live,
        rotation: 0,
    };
    build(&parts, before)
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for size in SIZES {
        let example = catalog::example(size);
        group.bench_function(BenchmarkId::new("full", size), |bencher| {
            // Live facts are made as well, as at start.
            bencher.iter_with_large_drop(|| {
                let live = Live::default();
                let snapshot = snapshot(&example, &example.catalog, &live, None);
                (live, snapshot)
            });
        });
        let live = Live::default();
        let before = snapshot(&example, &example.catalog, &live, None);
        let changed = with_weight(&example.catalog, size / 2, 4);
        group.bench_function(BenchmarkId::new("one_weight", size), |bencher| {
            bencher.iter_with_large_drop(|| snapshot(&example, black_box(&changed), &live, Some(&before)));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
