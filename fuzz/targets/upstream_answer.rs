//! A packet from an upstream: a reply within the client's bound, whatever is in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teal::dns::Transport;
use teal::dns::forward::message::{answers, read, write_reply};
use teal::dns::forward::question::{Edns, Query};
use teal::dns::wire::Opt;

fuzz_target!(|bytes: &[u8]| {
    let [kind, payload_high, payload_low, packet @ ..] = bytes else { return };
    let transport = if kind & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let edns = if kind & 2 == 0 { Edns::With } else { Edns::Without };
    let payload_octets = u16::from_be_bytes([*payload_high, *payload_low]);
    let opt = (kind & 4 == 0).then_some(Opt { payload_octets, dnssec_ok: kind & 8 == 0 });
    let question = (&b"\x03wWw\x07example\0\0\x01\0\x01"[..]).into();
    let query = Query { id: 7, flags: 0x0100, question, opt, transport };
    if !answers(packet, &query.key()) {
        return;
    }
    let received = read(packet, edns);
    let mut reply = Vec::new();
    write_reply(&query, &received.answer, &mut reply);
    let max = transport.octets_max(opt);
    assert!(reply.len() <= max, "{} octets", reply.len());
    assert_eq!(reply[..2], [0, 7], "the client's ID");
    assert_eq!(reply[12..29], query.question[..], "the client's question");
});
