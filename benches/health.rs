//! What health checks cost: the CPU time of the thread that checks 2,000 endpoints of this host every 2 s.
//!
//! Run: `cargo bench --bench health`. Bound: a tenth of a core. The kernel's work for the backends' side of
//! loopback connections is part of it, as it is done in the name of who sends the SYN.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::time::{ClockId, clock_gettime};
use teal::health::{Monitor, Parts};
use teal::model::testing::{catalog, color, service};
use teal::model::{ActiveCheck, CheckKind, HealthCheck, HttpCheck, StatusSet};
use teal::state::build::{Addresses, Parts as SnapshotParts, build};
use teal::state::{Answers, Live, Problems, Snapshot};
use tokio_util::sync::CancellationToken;

const SERVICES: u8 = 100;
const ENDPOINTS: u8 = 20;
/// Whole intervals, after the first one.
const MEASURED: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(4);

fn main() {
    let http = HttpCheck { path: "/".into(), host: None, expect: StatusSet::successful(), body: None };
    for (name, kind) in [("tcp", CheckKind::Tcp), ("http", CheckKind::Http(http))] {
        let (share, checks) = measure(&ActiveCheck::new(kind));
        println!(
            "health/{name}: {} endpoints every 2 s cost {:.2} % of a core, {:.1} us a check",
            u32::from(SERVICES) * u32::from(ENDPOINTS),
            share * 100.0,
            share * MEASURED.as_secs_f64() * 1e6 / checks as f64,
        );
    }
}

/// The share of a core that checking takes, and the number of checks meanwhile.
fn measure(check: &ActiveCheck) -> (f64, u64) {
    let live = Arc::new(Live::default());
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(&live, check, backends())));
    let parts =
        Parts { snapshot, live: Arc::clone(&live), problems: Problems::default(), checks_max: 256, seed: 1 };
    let (monitor, _) = Monitor::new(parts);
    let stop = CancellationToken::new();
    let until = stop.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let measured = async {
            tokio::time::sleep(WARM_UP).await;
            let (begun, cpu) = (Instant::now(), cpu_time());
            let checks = checks_done(&live);
            tokio::time::sleep(MEASURED).await;
            let used = cpu_time().saturating_sub(cpu);
            let checks = checks_done(&live) - checks;
            until.cancel();
            (used.as_secs_f64() / begun.elapsed().as_secs_f64(), checks)
        };
        let both = async { tokio::join!(measured, monitor.run(stop)) };
        runtime.block_on(both).0
    });
    thread.join().expect("the thread measures")
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn checks_done(live: &Live) -> u64 {
    let mut text = String::new();
    live.series().render(&mut text);
    let counts = text.lines().filter(|line| line.starts_with("teal_health_check_duration_seconds_count"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Accepts on every loopback address, and answers requests with 200; returns the port.
fn backends() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::{Read, Write};
            let mut stream = stream;
            if stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    port
}

fn snapshot(live: &Live, check: &ActiveCheck, port: u16) -> Snapshot {
    let service = |number: u8| {
        let address = |endpoint: u8| SocketAddr::from(([127, 1, number, endpoint + 1], port));
        let endpoints: Vec<_> = (0..ENDPOINTS).map(address).collect();
        let mut service = service(&format!("s{number}"), 80, vec![color("blue", 1, &endpoints)]);
        service.policy.health = HealthCheck::Active(Arc::new(check.clone()));
        service
    };
    let catalog = Arc::new(catalog((0..SERVICES).map(service).collect()));
    let given = Addresses { vip: Ipv4Addr::LOCALHOST, previews: vec![Ipv4Addr::LOCALHOST] };
    let addresses: BTreeMap<_, _> =
        catalog.services.keys().map(|name| (name.clone(), given.clone())).collect();
    let answers = Answers::build(&catalog, &BTreeMap::new(), 1);
    build(
        &SnapshotParts {
            catalog,
            addresses: &addresses,
            answers,
            releases: Arc::default(),
            live,
            rotation: 0,
        },
        None,
    )
}
