//! What an answer costs between two system calls: bytes of a query in, bytes of the reply out.
//! `cargo bench --bench dns`.

#[path = "support/catalog.rs"]
mod catalog;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use teal::dns::{Asked, Scope, Source, Transport, Verdict, answer};
use teal::state::answers::Answers;

/// Names that are asked for in turn, however many there are.
const NAMES: usize = 100;
const A: u16 = 1;
const SOA: u16 = 6;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// Whether a query carries an OPT.
#[derive(Clone, Copy)]
enum Edns {
    Absent,
    Payload(u16),
}

/// A query as a stub resolver sends it.
fn query(name: &str, kind: u16, edns: Edns) -> Vec<u8> {
    let additional = u8::from(matches!(edns, Edns::Payload(_)));
    let mut packet = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, additional];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).expect("a label has at most 63 octets"));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&1u16.to_be_bytes());
    if let Edns::Payload(octets) = edns {
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&octets.to_be_bytes());
        packet.extend_from_slice(&[0; 6]);
    }
    packet
}

fn benches(criterion: &mut Criterion) {
    let opt = Edns::Payload(1232);
    let queries = [
        ("a", query("service7.local", A, Edns::Absent)),
        ("a_edns", query("service7.local", A, opt)),
        ("a_mixed_case", query("SerVice7.LocAl", A, opt)),
        ("aaaa", query("service7.local", AAAA, opt)),
        ("preview", query("green.service7.local", A, opt)),
        ("srv", query("_http._tcp.service7.local", SRV, opt)),
        ("ptr", query("22.0.80.127.in-addr.arpa", PTR, opt)),
        ("soa", query("local", SOA, opt)),
        ("nxdomain", query("nobody.local", A, opt)),
        ("refused", query("www.example.com", A, opt)),
    ];
    let asked = Asked { transport: Transport::Udp, source: Source::Allowed };
    let mut group = criterion.benchmark_group("dns/answer");
    group.sample_size(50).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for services in [10, 10_000] {
        let example = catalog::example(services);
        let answers = Answers::build(&example.catalog, &example.addresses, 1);
        for (name, packet) in &queries {
            let mut out = Vec::with_capacity(4096);
            let scope = if *name == "refused" { Scope::Refused } else { Scope::Zone };
            let verdict = answer(packet, asked, &answers, &mut out);
            assert!(matches!(verdict, Verdict::Reply(judged, _) if judged == scope), "{name}: {verdict:?}");
            group.bench_function(BenchmarkId::new(*name, services), |bencher| {
                bencher.iter(|| answer(black_box(packet), asked, &answers, &mut out));
            });
        }
    }
    for services in [100, 10_000] {
        let example = catalog::example(services);
        let answers = Answers::build(&example.catalog, &example.addresses, 1);
        let queries: Vec<Vec<u8>> =
            (0..NAMES).map(|index| query(&format!("service{index}.local"), A, opt)).collect();
        let mut next = queries.iter().cycle();
        let mut out = Vec::with_capacity(4096);
        group.bench_function(BenchmarkId::new("a_of_100_names", services), |bencher| {
            bencher
                .iter(|| answer(black_box(next.next().expect("it has no end")), asked, &answers, &mut out));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("dns/table");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for services in [10, 1_000, 10_000] {
        let example = catalog::example(services);
        group.bench_function(BenchmarkId::new("build", services), |bencher| {
            bencher.iter_with_large_drop(|| Answers::build(&example.catalog, &example.addresses, 1));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
