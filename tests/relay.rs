//! What one side does, the other sees: over real connections, in this process.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use support::{Backend, House, blue, connect, eventually, read_all, read_until_reset, reset, wait_for_reset};
use teal::model::Policy;
use teal::model::testing::service;
use teal::state::{ClosedReason, CutReason};

/// A backend that gives each of its connections to the test.
fn handed_over() -> (Backend, mpsc::Receiver<TcpStream>) {
    let (give, take) = mpsc::channel();
    (Backend::new(move |stream| give.send(stream).unwrap()), take)
}

/// A client, the backend's side of its connection, and the house between.
fn connected() -> (House, TcpStream, TcpStream) {
    connected_under(|_| {})
}

/// The same, under a policy that was changed.
fn connected_under(change: impl FnOnce(&mut Policy)) -> (House, TcpStream, TcpStream) {
    let (backend, take) = handed_over();
    let mut a = service("a", 0, vec![blue(1, &[backend.address])]);
    change(&mut a.policy);
    let house = House::new(vec![a]);
    let client = connect(house.vip());
    let server = take.recv_timeout(support::DEADLINE).unwrap();
    eventually("the connection is noted", || house.open("blue") == 1);
    (house, client, server)
}

fn assert_closed(house: &House, reason: ClosedReason) {
    eventually(reason.label(), || house.closed("blue", reason) == 1 && house.open("blue") == 0);
    eventually("its place is free", || house.plane.open_count() == 0);
}

/// Bytes that differ from connection to connection and never repeat (xorshift64).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_ne_bytes()[..word.len()]);
        }
    }
}

const PIECE_BYTES: usize = 40_000;

/// Sends `pieces` of the noise that `seed` begins, then FIN.
fn send_noise(mut stream: &TcpStream, seed: u64, pieces: usize) {
    let (mut noise, mut piece) = (Noise(seed), vec![0; PIECE_BYTES]);
    for _ in 0..pieces {
        noise.fill(&mut piece);
        stream.write_all(&piece).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Fails unless exactly that noise and FIN arrive.
fn expect_noise(mut stream: &TcpStream, seed: u64, pieces: usize) {
    let (mut noise, mut wanted, mut got) = (Noise(seed), vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    for piece in 0..pieces {
        noise.fill(&mut wanted);
        stream.read_exact(&mut got).unwrap();
        assert!(wanted == got, "piece {piece} of the noise {seed} differs");
    }
    assert_eq!(stream.read(&mut got).unwrap(), 0);
}

/// MiB each way, over all connections: more by hand, since debug builds are slow.
fn mebibytes() -> usize {
    std::env::var("TEAL_TEST_RELAY_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(16)
}

#[test]
fn promise_7_no_byte_is_lost_added_or_reordered_in_both_directions_at_once() {
    const CONNECTIONS: u64 = 50;
    let pieces = (mebibytes() << 20).div_ceil(PIECE_BYTES * 50);
    let backend = Backend::new(move |stream| {
        let mut seed = [0; 8];
        (&stream).read_exact(&mut seed).unwrap();
        let seed = u64::from_ne_bytes(seed);
        std::thread::scope(|scope| {
            scope.spawn(|| send_noise(&stream, seed + 1000, pieces));
            expect_noise(&stream, seed, pieces);
        });
    });
    let house = House::of(vec![blue(1, &[backend.address])]);
    let vip = house.vip();
    std::thread::scope(|scope| {
        for seed in 1..=CONNECTIONS {
            scope.spawn(move || {
                let mut client = connect(vip);
                client.write_all(&seed.to_ne_bytes()).unwrap();
                std::thread::scope(|scope| {
                    scope.spawn(|| send_noise(&client, seed, pieces));
                    expect_noise(&client, seed + 1000, pieces);
                });
            });
        }
    });
    let load = |look: fn(&teal::state::ColorLive) -> &teal::telemetry::CounterCell| {
        house.color("blue", |color| look(&color.live).load(std::sync::atomic::Ordering::Relaxed))
    };
    let total = CONNECTIONS * u64::try_from(pieces * PIECE_BYTES).unwrap();
    eventually("all have ended", || house.closed("blue", ClosedReason::Finished) == CONNECTIONS);
    assert_eq!(load(|live| &live.bytes_in), total + 8 * CONNECTIONS);
    assert_eq!(load(|live| &live.bytes_out), total);
}

#[test]
fn promise_7_a_client_s_fin_leaves_the_answer_s_way_open() {
    let (house, mut client, mut server) = connected();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut server), "question");
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_all(&mut client), "answer");
    assert_closed(&house, ClosedReason::Finished);
}

#[test]
fn promise_7_a_backend_s_fin_leaves_the_client_s_way_open() {
    let (house, mut client, mut server) = connected();
    server.write_all(b"greeting").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "greeting");
    for word in ["one ", "two"] {
        client.write_all(word.as_bytes()).unwrap();
    }
    drop(client);
    assert_eq!(read_all(&mut server), "one two");
    assert_closed(&house, ClosedReason::Finished);
}

#[test]
fn promise_7_a_backend_s_rst_is_the_client_s_rst() {
    let (house, mut client, server) = connected();
    reset(server);
    assert_eq!(read_until_reset(&mut client), 0);
    assert_closed(&house, ClosedReason::BackendReset);
}

#[test]
fn promise_7_a_client_s_rst_is_the_backend_s_rst() {
    let (house, client, mut server) = connected();
    reset(client);
    assert_eq!(read_until_reset(&mut server), 0);
    assert_closed(&house, ClosedReason::ClientReset);
}

#[test]
fn promise_7_a_truncated_answer_never_looks_complete() {
    for kib in [1, 64, 4096] {
        let (house, mut client, mut server) = connected();
        let sender = std::thread::spawn(move || {
            server.write_all(&vec![7; kib << 10]).unwrap();
            reset(server);
        });
        read_until_reset(&mut client);
        sender.join().unwrap();
        assert_closed(&house, ClosedReason::BackendReset);
    }
}

#[test]
fn a_client_that_said_fin_still_sees_the_backend_s_rst() {
    let (house, mut client, mut server) = connected();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut server), "");
    reset(server);
    assert_eq!(read_until_reset(&mut client), 0);
    assert_closed(&house, ClosedReason::BackendReset);
}

#[test]
fn a_client_s_rst_after_its_fin_reaches_the_backend() {
    let (house, client, mut server) = connected();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut server), "");
    reset(client);
    wait_for_reset(&server);
    assert_closed(&house, ClosedReason::ClientReset);
}

#[test]
fn a_backend_s_rst_after_its_fin_reaches_the_client() {
    let (house, mut client, server) = connected();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "");
    reset(server);
    wait_for_reset(&client);
    assert_closed(&house, ClosedReason::BackendReset);
}

#[test]
fn data_after_a_half_close_moves_and_the_rst_after_it_is_still_noticed() {
    let (house, mut client, mut server) = connected();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut server), "");
    let mut byte = [0];
    for _ in 0..3 {
        server.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
    }
    reset(client);
    wait_for_reset(&server);
    assert_closed(&house, ClosedReason::ClientReset);
}

/// Writes until nothing more fits anywhere on the way.
fn fill(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let piece = vec![1; 1 << 20];
    let mut quiet_since = std::time::Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(200) {
        match (&*stream).write(&piece) {
            Ok(written) if written > 0 => quiet_since = std::time::Instant::now(),
            _ => std::thread::yield_now(),
        }
    }
    stream.set_nonblocking(false).unwrap();
}

#[test]
fn a_client_s_rst_is_noticed_while_the_backend_reads_nothing() {
    let (house, client, server) = connected();
    fill(&client);
    reset(client);
    wait_for_reset(&server);
    assert_closed(&house, ClosedReason::ClientReset);
}

#[test]
fn both_fins_under_a_slow_backend_are_no_rst() {
    let (house, mut client, mut server) = connected();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "");
    fill(&client);
    drop(client);
    let mut buffer = vec![0; 1 << 20];
    while server.read(&mut buffer).unwrap() > 0 {}
    assert_closed(&house, ClosedReason::Finished);
}

#[test]
fn what_a_backend_answered_before_it_reset_an_upload_arrives() {
    let (house, mut client, mut server) = connected();
    client.write_all(b"upload").unwrap();
    server.peek(&mut [0]).unwrap();
    let releases = house.hold_all();
    server.write_all(b"too large").unwrap();
    // Bytes that it never read make its close an RST, which meets the rest of the upload.
    drop(server);
    client.write_all(b"rest").unwrap();
    drop(releases);
    assert_eq!(read_until_reset(&mut client), b"too large".len());
    assert_closed(&house, ClosedReason::BackendReset);
}

#[test]
fn a_connection_on_which_nothing_moves_is_reset_after_the_idle_timeout() {
    let (backend, take) = handed_over();
    let mut a = service("a", 0, vec![blue(1, &[backend.address])]);
    a.policy.idle_timeout = Some(Duration::from_millis(100));
    let house = House::new(vec![a]);
    let mut client = connect(house.vip());
    let mut server = take.recv_timeout(support::DEADLINE).unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    read_until_reset(&mut client);
    read_until_reset(&mut server);
    assert_closed(&house, ClosedReason::Idle);
}

#[test]
fn half_a_connection_ends_when_nothing_moves_for_half_close_timeout() {
    let timeout = Duration::from_millis(200);
    let (house, mut client, mut server) = connected_under(|policy| policy.half_close_timeout = Some(timeout));
    // Both halves open: the timeout does not apply.
    let begun = std::time::Instant::now();
    while begun.elapsed() < 2 * timeout {
        assert_eq!(house.open("blue"), 1);
        std::thread::yield_now();
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut server), "");
    let begun = std::time::Instant::now();
    while begun.elapsed() < 2 * timeout {
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    read_until_reset(&mut client);
    wait_for_reset(&server);
    assert_closed(&house, ClosedReason::HalfClose);
}

#[test]
fn a_connection_ends_at_max_connection_age_however_busy_it_is() {
    let age = Duration::from_millis(200);
    let begun = std::time::Instant::now();
    let (house, mut client, mut server) = connected_under(|policy| policy.max_connection_age = Some(age));
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while server.read_exact(&mut byte).is_ok() && server.write_all(&byte).is_ok() {}
    });
    while client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok() {}
    assert!(begun.elapsed() >= age);
    echo.join().unwrap();
    assert_closed(&house, ClosedReason::Age);
}

#[test]
fn a_cut_resets_both_sides_and_counts_why() {
    for (reason, closed) in [
        (CutReason::DrainDeadline, ClosedReason::DrainDeadline),
        (CutReason::Shutdown, ClosedReason::Shutdown),
    ] {
        let (house, mut client, mut server) = connected();
        assert_eq!(house.plane.cut_all(reason), 1);
        read_until_reset(&mut client);
        read_until_reset(&mut server);
        assert_closed(&house, closed);
    }
}

/// Asks every connection of a house to end once it is idle, as the end of a drain does.
fn ask_to_end_idle(house: &House) {
    let endpoints = house.live.endpoints();
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.live.open.ask_to_end_idle(1)).sum::<usize>(), 1);
}

#[test]
fn an_idle_connection_at_the_end_of_its_drain_ends_by_fin_once_the_backend_says_it() {
    let (house, mut client, mut server) = connected();
    let (silent, mut silent_client, mut silent_server) = connected();
    client.write_all(b"question").unwrap();
    server.read_exact(&mut [0; 8]).unwrap();
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
    ask_to_end_idle(&house);
    ask_to_end_idle(&silent);
    // The backend is told, and what it still says arrives before its FIN does.
    assert_eq!(read_all(&mut server), "");
    assert_eq!(house.open("blue"), 1, "the client hears no FIN that the backend has not said");
    server.write_all(b"bye").unwrap();
    drop(server);
    assert_eq!(read_all(&mut client), "bye");
    assert_closed(&house, ClosedReason::DrainIdle);
    // The same where nothing was ever said. A client that speaks just then is not answered, and sees it.
    assert_eq!(read_all(&mut silent_server), "");
    silent_client.write_all(b"late").unwrap();
    read_until_reset(&mut silent_client);
    assert_closed(&silent, ClosedReason::DrainDeadline);
}

#[test]
fn at_the_end_of_a_drain_no_fin_ends_a_connection_that_is_not_idle() {
    // An answer is due; a side has said FIN; bytes are kept, as the client does not read.
    let asked = connected();
    (&asked.1).write_all(b"question").unwrap();
    (&asked.2).read_exact(&mut [0; 8]).unwrap();
    let half = connected();
    half.1.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&half.2).read(&mut [0]).unwrap(), 0);
    let stuck = connected();
    // More than all buffers on the way.
    let mut writer = stuck.2.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&vec![0; 64 << 20]));
    // One that would end shows when those three would have.
    let idle = connected();
    for (house, _, _) in [&asked, &half, &stuck, &idle] {
        ask_to_end_idle(house);
    }
    assert_eq!((&idle.2).read(&mut [0]).unwrap(), 0);
    let hears_nothing = |mut server: &TcpStream| {
        server.set_nonblocking(true).unwrap();
        server.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert!(hears_nothing(&asked.2), "while its answer is due");
    for (house, mut client, _server) in [asked, half, stuck] {
        assert_eq!(house.open("blue"), 1);
        house.plane.cut_all(CutReason::DrainDeadline);
        read_until_reset(&mut client);
        assert_closed(&house, ClosedReason::DrainDeadline);
    }
    assert!(writing.join().unwrap().is_err());
}

#[test]
fn a_connection_that_is_spared_is_not_ended() {
    let (house, mut client, mut server) = connected();
    let (clock, _clock_client, mut clock_server) = connected();
    ask_to_end_idle(&house);
    ask_to_end_idle(&clock);
    house.live.endpoints().iter().for_each(|endpoint| endpoint.live.open.spare());
    assert_eq!(clock_server.read(&mut [0]).unwrap(), 0);
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert_eq!(house.open("blue"), 1);
}

#[test]
fn workers_that_end_reset_what_is_open() {
    let (house, mut client, mut server) = connected();
    house.workers.shutdown();
    read_until_reset(&mut client);
    read_until_reset(&mut server);
    assert_closed(&house, ClosedReason::Shutdown);
}

/// The timer that runs for the socket between these addresses, as `/proc/net/tcp` writes it.
fn running_timer(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(_) => panic!("tests connect over IPv4"),
    };
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let socket = format!("{} {}", hex(local), hex(remote));
    let line = table.lines().find(|line| line.contains(&socket))?;
    line.split_ascii_whitespace().nth(5)?.split(':').next().map(str::to_owned)
}

#[test]
fn keepalive_runs_on_both_sides() {
    const KEEPALIVE: &str = "02";
    let (house, client, server) = connected();
    let runs = |local, remote| running_timer(local, remote).as_deref() == Some(KEEPALIVE);
    let (vip, peer) = (client.peer_addr().unwrap(), client.local_addr().unwrap());
    eventually("keepalive towards the client", || runs(vip, peer));
    let (local, backend) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
    eventually("keepalive towards the backend", || runs(local, backend));
    assert_eq!(house.open("blue"), 1);
}
