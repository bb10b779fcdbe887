//! What socket tests share: a plane with workers, backends on loopback, and waiting under a deadline.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use socket2::{Domain, SockRef, Socket, Type};
use teal::model::testing::{catalog, color, service};
use teal::model::{Catalog, Color, HostNetworks, Service};
use teal::net::Workers;
use teal::proxy::{Plane, Shared, wanted};
use teal::state::build::{Addresses, Parts, build};
use teal::state::release::Release;
use teal::state::releases::Releases;
use teal::state::{Answers, ClosedReason, ColorState, ErrorReason, Live, Snapshot, SnapshotCell};

/// Nothing that works takes this long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `is_true` holds.
pub fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// A proxy with three workers, in this process.
pub struct House {
    pub plane: Plane,
    pub workers: Arc<Workers>,
    pub live: Arc<Live>,
    pub snapshot: SnapshotCell,
    runtime: tokio::runtime::Runtime,
}

impl House {
    pub fn new(services: Vec<Service>) -> Self {
        Self::with(catalog(services))
    }

    pub fn with(catalog: Catalog) -> Self {
        Self::with_workers(catalog, 3)
    }

    pub fn with_workers(catalog: Catalog, workers: usize) -> Self {
        let live = Arc::new(Live::default());
        let answers = Answers::build(&catalog, &BTreeMap::new(), 1);
        let catalog_now = Arc::new(catalog.clone());
        let empty = Snapshot {
            generation: 0,
            catalog: catalog_now,
            services: BTreeMap::new(),
            answers,
            releases: Arc::default(),
        };
        let snapshot: SnapshotCell = Arc::new(ArcSwap::from_pointee(empty));
        let networks = Arc::new(ArcSwap::from_pointee(HostNetworks::default()));
        let shared = Shared::new(Arc::clone(&snapshot), networks, Arc::clone(&live), 10_000);
        let workers = Arc::new(Workers::start(NonZeroUsize::new(workers).unwrap()).unwrap());
        let plane = Plane::new(Arc::new(shared), Arc::clone(&workers));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let house = Self { plane, workers, live, snapshot, runtime };
        house.apply_catalog(catalog);
        house
    }

    /// One service "a" of these colors.
    pub fn of(colors: Vec<Color>) -> Self {
        Self::new(vec![service("a", 0, colors)])
    }

    pub fn apply(&self, services: Vec<Service>) {
        self.apply_catalog(catalog(services));
    }

    pub fn apply_catalog(&self, catalog: Catalog) {
        self.store(self.successor(catalog));
    }

    /// The same, with this release.
    pub fn apply_release(&self, catalog: Catalog, release: Release) {
        let mut releases = Releases::default();
        releases.note(release);
        self.store(self.successor_with(catalog, Arc::new(releases)));
    }

    fn store(&self, next: Snapshot) {
        let next = Arc::new(next);
        let prepared = self.block_on(self.plane.prepare(wanted(&next))).unwrap();
        self.snapshot.store(Arc::clone(&next));
        self.plane.commit(prepared, &next).unwrap();
    }

    /// The snapshot that would follow with this catalog.
    pub fn successor(&self, catalog: Catalog) -> Snapshot {
        let releases = Arc::clone(&self.snapshot.load().releases);
        self.successor_with(catalog, releases)
    }

    fn successor_with(&self, catalog: Catalog, releases: Arc<Releases>) -> Snapshot {
        let addresses = catalog.services.iter().map(|(name, service)| (name.clone(), addresses(service)));
        let addresses = addresses.collect();
        let answers = Answers::build(&catalog, &addresses, 1);
        let catalog = Arc::new(catalog);
        let (addresses, live) = (&addresses, &*self.live);
        let parts = Parts { catalog, addresses, answers, live, rotation: 0, releases };
        build(&parts, Some(&self.snapshot.load()))
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.unwrap() })
    }

    /// Keeps a worker from doing anything until what comes back is dropped.
    pub fn hold(&self, worker: usize) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let (tell, is_held) = mpsc::channel();
        self.workers.spawn_on(worker, async move {
            tell.send(()).unwrap();
            let _ = held.recv();
        });
        is_held.recv().unwrap();
        release
    }

    /// Keeps all workers from doing anything until what comes back is dropped.
    pub fn hold_all(&self) -> Vec<mpsc::Sender<()>> {
        (0..self.workers.count()).map(|worker| self.hold(worker)).collect()
    }

    /// Where the VIP of service "a" is really bound.
    pub fn vip(&self) -> SocketAddr {
        self.bound(&|state| state.vip)
    }

    /// Where the preview VIP of a color of service "a" is really bound.
    pub fn preview(&self, color: &str) -> SocketAddr {
        self.bound(&|state| {
            let index = state.service.colors.iter().position(|known| known.name.as_str() == color);
            state.previews[index.unwrap()]
        })
    }

    fn bound(&self, ip: &dyn Fn(&teal::state::ServiceState) -> Ipv4Addr) -> SocketAddr {
        self.bound_of("a", ip)
    }

    /// Where an address of a service is really bound.
    pub fn bound_of(&self, service: &str, ip: &dyn Fn(&teal::state::ServiceState) -> Ipv4Addr) -> SocketAddr {
        let snapshot = self.snapshot.load();
        let state = &snapshot.services[service];
        self.plane.bound()[&SocketAddr::from((ip(state), state.ports[0].port.listen))]
    }

    pub fn color<T>(&self, name: &str, look: impl Fn(&ColorState) -> T) -> T {
        let snapshot = self.snapshot.load();
        look(snapshot.services["a"].ports[0].colors.iter().find(|color| color.name.as_str() == name).unwrap())
    }

    pub fn served(&self, color: &str) -> u64 {
        self.color(color, |color| color.live.connections.load(Ordering::Relaxed))
    }

    pub fn decided(&self, color: &str) -> u64 {
        self.color(color, |color| color.live.decisions.load(Ordering::Relaxed))
    }

    pub fn retries(&self, color: &str) -> u64 {
        self.color(color, |color| color.live.retries.load(Ordering::Relaxed))
    }

    pub fn errors(&self, color: &str, reason: ErrorReason) -> u64 {
        self.color(color, |color| color.live.errors(reason).load(Ordering::Relaxed))
    }

    /// Errors before a color was chosen.
    pub fn early_errors(&self, reason: ErrorReason) -> u64 {
        self.snapshot.load().services["a"].ports[0].live.errors(reason).load(Ordering::Relaxed)
    }

    pub fn closed(&self, color: &str, reason: ClosedReason) -> u64 {
        self.color(color, |color| color.live.closed(reason).load(Ordering::Relaxed))
    }

    pub fn open(&self, color: &str) -> usize {
        self.color(color, |color| color.endpoints.iter().map(|endpoint| endpoint.live.open.len()).sum())
    }

    pub fn violations(&self) -> u64 {
        self.color("blue", |color| color.live.weight_zero_violations.load(Ordering::Relaxed))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.workers.shutdown();
    }
}

/// Addresses of a service: by the first letter of its name, so that they never change.
fn addresses(service: &Service) -> Addresses {
    let letter = service.name.as_str().as_bytes()[0];
    let previews = (1..=service.colors.len())
        .map(|color| Ipv4Addr::new(127, 80, letter, u8::try_from(color + 1).unwrap()));
    Addresses { vip: Ipv4Addr::new(127, 80, letter, 1), previews: previews.collect() }
}

/// A backend that serves each connection on a thread of its own.
pub struct Backend {
    pub address: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
}

impl Backend {
    pub fn new(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, serve)
    }

    /// The same at this address of the host.
    pub fn at(ip: Ipv4Addr, serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        // Not TcpListener::bind: many tests at once overflow its queue, and a dropped SYN costs a second.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
        socket.listen(4096).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, accepted }
    }

    /// Says its name and FIN.
    pub fn saying(name: &'static str) -> Self {
        Self::new(move |mut stream| stream.write_all(name.as_bytes()).unwrap())
    }

    /// Sends back what comes, FIN included.
    pub fn echo() -> Self {
        Self::new(|stream| {
            let _ = std::io::copy(&mut &stream, &mut &stream);
        })
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// A port that refuses, and that nobody else can take meanwhile.
pub struct Down {
    pub address: SocketAddr,
    _socket: Socket,
}

impl Down {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { address: socket.local_addr().unwrap().as_socket().unwrap(), _socket: socket }
    }
}

/// A port that answers nothing: its queue is full, so further SYNs are dropped.
pub struct Silent {
    pub address: SocketAddr,
    sockets: Vec<Socket>,
}

impl Silent {
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..2 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            let _ = filler.connect(&address);
            sockets.push(filler);
        }
        Self { address: address.as_socket().unwrap(), sockets }
    }

    /// Makes room in the queue, so that whoever comes next is answered by the kernel.
    pub fn begin_to_answer(&self) {
        self.sockets[0].accept().unwrap();
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What the other side says until its FIN.
pub fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub fn ask(address: SocketAddr) -> String {
    read_all(&mut connect(address))
}

/// As a client with this address of the host.
pub fn ask_from(source: Ipv4Addr, address: SocketAddr) -> String {
    read_all(&mut connect_from(source, address).unwrap())
}

/// Connects as a client with this address of the host.
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(&address.into())?;
    Ok(TcpStream::from(socket))
}

/// Fails unless the connection ends by RST; returns how many bytes came before.
pub fn read_until_reset(stream: &mut TcpStream) -> usize {
    let mut bytes = 0;
    let mut buffer = vec![0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("a FIN came where an RST was due, after {bytes} bytes"),
            Ok(count) => bytes += count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Fails unless the connection is reset at once; that may be so quick that connecting itself says so.
pub fn assert_refused(address: SocketAddr) {
    assert_reset(TcpStream::connect(address));
}

/// The same for a client with this address of the host.
pub fn assert_refused_from(source: Ipv4Addr, address: SocketAddr) {
    assert_reset(connect_from(source, address));
}

fn assert_reset(connected: std::io::Result<TcpStream>) {
    match connected {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            assert_eq!(read_until_reset(&mut stream), 0);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Closes with RST.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Waits until the kernel knows of an RST, without reading.
pub fn wait_for_reset(stream: &TcpStream) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let deadline = Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut fds, Some(&deadline)).unwrap();
    assert!(fds[0].revents().contains(PollFlags::ERR), "no RST came: {:?}", fds[0].revents());
}

pub fn blue(weight: i64, endpoints: &[SocketAddr]) -> Color {
    color("blue", weight, endpoints)
}

pub fn green(weight: i64, endpoints: &[SocketAddr]) -> Color {
    color("green", weight, endpoints)
}
