//! Bulk data, which the proxy splices through pipes: whole, in order, and with the ends of promise 7.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;

use support::{Backend, House, blue, connect, eventually, read_until_reset, reset};

const MIB: usize = 1 << 20;

/// Bytes that differ from place to place, so that a lost or doubled piece shows.
fn pattern(from: usize, bytes: &mut [u8]) {
    for (place, byte) in bytes.iter_mut().enumerate() {
        let place = (from + place) as u64;
        *byte = (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    }
}

fn send(mut stream: &TcpStream, total: usize) {
    let mut piece = vec![0; MIB];
    for from in (0..total).step_by(MIB) {
        pattern(from, &mut piece);
        stream.write_all(&piece).unwrap();
    }
}

fn expect(mut stream: &TcpStream, total: usize, piece: usize) {
    let (mut wanted, mut got) = (vec![0; piece], vec![0; piece]);
    for from in (0..total).step_by(piece) {
        stream.read_exact(&mut got).unwrap();
        pattern(from, &mut wanted);
        assert!(wanted == got, "the piece at {from} differs");
    }
}

/// A connection through the proxy, at both ends.
fn connected() -> (House, TcpStream, TcpStream) {
    let (give, take) = mpsc::channel();
    let backend = Backend::new(move |stream| give.send(stream).unwrap());
    let house = House::of(vec![blue(1, &[backend.address])]);
    let client = connect(house.vip());
    (house, client, take.recv().unwrap())
}

fn pipes(house: &House) -> (usize, usize) {
    house.plane.shared().pipes.counts()
}

#[test]
fn promise_7_bulk_arrives_whole_in_both_directions_at_once_and_gives_its_pipes_back() {
    let (house, client, served) = connected();
    let total = 48 * MIB;
    thread::scope(|scope| {
        for (from, to) in [(&client, &served), (&served, &client)] {
            scope.spawn(move || {
                send(from, total);
                from.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                expect(to, total, MIB);
                assert_eq!(to.take(1).read_to_end(&mut Vec::new()).unwrap(), 0, "FIN, not RST");
            });
        }
    });
    eventually("all pipes back", || {
        let (open, idle) = pipes(&house);
        open == idle
    });
    let (open, _) = pipes(&house);
    // An unprivileged user may have used up what the kernel grants; then it was copied.
    if nix::unistd::Uid::effective().is_root() {
        assert!(open >= 1, "bulk went through no pipe");
    }
}

#[test]
fn a_reader_that_takes_odd_pieces_gets_every_byte() {
    let (_house, client, served) = connected();
    let piece = 3 * 5 * 7 * 11;
    let total = 6000 * piece;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; total];
            pattern(0, &mut bytes);
            (&served).write_all(&bytes).unwrap();
        });
        expect(&client, total, piece);
    });
}

#[test]
fn small_messages_after_bulk_move_at_once_and_the_pipe_goes_back() {
    let (house, client, served) = connected();
    thread::scope(|scope| {
        scope.spawn(|| send(&client, 16 * MIB));
        expect(&served, 16 * MIB, MIB);
    });
    for message in 0..40u8 {
        (&client).write_all(&[message]).unwrap();
        let mut got = [0];
        (&served).read_exact(&mut got).unwrap();
        assert_eq!(got, [message]);
    }
    eventually("the pipe back while the connection lives", || {
        let (open, idle) = pipes(&house);
        open == idle
    });
}

#[test]
fn promise_7_an_rst_in_the_middle_of_bulk_is_an_rst_and_drops_the_pipe() {
    let (house, mut client, served) = connected();
    let upload = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let piece = vec![7; MIB];
        loop {
            if let Err(error) = (&upload).write_all(&piece) {
                return error.kind();
            }
        }
    });
    // Some of it is read, so that the direction is bulk; then the backend goes.
    let mut piece = vec![0; MIB];
    for _ in 0..16 {
        (&served).read_exact(&mut piece).unwrap();
    }
    reset(served);
    // The kernel tells of an RST once: to whoever asks first.
    if sender.join().unwrap() != ErrorKind::ConnectionReset {
        read_until_reset(&mut client);
    }
    eventually("no pipe in use", || {
        let (open, idle) = pipes(&house);
        open == idle
    });
}
