//! What DNS answers, rule by rule, each named after the section that asks for it.

#[path = "support/dns.rs"]
mod support;

use support::*;
use teal::dns::{DropReason, Rcode, Scope, Verdict, answer};

const SOA_LINE: &str = "ns local. 5 SOA ns.local. hostmaster.local. 7 3600 600 86400 5";
const REVERSE_SOA: &str = "ns 80.127.in-addr.arpa. 5 SOA ns.local. hostmaster.local. 7 3600 600 86400 5";

fn drop_of(packet: &[u8]) -> Verdict {
    let mut out = vec![1];
    let verdict = answer(packet, UDP, &World::small().answers(), &mut out);
    assert!(out.is_empty(), "nothing may be left to send");
    verdict
}

#[track_caller]
fn check(query: &Query, expected: &str) {
    assert_eq!(query.ask(&World::small().answers(), UDP).line(), expected);
}

#[track_caller]
fn check_name(name: &str, kind: u16, expected: &str) {
    check(&Query::new(name, kind), expected);
}

#[test]
fn rfc1035_3_4_1_a_of_a_service() {
    check_name("servicea.local", A, "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11");
}

#[test]
fn rfc1035_3_4_1_a_of_a_preview_name() {
    check_name("green.servicea.local", A, "NoError aa rd ra | an green.servicea.local. 30 A 127.80.0.13");
}

#[test]
fn rfc1912_2_8_the_name_server_has_an_address() {
    check_name("ns.local", A, "NoError aa rd ra | an ns.local. 30 A 127.0.0.1");
}

#[test]
fn rfc1034_4_2_1_soa_and_ns_at_the_apex() {
    check_name(
        "local",
        SOA,
        "NoError aa rd ra | an local. 30 SOA ns.local. hostmaster.local. 7 3600 600 86400 5",
    );
    check_name("local", NS, "NoError aa rd ra | an local. 30 NS ns.local. | ar ns.local. 30 A 127.0.0.1");
    check_name("local", A, &format!("NoError aa rd ra | {SOA_LINE}"));
}

#[test]
fn rfc2308_2_2_a_missing_type_is_no_error_with_soa() {
    for kind in [AAAA, TXT, HTTPS, NS, SOA, PTR, 0, 41, 65535] {
        check_name("servicea.local", kind, &format!("NoError aa rd ra | {SOA_LINE}"));
    }
}

#[test]
fn rfc2308_2_1_a_missing_name_is_nxdomain_with_soa() {
    for name in ["x.local", "x.y.z.local", "x.servicea.local", "x._tcp.servicea.local", "_udp.servicea.local"]
    {
        check_name(name, A, &format!("NXDomain aa rd ra | {SOA_LINE}"));
        check_name(name, AAAA, &format!("NXDomain aa rd ra | {SOA_LINE}"));
    }
    let longest =
        [&"a".repeat(63), &"b".repeat(63), &"c".repeat(63), "d", &"e".repeat(53), "local"].join(".");
    assert_eq!(wire_name(&longest).len(), 255);
    check_name(&longest, A, &format!("NXDomain aa rd ra | {SOA_LINE}"));
}

#[test]
fn rfc8020_2_an_empty_non_terminal_exists() {
    check_name("_tcp.servicea.local", A, &format!("NoError aa rd ra | {SOA_LINE}"));
    check_name("_tcp.green.servicea.local", SRV, &format!("NoError aa rd ra | {SOA_LINE}"));
    check_name("0.80.127.in-addr.arpa", PTR, &format!("NoError aa rd ra | {REVERSE_SOA}"));
}

#[test]
fn rfc2782_srv_names_the_service_and_brings_its_address() {
    check_name(
        "_http._tcp.servicea.local",
        SRV,
        "NoError aa rd ra | an _http._tcp.servicea.local. 30 SRV 0 0 80 servicea.local. \
         | ar servicea.local. 30 A 127.80.0.11",
    );
    check_name(
        "_http._tcp.blue.servicea.local",
        SRV,
        "NoError aa rd ra | an _http._tcp.blue.servicea.local. 30 SRV 0 0 80 blue.servicea.local. \
         | ar blue.servicea.local. 30 A 127.80.0.12",
    );
    check_name(
        "_admin._tcp.serviceb.local",
        SRV,
        "NoError aa rd ra | an _admin._tcp.serviceb.local. 30 SRV 0 0 81 serviceb.local. \
         | an _admin._tcp.serviceb.local. 30 SRV 0 0 82 serviceb.local. \
         | ar serviceb.local. 30 A 127.80.0.14",
    );
}

#[test]
fn rfc2782_the_target_of_srv_is_not_compressed() {
    let reply = Query::new("_http._tcp.servicea.local", SRV).ask(&World::small().answers(), UDP);
    let target = wire_name("servicea.local");
    let question_and_target = reply.bytes.windows(target.len()).filter(|window| *window == target);
    assert_eq!(question_and_target.count(), 2);
}

#[test]
fn rfc1035_3_5_ptr_of_every_address() {
    check_name(
        "11.0.80.127.in-addr.arpa",
        PTR,
        "NoError aa rd ra | an 11.0.80.127.in-addr.arpa. 30 PTR servicea.local.",
    );
    check_name(
        "13.0.80.127.in-addr.arpa",
        PTR,
        "NoError aa rd ra | an 13.0.80.127.in-addr.arpa. 30 PTR green.servicea.local.",
    );
    check_name("11.0.80.127.in-addr.arpa", A, &format!("NoError aa rd ra | {REVERSE_SOA}"));
    check_name("99.0.80.127.in-addr.arpa", PTR, &format!("NXDomain aa rd ra | {REVERSE_SOA}"));
    check_name("9.9.80.127.in-addr.arpa", PTR, &format!("NXDomain aa rd ra | {REVERSE_SOA}"));
    check_name("80.127.in-addr.arpa", NS, "NoError aa rd ra | an 80.127.in-addr.arpa. 30 NS ns.local.");
    check_name("1.0.81.127.in-addr.arpa", PTR, "Refused rd ra");
}

#[test]
fn rfc2317_pools_between_octets_have_zones_of_whole_octets() {
    let pool = |pool| World::new(settings(&["local"], pool), vec![service("servicea", &[])]).answers();
    let of_15_bits = pool("198.18.0.0/15");
    let soa = "local. hostmaster.local. 7 3600 600 86400 5";
    for octet in ["18", "19"] {
        let zone = format!("{octet}.198.in-addr.arpa");
        let expected = format!("NXDomain aa rd ra | ns {zone}. 5 SOA ns.{soa}");
        assert_eq!(line(&of_15_bits, &format!("200.200.{zone}"), PTR), expected);
    }
    assert_eq!(line(&of_15_bits, "1.1.20.198.in-addr.arpa", PTR), "Refused rd ra");
    assert_eq!(line(&of_15_bits, "198.in-addr.arpa", NS), "Refused rd ra");
    let of_25_bits = pool("192.0.2.128/25");
    let name = "139.2.0.192.in-addr.arpa";
    let expected = format!("NoError aa rd ra | an {name}. 30 PTR servicea.local.");
    assert_eq!(line(&of_25_bits, name, PTR), expected);
    let expected = format!("NoError aa rd ra | an {name}. 30 SOA ns.{soa}");
    assert_eq!(line(&of_25_bits, name, SOA), expected);
    let unused = "200.2.0.192.in-addr.arpa";
    assert_eq!(line(&of_25_bits, unused, PTR), format!("NoError aa rd ra | ns {unused}. 5 SOA ns.{soa}"));
    assert_eq!(line(&of_25_bits, "1.2.0.192.in-addr.arpa", PTR), "Refused rd ra");
}

#[test]
fn every_service_is_in_every_zone_and_ptr_in_the_primary_one() {
    let zones = settings(&["svc.internal", "local", "deep.down.local"], "127.80.0.0/16");
    let answers = World::new(zones, vec![service("servicea", &[(80, "http")])]).answers();
    for zone in ["local", "svc.internal", "deep.down.local"] {
        let name = format!("servicea.{zone}");
        assert_eq!(line(&answers, &name, A), format!("NoError aa rd ra | an {name}. 30 A 127.80.0.11"));
        let soa = format!("ns {zone}. 5 SOA ns.{zone}. hostmaster.{zone}. 7 3600 600 86400 5");
        assert_eq!(line(&answers, &format!("x.{zone}"), A), format!("NXDomain aa rd ra | {soa}"));
    }
    let pointer = "11.0.80.127.in-addr.arpa";
    let expected = format!("NoError aa rd ra | an {pointer}. 30 PTR servicea.svc.internal.");
    assert_eq!(line(&answers, pointer, PTR), expected);
    assert_eq!(line(&answers, "internal", SOA), "Refused rd ra");
    // RFC 8020 §2: a zone below makes the names above it exist.
    let soa = "ns local. 5 SOA ns.local. hostmaster.local. 7 3600 600 86400 5";
    assert_eq!(line(&answers, "down.local", A), format!("NoError aa rd ra | {soa}"));
}

#[test]
fn rfc4343_names_are_compared_without_case_and_the_question_comes_back_as_sent() {
    check_name("SeRvIcEa.LoCaL", A, "NoError aa rd ra | an SeRvIcEa.LoCaL. 30 A 127.80.0.11");
    let reply = Query::new("_HTTP._tcp.SERVICEA.local", SRV).ask(&World::small().answers(), UDP);
    assert!(reply.line().contains("SRV 0 0 80 servicea.local. | ar SERVICEA.local. 30 A 127.80.0.11"));
}

#[test]
fn rfc8482_4_1_any_gets_one_rrset() {
    check_name("servicea.local", ANY, "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11");
    let apex = Query::new("local", ANY).ask(&World::small().answers(), UDP);
    assert_eq!(apex.message.answers.len(), 1);
    check_name("_tcp.servicea.local", ANY, &format!("NoError aa rd ra | {SOA_LINE}"));
    check_name("x.local", ANY, &format!("NXDomain aa rd ra | {SOA_LINE}"));
}

#[test]
fn rfc5936_2_2_transfers_are_refused() {
    for kind in [AXFR, IXFR] {
        check_name("local", kind, "Refused rd ra");
        let reply = Query::new("local", kind).ask(&World::small().answers(), TCP);
        assert_eq!(reply.line(), "Refused rd ra");
    }
    // An IXFR brings the SOA that the client has (RFC 1995 §3).
    let mut ixfr = Query::new("local", IXFR).counts([1, 0, 1, 0]);
    ixfr.rest = [&[0xc0, 12][..], &[0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0], &[0; 20]].concat();
    check(&ixfr, "Refused rd ra");
}

#[test]
fn rfc8914_4_21_names_outside_the_zones_are_refused_as_not_authoritative() {
    check_name("example.org", A, "Refused rd ra");
    check_name(".", NS, "Refused rd ra");
    check_name("notlocal", A, "Refused rd ra");
    check(&Query::new("example.org", A).opt(4096), "Refused rd ra | opt v0 1232 15:[0, 20]");
}

#[test]
fn rfc8914_4_19_clients_that_may_not_ask_are_refused_as_prohibited() {
    let answers = World::small().answers();
    let refused = |query: Query| query.ask(&answers, STRANGER).line();
    assert_eq!(refused(Query::new("servicea.local", A)), "Refused rd ra");
    assert_eq!(refused(Query::new("servicea.local", A).opt(512)), "Refused rd ra | opt v0 1232 15:[0, 18]");
    let odd = Query::new("servicea.local", A).class(3).opt(512);
    assert_eq!(refused(odd), "Refused rd ra | opt v0 1232 15:[0, 18]");
}

#[test]
fn rfc1035_7_3_responses_are_dropped_before_anything_else() {
    let response = Query::new("servicea.local", A).flags(0x8100);
    let dropped = Verdict::Drop(DropReason::Response);
    assert_eq!(drop_of(&response.bytes()), dropped);
    assert_eq!(drop_of(&response.clone().counts([65535; 4]).bytes()), dropped);
    assert_eq!(drop_of(&response.flags(0xffff).bytes()[..12]), dropped);
}

#[test]
fn rfc1035_4_1_1_less_than_a_header_is_dropped() {
    let query = Query::new("servicea.local", A).bytes();
    for octets in 0..12 {
        assert_eq!(drop_of(&query[..octets]), Verdict::Drop(DropReason::Short));
    }
}

#[test]
fn rfc8906_3_1_4_other_opcodes_are_not_implemented() {
    for opcode in 1..16 {
        let query = Query::new("servicea.local", A).flags(opcode << 11 | 0x0100);
        let reply = query.ask(&World::small().answers(), UDP);
        assert_eq!(reply.line(), "NotImp rd ra");
        assert_eq!(reply.bytes[2] & 0x78, u8::try_from(opcode << 3).unwrap(), "the opcode comes back");
        assert_eq!(reply.verdict, Verdict::Reply(Scope::Invalid, Rcode::NotImp));
        check(&query.clone().opt(4096), "NotImp rd ra | opt v0 1232");
        let mut bare = query.clone().counts([0; 4]);
        bare.question.clear();
        check(&bare, "NotImp rd ra");
        check(&bare.opt(4096), "NotImp rd ra | opt v0 1232");
    }
}

#[test]
fn rfc9619_4_a_query_has_one_question() {
    for questions in [0, 2, 65535] {
        let reply =
            Query::new("servicea.local", A).counts([questions, 0, 0, 0]).ask(&World::small().answers(), UDP);
        assert_eq!(reply.line(), "FormErr rd ra");
        assert_eq!(reply.bytes.len(), 12);
    }
}

#[test]
fn rfc1035_3_2_4_other_classes_are_refused() {
    for class in [0, 3, 4, 254, 255] {
        check(&Query::new("version.bind", TXT).class(class), "Refused rd ra");
        check(&Query::new("servicea.local", A).class(class).opt(512), "Refused rd ra | opt v0 1232");
    }
}

#[test]
fn rfc1035_4_1_4_a_compressed_question_is_malformed() {
    for pointer in [[0xc0, 12], [0xc0, 0], [0xff, 0xff], [0x40, 1], [0x80, 1]] {
        let mut query = Query::new("", A);
        query.question = [&pointer[..], &[0, 0, 1, 0, 1]].concat();
        assert_eq!(query.ask_unread().line(), "FormErr rd ra");
        query.question = [&[1, b'a'][..], &pointer, &[0, 1, 0, 1]].concat();
        assert_eq!(query.ask_unread().line(), "FormErr rd ra");
    }
}

#[test]
fn rfc1035_2_3_4_a_name_of_256_octets_is_malformed() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62)].join(".");
    assert_eq!(wire_name(&long).len(), 256);
    assert_eq!(Query::new(&long, A).ask_unread().line(), "FormErr rd ra");
}

#[test]
fn rfc1035_4_1_less_than_the_header_counts_is_malformed() {
    let query = Query::new("servicea.local", A).bytes();
    for octets in 12..query.len() {
        let mut out = Vec::new();
        answer(&query[..octets], UDP, &World::small().answers(), &mut out);
        assert_eq!(out[3] & 0xf, 1, "{octets} octets");
    }
    for counts in [[1, 1, 0, 0], [1, 0, 65535, 0], [1, 65535, 65535, 65535]] {
        check(&Query::new("servicea.local", A).counts(counts), "FormErr rd ra");
    }
}

#[test]
fn rfc1035_4_1_octets_after_the_message_are_ignored() {
    let mut query = Query::new("servicea.local", A);
    query.rest = vec![0xff; 40];
    check(&query, "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11");
    let mut query = Query::new("servicea.local", A).opt(512);
    query.rest.push(0);
    check(&query, "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11 | opt v0 1232");
}

#[test]
fn rfc1035_4_1_1_flags_are_copied_or_cleared() {
    let a = "| an servicea.local. 30 A 127.80.0.11";
    check(&Query::new("servicea.local", A).flags(0), &format!("NoError aa ra {a}"));
    // AA, TC, RA, Z, AD and an rcode mean nothing in a query; RD and CD come back.
    check(&Query::new("servicea.local", A).flags(0x07ff), &format!("NoError aa rd ra cd {a}"));
}

#[test]
fn rfc8945_5_2_a_signed_query_cannot_be_interpreted() {
    let name = wire_name("key");
    let rdata = [&name[..], &[0; 6], &[1, 44, 0, 0], &[0xbe, 0xef, 0, 0, 0, 0]].concat();
    let length = u16::try_from(rdata.len()).unwrap().to_be_bytes();
    let tsig = [&name[..], &[0, 250, 0, 255, 0, 0, 0, 0], &length, &rdata].concat();
    check(&Query::new("servicea.local", A).additional(&tsig), "FormErr rd ra");
}

#[test]
fn rfc1035_4_1_records_that_a_query_has_no_use_for_are_ignored() {
    let record = [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
    let query = Query::new("servicea.local", A).additional(&record).opt(4096);
    check(&query, "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11 | opt v0 1232");
}
