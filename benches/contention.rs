//! What connections of different cores cost each other: the same work in shared memory on one core, on two cores with
//! a service each, and on two cores with one service. `cargo bench --bench contention`.
//!
//! No socket: everything here is what a connection or a message touches besides its own sockets, so that waiting for
//! a line of the other core's cache cannot hide behind system calls. Rounds are interleaved and medians printed;
//! a machine with one core shows nothing.

#[path = "support/catalog.rs"]
mod catalog;

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use teal::model::HostNetworks;
use teal::proxy::decide::Course;
use teal::proxy::{Route, Shared, Via};
use teal::state::build::{Parts, build};
use teal::state::{Answers, ClosedReason, Connection, Live, PortState, Why};
use teal::telemetry::Counter;
use teal::telemetry::stripes::become_worker;

const ROUNDS: usize = 24;

/// A piece of work: its name, how often it is done in a round, and what is done.
type Work = (&'static str, u64, fn(&Arc<Shared>, &Route));

const WORKS: [Work; 4] = [
    ("a decision: split, pick, places", 200_000, decide),
    ("a connection, all of it", 100_000, connection),
    ("a place in the process", 1_000_000, admit),
    ("the bytes of a message, both ways", 1_000_000, message),
];

fn with_port(shared: &Shared, route: &Route, work: impl FnOnce(&PortState)) {
    let snapshot = shared.snapshot.load();
    let (_, port) = snapshot.port(&route.service, route.port).expect("it is in the snapshot");
    work(port);
}

fn client() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

fn decide(shared: &Arc<Shared>, route: &Route) {
    let snapshot = shared.snapshot.load();
    let (service, port) = snapshot.port(&route.service, route.port).expect("it is in the snapshot");
    let mut course = Course::begin(route, port, (client(), None), 2).expect("a color has weight");
    black_box(course.next(service));
}

/// What `accepted`, `establish`, the relay and its end do in shared memory.
fn connection(shared: &Arc<Shared>, route: &Route) {
    let accepted = Instant::now();
    let permit = shared.admit();
    let snapshot = shared.snapshot.load();
    let (service, port) = snapshot.port(&route.service, route.port).expect("it is in the snapshot");
    let service = Arc::clone(service);
    let entrance = service.live.enter(&service.service.policy.limits, (client(), accepted));
    let mut course = Course::begin(route, port, (client(), None), 2).expect("a color has weight");
    let attempt = course.next(&service).expect("there are endpoints");
    port.live.retry_budget.note_connection(shared.second(accepted));
    attempt.live.connect_duration().observe(accepted.elapsed());
    attempt.live.note_served(attempt.sort());
    attempt.endpoint.outlier.succeeded();
    let connection = Arc::new(Connection::new(accepted, Why::Weight));
    let key = attempt.endpoint.open.insert(Arc::clone(&connection));
    message_of(&attempt.live.bytes_in, &attempt.live.bytes_out);
    connection.note_client_spoke();
    attempt.live.note_first_byte(connection.why, connection.note_heard());
    attempt.live.note_ended(connection.why, ClosedReason::Finished, None);
    attempt.live.connection_duration().observe(accepted.elapsed());
    attempt.endpoint.open.remove(key);
    drop((entrance, permit));
}

fn message_of(inward: &Counter, outward: &Counter) {
    inward.fetch_add(64, Ordering::Relaxed);
    outward.fetch_add(64, Ordering::Relaxed);
}

fn message(shared: &Arc<Shared>, route: &Route) {
    with_port(shared, route, |port| {
        let live = &port.colors[0].live;
        message_of(&live.bytes_in, &live.bytes_out);
    });
}

fn admit(shared: &Arc<Shared>, _: &Route) {
    black_box(shared.admit());
}

fn shared() -> Arc<Shared> {
    let example = catalog::example(2);
    let (live, addresses) = (Arc::new(Live::default()), &example.addresses);
    let answers = Answers::build(&example.catalog, addresses, 1);
    let parts = Parts {
        catalog: Arc::clone(&example.catalog),
        addresses,
        answers,
        releases: Arc::default(),
        live: &live,
        rotation: 0,
    };
    let snapshot = Arc::new(ArcSwap::from_pointee(build(&parts, None)));
    let networks = Arc::new(ArcSwap::from_pointee(HostNetworks::default()));
    Arc::new(Shared::new(snapshot, networks, live, 1000))
}

fn route(service: usize) -> Route {
    Route { service: catalog::service_name(service), port: 80, via: Via::Vip }
}

fn main() {
    let allowed = sched_getaffinity(None).expect("reading one's own affinity needs no privilege");
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let [first, .., last] = cores[..] else {
        println!("one core only: nothing to see");
        return;
    };
    let shared = shared();
    println!(
        "ns for each, medians of the best third of {ROUNDS} interleaved rounds, cores {first} and {last}"
    );
    println!("{:<36} {:>9} {:>30} {:>30}", "", "one core", "two, a service each", "two, one service");
    for (name, count, work) in WORKS {
        let mut rounds: [Vec<Round>; 3] = Default::default();
        for _ in 0..ROUNDS {
            let places: [&[(usize, usize)]; 3] =
                [&[(first, 0)], &[(first, 0), (last, 1)], &[(first, 0), (last, 0)]];
            for (rounds, places) in rounds.iter_mut().zip(places) {
                rounds.push(round(&shared, (count, work), places));
            }
        }
        let [alone, apart, together] = rounds.map(median);
        let shown = |round: Round| {
            format!("{:.0} ({:.2} x, at once {:.0} %)", round.ns, round.ns / alone.ns, 100.0 * round.at_once)
        };
        println!("{name:<36} {:>9.0} {:>30} {:>30}", alone.ns, shown(apart), shown(together));
    }
}

/// What a round showed.
#[derive(Clone, Copy)]
struct Round {
    /// Processor time of each piece of work, in ns.
    ns: f64,
    /// Which share of the time all of the cores worked on it: where others take them, nobody waits for anybody.
    at_once: f64,
}

/// The median of the rounds in which the cores were least disturbed.
fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|a, b| b.at_once.total_cmp(&a.at_once));
    rounds.truncate(rounds.len().div_ceil(3));
    rounds.sort_by(|a, b| a.ns.total_cmp(&b.ns));
    rounds[rounds.len() / 2]
}

/// The time that one piece of work takes each core, in ns, when all of them do it at once: by the cores' own
/// clocks of processor time, so that others who use the machine count little.
fn round(
    shared: &Arc<Shared>,
    (count, work): (u64, fn(&Arc<Shared>, &Route)),
    places: &[(usize, usize)],
) -> Round {
    let barrier = Barrier::new(places.len());
    let begin = Instant::now();
    let spent = std::thread::scope(|scope| {
        let workers: Vec<_> = places
            .iter()
            .map(|(core, service)| {
                let (barrier, route) = (&barrier, route(*service));
                scope.spawn(move || {
                    let mut set = CpuSet::new();
                    become_worker(*core);
                    set.set(*core);
                    sched_setaffinity(None, &set).expect("the core is one of ours");
                    barrier.wait();
                    let before = processor_time();
                    (0..count).for_each(|_| work(shared, &route));
                    processor_time().saturating_sub(before)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no work panics")).sum::<Duration>()
    });
    let cores = places.len() as f64;
    let at_once = spent.as_secs_f64() / (begin.elapsed().as_secs_f64() * cores);
    Round { ns: spent.as_nanos() as f64 / (count as f64 * cores), at_once }
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
}
