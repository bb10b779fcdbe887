//! The monitor on a thread of its own, and backends that checks find something out about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use teal::health::{FirstRound, Monitor, Parts};
use teal::model::testing::service;
use teal::model::{ActiveCheck, CheckKind, Color, HealthCheck, HttpCheck, Service, StatusSet};
use teal::state::{HealthState, Problems};
use tokio_util::sync::CancellationToken;

use crate::support::{Backend, DEADLINE, House, eventually};

/// A check that is done often, and decides late.
pub fn often(kind: CheckKind) -> ActiveCheck {
    let interval = Duration::from_millis(100);
    ActiveCheck { interval, timeout: interval, ..ActiveCheck::new(kind) }
}

pub fn get(path: &str, body: Option<&str>) -> CheckKind {
    let (path, body) = (path.into(), body.map(Into::into));
    CheckKind::Http(HttpCheck { path, host: None, expect: StatusSet::successful(), body })
}

/// Service "a" of these colors with this check.
pub fn checked(check: ActiveCheck, colors: Vec<Color>) -> Service {
    let mut service = service("a", 0, colors);
    service.policy.health = HealthCheck::Active(Arc::new(check));
    service
}

/// A running monitor.
pub struct Checker {
    pub problems: Problems,
    pub first_round: FirstRound,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    pub fn of(house: &House) -> Self {
        let problems = Problems::default();
        let parts = Parts {
            snapshot: Arc::clone(&house.snapshot),
            live: Arc::clone(&house.live),
            problems: problems.clone(),
            checks_max: 64,
            seed: 7,
        };
        let (monitor, first_round) = Monitor::new(parts);
        let stop = CancellationToken::new();
        let until = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = std::thread::spawn(move || runtime.block_on(monitor.run(until)));
        Self { problems, first_round, stop, thread: Some(thread) }
    }

    pub fn wait_first_round(&self, house: &House) {
        let mut first_round = self.first_round.clone();
        house.block_on(first_round.over());
    }

    pub fn has_problem(&self, prefix: &str) -> bool {
        self.problems.all().iter().any(|(subject, _)| subject.starts_with(prefix))
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The health of an endpoint of service "a".
pub fn health(house: &House, address: SocketAddr) -> HealthState {
    let snapshot = house.snapshot.load();
    let colors = &snapshot.services["a"].ports[0].colors;
    let mut endpoints = colors.iter().flat_map(|color| &color.endpoints);
    endpoints.find(|endpoint| endpoint.address == address).unwrap().health()
}

pub fn until(house: &House, address: SocketAddr, wanted: HealthState) {
    eventually(wanted.label(), || health(house, address) == wanted);
}

/// A backend that can be switched off, so that its port refuses, and on again.
pub struct Switch {
    pub address: SocketAddr,
    running: Option<(TcpListener, JoinHandle<()>)>,
}

impl Switch {
    /// Says its name and FIN.
    pub fn on() -> Self {
        let mut switch = Self { address: ([127, 0, 0, 1], 0).into(), running: None };
        switch.turn_on();
        switch
    }

    pub fn turn_on(&mut self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&self.address.into()).unwrap();
        socket.listen(128).unwrap();
        let listener = TcpListener::from(socket);
        self.address = listener.local_addr().unwrap();
        let accepting = listener.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                let _ = stream.write_all(b"alive");
            }
        });
        self.running = Some((listener, thread));
    }

    pub fn turn_off(&mut self) {
        let Some((listener, thread)) = self.running.take() else { return };
        // Wakes the accept, which then fails; the port refuses from here on.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        thread.join().unwrap();
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.turn_off();
    }
}

/// An HTTP server that answers every request with what it is told, byte by byte where it is slow.
pub struct Answering {
    pub backend: Backend,
    pub heads: Arc<AtomicUsize>,
}

/// How an [`Answering`] ends its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Close,
    /// Says nothing more until the client goes.
    Hang,
}

impl Answering {
    pub fn with(answer: &'static str, then: Then) -> Self {
        let heads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heads);
        let backend = Backend::new(move |mut stream| {
            if read_head(&mut stream).is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
            let _ = stream.write_all(answer.as_bytes());
            if then == Then::Hang {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        Self { backend, heads }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        (stream.read(&mut byte).ok()? == 1).then_some(())?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
