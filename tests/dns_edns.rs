//! EDNS, sizes and truncation, each rule named after the section that asks for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/dns.rs"]
mod support;

use std::sync::{Arc, LazyLock};

use hickory_proto::op::Edns;
use proptest::prelude::*;
use support::*;
use teal::dns::{Rcode, Scope, Verdict, answer};
use teal::state::Answers;

const A_LINE: &str = "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11";

#[track_caller]
fn check(query: &Query, expected: &str) {
    assert_eq!(query.ask(&World::small().answers(), UDP).line(), expected);
}

fn with_opt(record: &[u8]) -> Query {
    Query::new("servicea.local", A).additional(record)
}

#[test]
fn rfc6891_7_an_opt_is_answered_with_one_and_its_absence_with_none() {
    check(&Query::new("servicea.local", A), A_LINE);
    check(&with_opt(&opt(4096, 0, 0, &[])), &format!("{A_LINE} | opt v0 1232"));
    let missing = Query::new("x.local", A).opt(1232).ask(&World::small().answers(), UDP).line();
    assert!(missing.starts_with("NXDomain aa rd ra | ns local.") && missing.ends_with(" | opt v0 1232"));
}

#[test]
fn rfc6891_6_1_3_another_version_is_bad_and_the_answer_is_empty() {
    for version in [1, 2, 255] {
        let query = with_opt(&opt(4096, version, 0, &[]));
        check(&query, "BadVers rd ra | opt v0 1232");
        let reply = query.ask(&World::small().answers(), TCP);
        assert_eq!(reply.line(), "BadVers rd ra | opt v0 1232");
        assert_eq!(reply.verdict, Verdict::Reply(Scope::Invalid, Rcode::BadVers));
    }
    // RFC 8906 §8.2.7: also with an unknown option.
    check(&with_opt(&opt(4096, 1, 0x8000, &[0, 100, 0, 0])), "BadVers rd ra | opt v0 1232 do");
}

#[test]
fn rfc6891_6_1_2_unknown_options_are_ignored_and_not_echoed() {
    let unknown = [0, 100, 0, 3, 1, 2, 3];
    let nsid = [0, 3, 0, 0];
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let padding = [0, 12, 0, 2, 0, 0];
    for options in [&unknown[..], &nsid, &cookie, &subnet, &padding, &[unknown.as_slice(), &nsid].concat()] {
        check(&with_opt(&opt(4096, 0, 0, options)), &format!("{A_LINE} | opt v0 1232"));
    }
}

#[test]
fn rfc6891_6_1_4_unknown_flags_are_ignored_and_do_is_copied() {
    let reply = with_opt(&opt(4096, 0, 0x7fff, &[])).ask(&World::small().answers(), UDP);
    assert_eq!(reply.line(), format!("{A_LINE} | opt v0 1232"));
    assert_eq!(reply.bytes[reply.bytes.len() - 4..], [0, 0, 0, 0], "no flag, no option");
    check(&with_opt(&opt(4096, 0, 0x8000, &[])), &format!("{A_LINE} | opt v0 1232 do"));
}

#[test]
fn rfc6891_6_1_1_two_opts_are_malformed() {
    let query = with_opt(&opt(4096, 0, 0, &[])).opt(4096);
    check(&query, "FormErr rd ra");
}

#[test]
fn rfc6891_6_1_2_an_opt_whose_owner_is_not_the_root_is_malformed() {
    let record = [&[1, b'a'][..], &opt(4096, 0, 0, &[])].concat();
    check(&with_opt(&record), "FormErr rd ra");
    let record = [&[0xc0, 12][..], &opt(4096, 0, 0, &[])[1..]].concat();
    check(&with_opt(&record), "FormErr rd ra");
}

#[test]
fn rfc6891_6_1_2_options_that_do_not_fit_their_opt_are_malformed() {
    for options in
        [&[0][..], &[0, 3], &[0, 3, 0], &[0, 3, 0, 1], &[0, 3, 0, 5, 1, 2, 3, 4], &[0, 3, 0xff, 0xff]]
    {
        check(&with_opt(&opt(4096, 0, 0, options)), "FormErr rd ra");
        check(&with_opt(&opt(4096, 1, 0, options)), "FormErr rd ra");
    }
    let mut short = opt(4096, 0, 0, &[0, 3, 0, 4, 1, 2, 3, 4]);
    short.truncate(short.len() - 1);
    check(&with_opt(&short), "FormErr rd ra");
}

#[test]
fn rfc6891_6_1_1_an_opt_outside_the_additional_section_is_malformed() {
    let record = opt(4096, 0, 0, &[]);
    for counts in [[1, 1, 0, 0], [1, 0, 1, 0]] {
        check(&with_opt(&record).counts(counts), "FormErr rd ra");
    }
}

/// A service with so many ports of one name that their SRV records fill any datagram.
fn crowded() -> World {
    let ports: Vec<(u16, &str)> = (1..=200).map(|port| (port, "many")).collect();
    World::new(settings(&["local"], "127.80.0.0/16"), vec![service("crowded", &ports)])
}

fn ask_crowded(query: &Query, asked: teal::dns::Asked, octets_max: usize) -> Reply {
    let reply = query.ask(&crowded().answers(), asked);
    assert!(reply.bytes.len() <= octets_max, "{} octets of {octets_max}", reply.bytes.len());
    reply
}

#[test]
fn rfc1035_4_2_1_without_edns_512_octets_are_the_limit() {
    let reply = ask_crowded(&Query::new("_many._tcp.crowded.local", SRV), UDP, 512);
    assert!(reply.message.metadata.truncation && reply.message.edns.is_none());
    assert!(reply.bytes.len() > 512 - 60, "as many records as fit: {}", reply.bytes.len());
    assert!(reply.message.additionals.is_empty());
}

#[test]
fn rfc6891_7_truncation_keeps_the_opt_and_honours_the_client_s_size() {
    let query = |payload| Query::new("_many._tcp.crowded.local", SRV).opt(payload);
    for (payload, octets_max) in [(0, 512), (511, 512), (512, 512), (700, 700), (1232, 1232), (65535, 1232)] {
        let reply = ask_crowded(&query(payload), UDP, octets_max);
        assert!(reply.message.metadata.truncation, "{payload}");
        assert_eq!(reply.message.edns.as_ref().map(Edns::max_payload), Some(1232), "{payload}");
        assert!(reply.bytes.len() > octets_max - 60, "{payload}: {}", reply.bytes.len());
    }
}

#[test]
fn rfc7766_4_over_tcp_everything_fits() {
    let reply = ask_crowded(&Query::new("_many._tcp.crowded.local", SRV).opt(512), TCP, 65535);
    assert!(!reply.message.metadata.truncation);
    assert_eq!((reply.message.answers.len(), reply.message.additionals.len()), (200, 1));
}

#[test]
fn rfc2181_9_what_is_only_additional_is_left_out_without_tc() {
    // 42 octets of header and question, 14 records of 33: 8 are left, the address needs 16.
    let mut complete_without_address = 0;
    for ports in 1..20u16 {
        let ports: Vec<(u16, &str)> = (1..=ports).map(|port| (port, "many")).collect();
        let world = World::new(settings(&["local"], "127.80.0.0/16"), vec![service("crowded", &ports)]);
        let reply = Query::new("_many._tcp.crowded.local", SRV).ask(&world.answers(), UDP);
        let complete = reply.message.answers.len() == ports.len();
        assert_eq!(reply.message.metadata.truncation, !complete);
        complete_without_address += usize::from(complete && reply.message.additionals.is_empty());
    }
    assert_eq!(complete_without_address, 1);
}

fn well_formed_names() -> impl Strategy<Value = String> {
    let label =
        "[a-zA-Z0-9_-]{1,20}|servicea|SERVICEB|green|blue|_tcp|_http|local|ns|127|80|0|11|in-addr|arpa";
    prop::collection::vec(label, 0..9).prop_map(|labels| labels.join("."))
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..600);
    let query = (well_formed_names(), any::<u16>(), prop::option::of(any::<u16>())).prop_map(
        |(name, kind, payload)| {
            let query = Query::new(&name, kind);
            payload.map_or_else(|| query.clone(), |payload| query.clone().opt(payload)).bytes()
        },
    );
    // Queries with a few octets changed reach further into the parsers than random ones.
    let bent = (query, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6))
        .prop_map(|(mut bytes, changes)| {
            for (at, octet) in changes {
                let at = at.index(bytes.len());
                bytes[at] = octet;
            }
            bytes
        })
        .boxed();
    prop_oneof![
        random,
        bent.clone(),
        (bent, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(a, b)| [a, b].concat())
    ]
}

static ANSWERS: LazyLock<Arc<Answers>> = LazyLock::new(|| World::small().answers());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_packet_gets_a_sound_reply_or_none(packet in packets(), asked in prop::sample::select(vec![UDP, TCP, STRANGER])) {
        let mut out = Vec::with_capacity(2 * 1232);
        let verdict = answer(&packet, asked, &ANSWERS, &mut out);
        prop_assert_eq!(out.capacity(), 2 * 1232);
        let silent = packet.len() < 12 || packet[2] & 0x80 != 0;
        prop_assert_eq!(matches!(verdict, Verdict::Drop(_)), silent);
        prop_assert_eq!(out.is_empty(), silent);
        if !silent {
            prop_assert!(out.len() <= 1232);
            prop_assert_eq!(&out[..2], &packet[..2]);
            prop_assert!(out[2] & 0x80 != 0);
            let reply = Reply::parse(out, verdict);
            if !reply.message.queries.is_empty() {
                let name_octets = reply.bytes[12..].iter().scan(0, |skip, octet| {
                    if *skip > 0 { *skip -= 1; return Some(1) }
                    *skip = usize::from(*octet);
                    if *octet == 0 { None } else { Some(1) }
                }).count() + 1;
                let end = 12 + name_octets + 4;
                prop_assert_eq!(&reply.bytes[12..end], &packet[12..end]);
            }
        }
    }

    #[test]
    fn names_in_any_case_get_the_same_records(upper in prop::collection::vec(any::<bool>(), 20)) {
        let name: String = "green.servicea.local".chars().zip(&upper)
            .map(|(c, upper)| if *upper { c.to_ascii_uppercase() } else { c }).collect();
        let reply = Query::new(&name, A).ask(&ANSWERS, UDP);
        prop_assert_eq!(reply.line(), format!("NoError aa rd ra | an {name}. 30 A 127.80.0.13"));
    }
}
