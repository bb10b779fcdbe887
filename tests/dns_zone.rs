//! Special names, records of the operator's own and what lies between, each rule named after the section
//! that asks for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/dns.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use support::*;
use teal::dns::{Scope, Verdict, answer};
use teal::model::{RecordData, RecordName};
use teal::state::Answers;

const SOA_LINE: &str = "ns local. 5 SOA ns.local. hostmaster.local. 7 3600 600 86400 5";

fn alias(target: &str) -> RecordData {
    RecordData::Alias(RecordName::parse(target).unwrap())
}

fn own(v4: &[&str], v6: &[&str], texts: &[&str]) -> RecordData {
    RecordData::Records {
        v4: v4.iter().map(|address| address.parse().unwrap()).collect(),
        v6: v6.iter().map(|address| address.parse().unwrap()).collect(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// Records in two zones, beside servicea.
fn answers() -> Arc<Answers> {
    let mut settings = settings(&["local", "svc.internal"], "127.80.0.0/16");
    let records = [
        ("printer.local", own(&["192.0.2.10", "192.0.2.11"], &["2001:db8::10"], &["second floor"])),
        ("six.svc.internal", own(&[], &["2001:db8::6"], &[])),
        ("_acme.servicea.local", own(&[], &[], &["token", &"x".repeat(300)])),
        ("a.deep.name.local", own(&["192.0.2.12"], &[], &[])),
        ("www.local", alias("servicea.local")),
        ("far.local", alias("www.local")),
        ("other.svc.internal", alias("far.local")),
        ("outside.local", alias("www.example.org")),
        ("dangling.local", alias("nobody.local")),
        ("corp.svc.internal", alias("dc1.corp.local")),
        ("me.local", alias("x.localhost")),
        ("srv.local", alias("_http._tcp.servicea.local")),
        ("apex.local", alias("local")),
    ];
    settings.dns.records = records
        .into_iter()
        .map(|(name, data)| (RecordName::parse(name).unwrap(), data))
        .collect::<BTreeMap<_, _>>();
    let world = World::new(settings, vec![service("servicea", &[(80, "http")])]).forwarding(&["corp.local"]);
    world.answers()
}

#[track_caller]
fn check(name: &str, kind: u16, expected: &str) {
    assert_eq!(line(&answers(), name, kind), expected);
}

#[test]
fn rfc1035_3_4_1_own_records_of_each_type() {
    check(
        "printer.local",
        A,
        "NoError aa rd ra | an printer.local. 30 A 192.0.2.10 | an printer.local. 30 A 192.0.2.11",
    );
    check("printer.local", AAAA, "NoError aa rd ra | an printer.local. 30 AAAA 2001:db8::10");
    check("PRINTER.local", TXT, "NoError aa rd ra | an PRINTER.local. 30 TXT second floor");
    check("six.svc.internal", AAAA, "NoError aa rd ra | an six.svc.internal. 30 AAAA 2001:db8::6");
}

#[test]
fn rfc1035_3_3_14_a_long_text_is_one_record_of_several_strings() {
    let reply = Query::new("_acme.servicea.local", TXT).ask(&answers(), TCP);
    let expected = format!(
        "NoError aa rd ra | an _acme.servicea.local. 30 TXT token | an _acme.servicea.local. 30 TXT {}",
        "x".repeat(300)
    );
    assert_eq!(reply.line(), expected);
    // Over UDP what does not fit is left out whole.
    let reply = Query::new("_acme.servicea.local", TXT).ask(&answers(), UDP);
    assert!(reply.bytes.len() <= 512);
}

#[test]
fn rfc2308_2_2_own_records_of_another_type_are_no_data() {
    for (name, kind) in [("printer.local", SRV), ("printer.local", CNAME), ("_acme.servicea.local", A)] {
        check(name, kind, &format!("NoError aa rd ra | {SOA_LINE}"));
    }
    let soa = "ns svc.internal. 5 SOA ns.svc.internal. hostmaster.svc.internal. 7 3600 600 86400 5";
    check("six.svc.internal", A, &format!("NoError aa rd ra | {soa}"));
    check("six.local", AAAA, &format!("NXDomain aa rd ra | {SOA_LINE}"));
}

#[test]
fn rfc8020_2_names_above_own_records_exist() {
    check("a.deep.name.local", A, "NoError aa rd ra | an a.deep.name.local. 30 A 192.0.2.12");
    for name in ["deep.name.local", "name.local"] {
        check(name, A, &format!("NoError aa rd ra | {SOA_LINE}"));
    }
    check("servicea.local", A, "NoError aa rd ra | an servicea.local. 30 A 127.80.0.11");
    check("b.deep.name.local", A, &format!("NXDomain aa rd ra | {SOA_LINE}"));
}

#[test]
fn rfc1034_3_6_2_an_alias_is_followed_in_the_answer() {
    let a = "an servicea.local. 30 A 127.80.0.11";
    check("www.local", A, &format!("NoError aa rd ra | an www.local. 30 CNAME servicea.local. | {a}"));
    check(
        "www.local",
        AAAA,
        &format!("NoError aa rd ra | an www.local. 30 CNAME servicea.local. | {SOA_LINE}"),
    );
    let chain = "an far.local. 30 CNAME www.local. | an www.local. 30 CNAME servicea.local.";
    check("far.local", A, &format!("NoError aa rd ra | {chain} | {a}"));
    check(
        "Other.svc.internal",
        A,
        &format!("NoError aa rd ra | an Other.svc.internal. 30 CNAME far.local. | {chain} | {a}"),
    );
    check(
        "srv.local",
        SRV,
        "NoError aa rd ra | an srv.local. 30 CNAME _http._tcp.servicea.local. \
         | an _http._tcp.servicea.local. 30 SRV 0 0 80 servicea.local. | ar servicea.local. 30 A 127.80.0.11",
    );
    check(
        "apex.local",
        NS,
        "NoError aa rd ra | an apex.local. 30 CNAME local. | an local. 30 NS ns.local. \
         | ar ns.local. 30 A 127.0.0.1",
    );
    check("x.www.local", A, &format!("NXDomain aa rd ra | {SOA_LINE}"));
}

#[test]
fn rfc1034_3_6_2_who_asks_for_the_alias_gets_it_alone() {
    check("far.local", CNAME, "NoError aa rd ra | an far.local. 30 CNAME www.local.");
    check("far.local", ANY, "NoError aa rd ra | an far.local. 30 CNAME www.local.");
}

#[test]
fn rfc6604_3_the_rcode_is_about_the_last_name() {
    let alias = "an dangling.local. 30 CNAME nobody.local.";
    check("dangling.local", A, &format!("NXDomain aa rd ra | {alias} | {SOA_LINE}"));
}

#[test]
fn rfc1034_4_3_2_an_alias_of_a_name_outside_is_given_alone_where_nobody_is_asked() {
    let alone = |name, target| format!("NoError aa ra | an {name}. 30 CNAME {target}.");
    for (name, target) in [("outside.local", "www.example.org"), ("corp.svc.internal", "dc1.corp.local")] {
        let without_rd = Query::new(name, A).flags(0);
        assert_eq!(without_rd.ask(&answers(), UDP).line(), alone(name, target));
    }
}

#[test]
fn what_an_alias_leads_to_is_asked_elsewhere_and_the_alias_is_the_begin_of_the_reply() {
    for (name, domain) in [("outside.local", None), ("corp.svc.internal", Some(0))] {
        let mut begin = Vec::new();
        let verdict = answer(&Query::new(name, A).opt(1232).bytes(), UDP, &answers(), &mut begin);
        assert_eq!(verdict, Verdict::Forward(domain), "{name}");
        let begin = Reply::parse(begin, verdict);
        assert!(
            begin.line().starts_with(&format!("NoError rd ra | an {name}. 30 CNAME ")),
            "{}",
            begin.line()
        );
        assert_eq!((begin.message.answers.len(), begin.message.edns), (1, None));
    }
}

#[test]
fn rfc8482_4_1_any_of_own_records_gets_one_rrset() {
    check(
        "printer.local",
        ANY,
        "NoError aa rd ra | an printer.local. 30 A 192.0.2.10 | an printer.local. 30 A 192.0.2.11",
    );
    check("six.svc.internal", ANY, "NoError aa rd ra | an six.svc.internal. 30 AAAA 2001:db8::6");
}

#[test]
fn rfc1035_4_1_4_an_alias_chain_of_the_longest_names_can_be_parsed() {
    let long = |label: char| {
        let label = |count| label.to_string().repeat(count);
        [label(63), label(63), label(63), label(53), "local".to_owned()].join(".")
    };
    let mut settings = settings(&["local"], "127.80.0.0/16");
    let names: Vec<String> = ('a'..='h').map(long).collect();
    let targets = names.iter().skip(1).map(String::as_str).chain(["servicea.local"]);
    settings.dns.records = names
        .iter()
        .zip(targets)
        .map(|(name, target)| (RecordName::parse(name).unwrap(), alias(target)))
        .collect();
    let answers = World::new(settings, vec![service("servicea", &[])]).answers();
    let whole = Query::new(&names[0], A).ask(&answers, TCP);
    assert_eq!((whole.message.answers.len(), whole.message.metadata.truncation), (9, false));
    let cut = Query::new(&names[0], A).opt(4096).ask(&answers, UDP);
    assert!(cut.message.metadata.truncation && cut.bytes.len() <= 1232);
}

/// What special names get, and as what it is counted.
#[track_caller]
fn check_special(answers: &Answers, name: &str, kind: u16, expected: &str) {
    let reply = Query::new(name, kind).ask(answers, UDP);
    assert_eq!(reply.line(), expected, "{name}");
    assert!(matches!(reply.verdict, Verdict::Reply(Scope::Special, _)), "{name}: {:?}", reply.verdict);
}

fn soa(apex: &str) -> String {
    format!("ns {apex}. 5 SOA ns.local. hostmaster.local. 7 3600 600 86400 5")
}

#[test]
fn rfc6761_6_3_localhost_is_this_host() {
    let answers = World::small().answers();
    for name in ["localhost", "x.localhost", "a.b.LOCALHOST"] {
        check_special(&answers, name, A, &format!("NoError aa rd ra | an {name}. 30 A 127.0.0.1"));
        check_special(&answers, name, AAAA, &format!("NoError aa rd ra | an {name}. 30 AAAA ::1"));
        let zone = name.rsplit('.').next().unwrap();
        check_special(&answers, name, TXT, &format!("NoError aa rd ra | {}", soa(zone)));
    }
    check(
        "me.local",
        A,
        "NoError aa rd ra | an me.local. 30 CNAME x.localhost. | an x.localhost. 30 A 127.0.0.1",
    );
}

#[test]
fn rfc6761_6_4_rfc7686_2_rfc9476_2_names_that_never_exist() {
    for answers in [World::small().answers(), World::small().forwarding(&[]).answers()] {
        for apex in ["invalid", "onion", "alt"] {
            let name = format!("www.{apex}");
            check_special(&answers, &name, A, &format!("NXDomain aa rd ra | {}", soa(apex)));
            check_special(&answers, apex, A, &format!("NoError aa rd ra | {}", soa(apex)));
        }
    }
}

#[test]
fn rfc9462_4_there_is_no_designated_resolver() {
    let no_data = format!("NoError aa rd ra | {}", soa("resolver.arpa"));
    for name in ["_dns.resolver.arpa", "resolver.arpa"] {
        check_special(&World::small().answers(), name, SVCB, &no_data);
    }
}

#[test]
fn rfc6761_6_2_rfc6762_22_1_rfc8375_4_names_of_sites_do_not_leave() {
    let zones = || World::new(settings(&["svc.internal"], "127.80.0.0/16"), Vec::new());
    for apex in ["test", "local", "home.arpa"] {
        let soa = format!("ns {apex}. 5 SOA ns.svc.internal. hostmaster.svc.internal. 7 3600 600 86400 5");
        let forwarding = zones().forwarding(&[]).answers();
        check_special(&forwarding, &format!("www.{apex}"), A, &format!("NXDomain aa rd ra | {soa}"));
        // Nothing leaves anyway, and another server may know.
        assert_eq!(line(&zones().answers(), &format!("www.{apex}"), A), "Refused rd ra");
        let elsewhere = zones().forwarding(&[apex]).answers();
        assert_eq!(verdict(&elsewhere, &format!("www.{apex}"), PTR), Verdict::Forward(Some(0)));
    }
}

fn verdict(answers: &Answers, name: &str, kind: u16) -> Verdict {
    answer(&Query::new(name, kind).bytes(), UDP, answers, &mut Vec::new())
}

const ZEROS: &str = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";

#[test]
fn rfc6303_4_private_reverse_zones_do_not_leave() {
    let answers = World::small().forwarding(&[]).answers();
    let unspecified = format!("0.{ZEROS}.ip6.arpa");
    let zones = [
        "10.in-addr.arpa",
        "16.172.in-addr.arpa",
        "31.172.in-addr.arpa",
        "168.192.in-addr.arpa",
        "64.100.in-addr.arpa",
        "127.100.in-addr.arpa",
        "0.in-addr.arpa",
        "254.169.in-addr.arpa",
        "2.0.192.in-addr.arpa",
        "100.51.198.in-addr.arpa",
        "113.0.203.in-addr.arpa",
        "d.f.ip6.arpa",
        "8.e.f.ip6.arpa",
        "b.e.f.ip6.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
    ];
    for apex in zones {
        check_special(&answers, &format!("1.{apex}"), PTR, &format!("NXDomain aa rd ra | {}", soa(apex)));
        check_special(&answers, apex, NS, &format!("NoError aa rd ra | an {apex}. 30 NS ns.local."));
    }
    for apex in ["255.255.255.255.in-addr.arpa", &unspecified] {
        check_special(&answers, apex, PTR, &format!("NoError aa rd ra | {}", soa(apex)));
    }
    for name in [
        "1.15.172.in-addr.arpa",
        "1.32.172.in-addr.arpa",
        "1.63.100.in-addr.arpa",
        "8.8.in-addr.arpa",
        "c.f.ip6.arpa",
    ] {
        assert_eq!(verdict(&answers, name, PTR), Verdict::Forward(None), "{name}");
        assert_eq!(line(&World::small().answers(), name, PTR), "Refused rd ra");
    }
    assert_eq!(line(&World::small().answers(), "1.10.in-addr.arpa", PTR), "Refused rd ra");
}

#[test]
fn rfc6303_4_2_loopback_addresses_are_localhost() {
    let answers = World::small().forwarding(&[]).answers();
    for name in ["1.0.0.127.in-addr.arpa".to_owned(), format!("1.{ZEROS}.ip6.arpa")] {
        check_special(&answers, &name, PTR, &format!("NoError aa rd ra | an {name}. 30 PTR localhost."));
    }
    check_special(
        &answers,
        "2.0.0.127.in-addr.arpa",
        PTR,
        &format!("NXDomain aa rd ra | {}", soa("127.in-addr.arpa")),
    );
    check_special(
        &answers,
        "0.127.in-addr.arpa",
        PTR,
        &format!("NoError aa rd ra | {}", soa("127.in-addr.arpa")),
    );
    // Addresses of the pool are ours, and what lies between exists.
    let reply = Query::new("11.0.80.127.in-addr.arpa", PTR).ask(&answers, UDP);
    assert_eq!(reply.line(), "NoError aa rd ra | an 11.0.80.127.in-addr.arpa. 30 PTR servicea.local.");
    assert!(matches!(reply.verdict, Verdict::Reply(Scope::Zone, _)));
    let of_24_bits = World::new(settings(&["local"], "10.20.30.0/24"), Vec::new()).forwarding(&[]).answers();
    check_special(
        &of_24_bits,
        "20.10.in-addr.arpa",
        PTR,
        &format!("NoError aa rd ra | {}", soa("10.in-addr.arpa")),
    );
    check_special(
        &of_24_bits,
        "21.10.in-addr.arpa",
        PTR,
        &format!("NXDomain aa rd ra | {}", soa("10.in-addr.arpa")),
    );
}

#[test]
fn a_domain_that_is_configured_wins_over_a_special_zone() {
    let answers = World::small()
        .forwarding(&["1.10.in-addr.arpa", "168.192.in-addr.arpa", "172.in-addr.arpa", "test"])
        .answers();
    for (name, domain) in [
        ("9.1.10.in-addr.arpa", 0),
        ("1.10.in-addr.arpa", 0),
        ("5.168.192.in-addr.arpa", 1),
        ("1.16.172.in-addr.arpa", 2),
        ("www.test", 3),
    ] {
        assert_eq!(verdict(&answers, name, PTR), Verdict::Forward(Some(domain)), "{name}");
    }
    check_special(
        &answers,
        "2.10.in-addr.arpa",
        PTR,
        &format!("NXDomain aa rd ra | {}", soa("10.in-addr.arpa")),
    );
}

#[test]
fn a_zone_that_is_configured_wins_over_a_special_name() {
    let world =
        World::new(settings(&["app.test", "localhost"], "127.80.0.0/16"), vec![service("servicea", &[])]);
    let answers = world.forwarding(&[]).answers();
    let found = Query::new("servicea.app.test", A).ask(&answers, UDP);
    assert_eq!(found.line(), "NoError aa rd ra | an servicea.app.test. 30 A 127.80.0.11");
    let soa = |apex| format!("ns {apex}. 5 SOA ns.app.test. hostmaster.app.test. 7 3600 600 86400 5");
    check_special(&answers, "x.test", A, &format!("NXDomain aa rd ra | {}", soa("test")));
    let own = "ns localhost. 5 SOA ns.localhost. hostmaster.localhost. 7 3600 600 86400 5";
    assert_eq!(line(&answers, "x.localhost", A), format!("NXDomain aa rd ra | {own}"));
}
