//! Packets that are no queries: none may crash the daemon, hold it up, get a reply to a reply, a reply that is
//! too large, or memory for what a header claims.

#![allow(clippy::too_many_lines, reason = "a list")]

use std::fs;
use std::io::Write;
use std::net::{Shutdown, UdpSocket};

use crate::battery::*;
use crate::clients::connect;
use crate::support::*;

/// A packet that is not as it should be.
struct Malformed {
    name: String,
    packet: Vec<u8>,
}

fn query() -> Vec<u8> {
    Query::new("servicea.local", A).bytes()
}

fn with_question(question: &[u8]) -> Vec<u8> {
    let mut query = Query::new("", A);
    query.question = question.to_vec();
    query.bytes()
}

/// All of them: a few hundred.
fn packets() -> Vec<Malformed> {
    let mut packets = Vec::new();
    let mut add = |name: String, packet: Vec<u8>| packets.push(Malformed { name, packet });
    let whole = Query::new("servicea.local", A).opt(1232).bytes();
    for octets in 0..whole.len() {
        add(format!("1035 §4.1 cut after {octets} octets"), whole[..octets].to_vec());
    }
    for opcode in 0..16u16 {
        let reply = Query::new("servicea.local", A).flags(0x8000 | opcode << 11);
        add(format!("1035 §7.3 a response with opcode {opcode}"), reply.bytes());
    }
    for rcode in 1..16u16 {
        let reply = Query::new("servicea.local", A).flags(0x8000 | rcode);
        add(format!("1035 §7.3 a response with rcode {rcode}"), reply.bytes());
    }
    for section in 0..4 {
        for count in [2, 255, 256, 32768, 65535] {
            let mut counts = [1, 0, 0, 0];
            counts[section] = count;
            let query = Query::new("servicea.local", A).counts(counts);
            add(format!("1035 §4.1.1 count {section} is {count}"), query.bytes());
            let mut header = query.bytes();
            header.truncate(12);
            add(format!("1035 §4.1.1 a header alone whose count {section} is {count}"), header);
        }
    }
    for first in (64..=255u8).step_by(5) {
        add(
            format!("1035 §4.1.4 a label that begins with {first:#x}"),
            with_question(&[first, 12, 0, 1, 0, 1]),
        );
        add(
            format!("1035 §4.1.4 the same after a label, {first:#x}"),
            with_question(&[1, b'a', first, 12, 0, 1, 0, 1]),
        );
    }
    for labels in [127, 128, 129, 255] {
        let question = [[1, b'a'].repeat(labels), vec![0, 0, 1, 0, 1]].concat();
        add(format!("1035 §2.3.4 a name of {labels} labels"), with_question(&question));
    }
    add("1035 §3.1 a name without an end".into(), with_question(&[3, b'a', b'b', b'c']));
    add("1035 §3.1 a name of any octets".into(), with_question(&[4, 0, 255, 46, 32, 0, 0, 1, 0, 1]));
    for length in [1u16, 2, 3, 4, 5, 100, 65535] {
        let mut record = opt(1232, 0, 0, &[0, 3, 0, 0]);
        record[9..11].copy_from_slice(&length.to_be_bytes());
        add(
            format!("6891 §6.1.2 an OPT that says {length}"),
            Query::new("servicea.local", A).additional(&record).bytes(),
        );
        let options = [&[0, 3][..], &length.to_be_bytes()].concat();
        let record = opt(1232, 0, 0, &options);
        add(
            format!("6891 §6.1.2 an option that says {length}"),
            Query::new("servicea.local", A).additional(&record).bytes(),
        );
    }
    for count in [2, 20, 100] {
        let many = (0..count).fold(Query::new("servicea.local", A), |query, _| query.opt(1232));
        add(format!("6891 §6.1.1 {count} OPTs"), many.bytes());
    }
    for kind in [6u16, 24, 46, 47, 48, 64, 250] {
        let record = [&[0][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 0, 0, 3, 0xc0, 0xff, 0xff]].concat();
        add(
            format!("1035 §4.1.3 a record of type {kind} that is broken"),
            Query::new("servicea.local", A).additional(&record).bytes(),
        );
    }
    let looped = [0xc0, 29, 0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 0xc0, 29];
    add(
        "1035 §4.1.4 an owner that points at itself".into(),
        Query::new("servicea.local", A).additional(&looped).bytes(),
    );
    add("1035 §4.2.1 a datagram of 4097 octets".into(), [query(), vec![0; 4097 - query().len()]].concat());
    add("1035 §4.2.1 the largest datagram".into(), vec![0; 65507]);
    packets.extend(random());
    packets
}

/// Queries with a few octets changed, always the same ones.
fn random() -> impl Iterator<Item = Malformed> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let whole = Query::new("servicea.local", A).opt(1232).bytes();
    (0..500).map(move |number| {
        let mut packet = whole.clone();
        for _ in 0..=next() % 4 {
            let at = 2 + next() % (packet.len() - 2);
            packet[at] = u8::try_from(next() % 256).unwrap();
        }
        Malformed { name: format!("1035 §4.1 changed octets, number {number}"), packet }
    })
}

/// What came back before the reply to a query that was sent after it.
fn replies_to(socket: &UdpSocket, id: u16, packet: &[u8]) -> Vec<Vec<u8>> {
    socket.send(packet).unwrap();
    let probe = Query { id, ..Query::new("probe.local", TXT) }.bytes();
    socket.send(&probe).unwrap();
    let mut replies = Vec::new();
    loop {
        let reply = receive(socket);
        if reply[..2] == probe[..2] && reply.get(12..probe.len()) == Some(&probe[12..]) {
            return replies;
        }
        replies.push(reply);
    }
}

fn assert_sound(name: &str, packet: &[u8], reply: &[u8]) {
    assert_eq!(reply[..2], packet[..2], "{name}: the ID");
    assert!(reply[2] & 0x80 != 0, "{name}: a reply");
    assert!(reply.len() <= 1232, "{name}: {} octets", reply.len());
    parsed(reply.to_vec());
}

fn is_silent(packet: &[u8]) -> bool {
    packet.len() < 12 || packet[2] & 0x80 != 0
}

#[test]
fn malformed_packets_over_udp() {
    let battery = Battery::start();
    let socket = udp(battery.server);
    let packets = packets();
    assert!(packets.len() >= 200, "{}", packets.len());
    for (id, Malformed { name, packet }) in (10_000..).zip(&packets) {
        let replies = replies_to(&socket, id, packet);
        // What is too large to be a query is dropped as well.
        let expected = usize::from(!is_silent(packet) && packet.len() <= 4096);
        assert_eq!(replies.len(), expected, "{name}: replies");
        for reply in &replies {
            assert_sound(name, packet, reply);
        }
    }
    battery.teal.stop();
}

#[test]
fn malformed_messages_over_tcp() {
    let battery = Battery::start();
    for Malformed { name, packet } in packets() {
        let mut stream = connect(battery.server);
        stream.write_all(&framed(&packet)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let reply = read_message(&mut stream);
        assert_eq!(reply.is_none(), is_silent(&packet), "{name}");
        if let Some(reply) = reply {
            assert_sound(&name, &packet, &reply);
            assert!(read_message(&mut stream).is_none(), "{name}: one reply");
        }
    }
    battery.teal.stop();
}

/// KiB of the daemon, by the name of a line of `/proc/PID/status`.
fn memory(battery: &Battery, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", battery.teal.child.id())).unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim_matches([':', ' ', '\t', 'k', 'B']).trim().parse().unwrap()
}

#[test]
fn a_header_s_claim_reserves_no_memory() {
    const GROWTH_KIB: u64 = 4096;
    let battery = Battery::start();
    let socket = udp(battery.server);
    let claims = [[65535; 4], [1, 65535, 65535, 65535], [65535, 0, 0, 0], [1, 0, 0, 65535]];
    let claim = |counts| Query::new("servicea.local", A).counts(counts).bytes();
    let large = |counts| [claim(counts), vec![0; 4000]].concat();
    let packets: Vec<Vec<u8>> =
        claims.into_iter().flat_map(|counts| [claim(counts), large(counts)]).collect();
    let send_all = |rounds: u16| {
        for id in 0..rounds {
            for packet in &packets {
                replies_to(&socket, 10_000 + id, packet);
            }
        }
    };
    // What ordinary and odd queries take is no claim of a header.
    for packet in [query(), Query::new("servicea.local", A).opt(1232).opt(1232).bytes()] {
        replies_to(&socket, 10_000, &packet);
    }
    let before = ["VmPeak", "VmHWM"].map(|line| memory(&battery, line));
    send_all(200);
    // As many connections as one source may have, each of which claims to send 64 KiB.
    let mut streams: Vec<_> = (0..30).map(|_| connect(battery.server)).collect();
    for stream in &mut streams {
        stream.write_all(&[0xff, 0xff, 0]).unwrap();
    }
    send_all(10);
    let after = ["VmPeak", "VmHWM"].map(|line| memory(&battery, line));
    for (before, after) in before.into_iter().zip(after) {
        assert!(after - before < GROWTH_KIB, "{before} KiB became {after} KiB");
    }
    battery.teal.stop();
}
