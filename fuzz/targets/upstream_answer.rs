//! A packet from an upstream: a reply within the client's bound, whatever is in it, at once and out of the cache.

#![no_main]

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use teal::dns::Transport;
use teal::dns::alias::Aliases;
use teal::dns::cache::{Cache, Found};
use teal::dns::forward::message::{answers, read, write_reply};
use teal::dns::forward::question::{Edns, Query};
use teal::dns::wire::Opt;
use teal::model::CacheSettings;

/// The query for an alias of the name asked, and the begin of its reply.
const FAR: &[u8] = b"\0\x09\x01\0\0\x01\0\0\0\0\0\0\x03fAr\x05local\0\0\x01\0\x01";
const ALIAS: &[u8] = b"\0\x09\x85\x80\0\x01\0\x01\0\0\0\0\x03fAr\x05local\0\0\x01\0\x01\
    \xc0\x0c\0\x05\0\x01\0\0\0\x1e\0\x0d\x03www\x07example\0";

/// The same for a client that asked for an alias, without EDNS.
fn behind_an_alias(query: &Query<&[u8]>, reply: &[u8]) {
    let (aliases, packet) = Aliases::read((FAR, query.transport), ALIAS).expect("an alias");
    assert!(packet[12..].eq_ignore_ascii_case(query.question));
    let mut whole = Vec::new();
    aliases.finish(reply, &mut whole);
    assert!(whole.len() <= query.transport.octets_max(None), "{} octets", whole.len());
    assert_eq!((&whole[..2], &whole[12..27]), (&FAR[..2], &FAR[12..]));
    Message::from_vec(&whole).expect("what was written anew can be read");
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, payload_high, payload_low, packet @ ..] = bytes else { return };
    let transport = if kind & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let edns = if kind & 2 == 0 { Edns::With } else { Edns::Without };
    let payload_octets = u16::from_be_bytes([*payload_high, *payload_low]);
    let opt = (kind & 4 == 0).then_some(Opt { payload_octets, dnssec_ok: kind & 8 == 0 });
    let question = &b"\x03wWw\x07example\0\0\x01\0\x01"[..];
    let query = Query { id: 7, flags: 0x0100, question, opt, transport };
    if !answers(packet, &query.key()) {
        return;
    }
    let received = read(packet, edns);
    let max = transport.octets_max(opt);
    let check = |reply: &[u8]| {
        assert!(reply.len() <= max, "{} octets", reply.len());
        assert_eq!(reply[..2], [0, 7], "the client's ID");
        assert_eq!(reply[12..29], *query.question, "the client's question");
    };
    let mut reply = Vec::new();
    write_reply(&query, &received.answer, &mut reply);
    check(&reply);
    behind_an_alias(&query, &reply);

    let (mut cache, now) = (Cache::new(CacheSettings::by_default()), Instant::now());
    let key = query.key();
    cache.keep(&key, &received.answer, now);
    for age in [0, 1, 100, 10_000] {
        reply.clear();
        if let Found::Fresh(..) =
            cache.look((key.borrow(), &query), now + Duration::from_secs(age), &mut reply)
        {
            check(&reply);
        }
    }
    cache.flush(&[0]);
    assert_eq!(cache.size(), (0, 0));
});
