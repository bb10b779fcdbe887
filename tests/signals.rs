//! What connections say about their color: over real connections, in this process.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::{Backend, DEADLINE, Down, House, ask, blue, connect, eventually, green, read_all, reset};
use teal::model::ColorName;
use teal::state::{BackendFault, ErrorReason, FirstBytes, Sample};

fn at(house: &House, color: &str, now: Instant) -> Sample {
    let snapshot = house.snapshot.load();
    Sample::take(&snapshot.services["a"], &ColorName::parse(color).unwrap(), now).unwrap()
}

fn sample(house: &House, color: &str) -> Sample {
    at(house, color, Instant::now())
}

/// A house with one color of one backend, which gives its connections to the test.
fn house() -> (House, mpsc::Receiver<TcpStream>) {
    let (give, take) = mpsc::channel();
    let backend = Backend::new(move |stream| give.send(stream).unwrap());
    (House::of(vec![blue(1, &[backend.address])]), take)
}

/// A client and the backend's side of its connection, which the relay knows.
fn connected(house: &House, take: &mpsc::Receiver<TcpStream>, to: SocketAddr) -> (TcpStream, TcpStream) {
    let open = house.open("blue");
    let client = connect(to);
    let server = take.recv_timeout(DEADLINE).unwrap();
    eventually("the connection is noted", || house.open("blue") > open);
    (client, server)
}

/// A question that arrived.
fn asked(house: &House, take: &mpsc::Receiver<TcpStream>, to: SocketAddr) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = connected(house, take, to);
    client.write_all(b"question").unwrap();
    server.read_exact(&mut [0; 8]).unwrap();
    (client, server)
}

fn ended(house: &House, count: u64) -> Sample {
    eventually("it has ended", || sample(house, "blue").ended == count && house.open("blue") == 0);
    sample(house, "blue")
}

/// A sample of one connection that ended like this.
fn one(change: impl FnOnce(&mut Sample)) -> Sample {
    let mut sample = Sample { tried: 1, served: 1, ended: 1, ..Sample::default() };
    change(&mut sample);
    sample
}

fn without_times(mut sample: Sample) -> Sample {
    sample.first_byte = FirstBytes::default();
    sample
}

#[test]
fn an_answer_is_no_fault_and_its_time_is_known() {
    let (house, take) = house();
    let (mut client, mut server) = asked(&house, &take, house.vip());
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_all(&mut client), "answer");
    drop(client);
    let sample = ended(&house, 1);
    assert_eq!(sample.first_byte.total(), 1);
    assert_eq!(without_times(sample), one(|_| {}));
}

#[test]
fn a_backend_that_ends_without_a_byte_of_an_answer_is_empty() {
    let (house, take) = house();
    let (mut client, server) = asked(&house, &take, house.vip());
    drop(server);
    assert_eq!(read_all(&mut client), "");
    drop(client);
    assert_eq!(without_times(ended(&house, 1)), one(|sample| (sample.empty, sample.in_a_row) = (1, 1)));
}

#[test]
fn resets_are_told_apart_by_the_first_byte() {
    let (house, take) = house();
    let (client, server) = asked(&house, &take, house.vip());
    reset(server);
    assert_eq!(
        without_times(ended(&house, 1)),
        one(|sample| (sample.reset_before, sample.in_a_row) = (1, 1))
    );
    drop(client);
    let (mut client, mut server) = asked(&house, &take, house.vip());
    server.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
    reset(server);
    let sample = ended(&house, 2);
    assert_eq!((sample.reset_before, sample.reset_after, sample.in_a_row), (1, 1, 0));
    drop(client);
}

#[test]
fn a_backend_that_ends_at_once_unasked_is_early() {
    let backend = Backend::new(drop);
    let house = House::of(vec![blue(1, &[backend.address])]);
    // Whether 100 ms were enough is the host's business; one of them is.
    let is_early = || {
        assert_eq!(ask(house.vip()), "");
        sample(&house, "blue").early > 0
    };
    eventually("it is early", is_early);
    assert_eq!(sample(&house, "blue").empty, 0);
}

#[test]
fn a_backend_that_ends_an_idle_connection_is_not_early() {
    let (house, take) = house();
    let (mut client, server) = connected(&house, &take, house.vip());
    std::thread::sleep(Duration::from_millis(120));
    drop(server);
    assert_eq!(read_all(&mut client), "");
    drop(client);
    assert_eq!(without_times(ended(&house, 1)), one(|_| {}));
}

#[test]
fn a_question_without_answer_counts_once_it_is_overdue_and_when_the_client_gives_up() {
    let (house, take) = house();
    let (client, server) = asked(&house, &take, house.vip());
    assert_eq!(sample(&house, "blue").unanswered, 0);
    let later = Instant::now() + Duration::from_secs(4);
    eventually("it waits, and nobody answers", || at(&house, "blue", later).unanswered == 1);
    reset(client);
    assert_eq!(without_times(ended(&house, 1)), one(|sample| (sample.unanswered, sample.in_a_row) = (1, 1)));
    drop(server);
    // Nobody asked: no fault, and none is awaited.
    let (client, server) = connected(&house, &take, house.vip());
    assert_eq!(at(&house, "blue", later).unanswered, 1);
    drop((client, server));
    assert_eq!(ended(&house, 2).unanswered, 1);
}

#[test]
fn a_backend_that_takes_nothing_is_stalled_and_one_that_takes_little_is_not() {
    // A small window: whatever room there is, the relay fills it in one turn.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let house = House::of(vec![blue(1, &[socket.local_addr().unwrap().as_socket().unwrap()])]);
    let client = connect(house.vip());
    let server = TcpStream::from(socket.accept().unwrap().0);
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_nonblocking(true).unwrap();
    let fill = || while (&client).write(&[7; 16384]).is_ok() {};
    let is_stalled_at = |now| at(&house, "blue", now).stalled == 1;
    let later = |since: Instant, seconds| since + Duration::from_secs(seconds);
    eventually("all buffers are full", || {
        fill();
        // Nothing has moved for half a second: whatever grows on the way has grown.
        is_stalled_at(Instant::now() + Duration::from_millis(4500))
    });
    let full = Instant::now();
    assert!(!is_stalled_at(full), "not for long yet");
    assert!(is_stalled_at(later(full, 5)));
    // It never takes all that waits, and yet the wait begins anew.
    eventually("it takes something", || {
        (&server).read_exact(&mut [0; 1024]).unwrap();
        fill();
        !is_stalled_at(later(full, 5)) && is_stalled_at(later(Instant::now(), 6))
    });
    server.set_nonblocking(true).unwrap();
    eventually("it takes everything", || {
        while (&server).read(&mut [0; 16384]).is_ok_and(|length| length > 0) {}
        !is_stalled_at(later(Instant::now(), 6))
    });
}

#[test]
fn a_client_s_pause_before_its_question_is_not_the_backend_s() {
    let (house, take) = house();
    let (mut client, mut server) = connected(&house, &take, house.vip());
    std::thread::sleep(Duration::from_secs(1));
    client.write_all(b"q").unwrap();
    server.read_exact(&mut [0]).unwrap();
    server.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let within = |seconds: f64| FirstBytes::bounds().partition_point(|bound| *bound < seconds);
    eventually("the answer is noted", || sample(&house, "blue").first_byte.total() == 1);
    let counts = sample(&house, "blue").first_byte.counts;
    assert_eq!(counts[..=within(0.5)].iter().sum::<u64>(), 1, "{counts:?}");
}

#[test]
fn a_greeting_is_awaited_from_the_backend_s_accept() {
    let (house, take) = house();
    let (mut client, mut server) = connected(&house, &take, house.vip());
    std::thread::sleep(Duration::from_millis(300));
    server.write_all(b"g").unwrap();
    client.read_exact(&mut [0]).unwrap();
    // What the client says now is no question that was waited for.
    client.write_all(b"q").unwrap();
    server.read_exact(&mut [0]).unwrap();
    let within = |seconds: f64| FirstBytes::bounds().partition_point(|bound| *bound < seconds);
    eventually("the greeting is noted", || sample(&house, "blue").first_byte.total() == 1);
    let counts = sample(&house, "blue").first_byte.counts;
    assert_eq!(counts[..within(0.25)].iter().sum::<u64>(), 0, "{counts:?}");
}

#[test]
fn a_failed_try_counts_for_its_color_also_where_another_serves() {
    let (down, up) = (Down::new(), Backend::saying("blue"));
    let house = House::of(vec![blue(1, &[down.address, up.address]), green(1, &[down.address])]);
    // In turn: green has nobody, blue serves; blue's every other first try fails.
    for _ in 0..20 {
        assert_eq!(ask(house.vip()), "blue");
    }
    let (blue_sample, green_sample) = (sample(&house, "blue"), sample(&house, "green"));
    assert_eq!((blue_sample.tried, blue_sample.served, green_sample.served), (20, 20, 0));
    assert_eq!(blue_sample.failed, 10, "{blue_sample:?}");
    assert_eq!((green_sample.tried, green_sample.failed), (10, 10));
    assert_eq!(green_sample.in_a_row, 10);
    let tries = house
        .color("green", |color| color.live.connect_failures(ErrorReason::Refused).load(Ordering::Relaxed));
    assert_eq!(tries, u64::from(green_sample.in_a_row));
}

#[test]
fn preview_connections_are_no_sample_of_the_split() {
    let (house, take) = house();
    for _ in 0..3 {
        let (client, server) = asked(&house, &take, house.preview("blue"));
        reset(server);
        eventually("it has ended", || house.open("blue") == 0);
        drop(client);
    }
    let (client, mut server) = asked(&house, &take, house.preview("blue"));
    server.write_all(b"a").unwrap();
    drop(server);
    client.shutdown(Shutdown::Both).unwrap();
    eventually("all have ended", || house.open("blue") == 0 && house.served("blue") == 4);
    assert_eq!(without_times(sample(&house, "blue")), Sample::default());
    assert_eq!(sample(&house, "blue").first_byte.total(), 0);
    let faults =
        house.color("blue", |color| color.live.faults(BackendFault::ResetBefore).load(Ordering::Relaxed));
    assert_eq!(faults, 3, "the metrics count them");
    let (client, server) = asked(&house, &take, house.vip());
    reset(server);
    let sample = ended(&house, 1);
    assert_eq!((sample.tried, sample.served, sample.reset_before, sample.in_a_row), (1, 1, 1, 1));
    drop(client);
}
