//! The cases: what is asked, and the whole reply.

#![allow(clippy::too_many_lines, reason = "lists")]

use std::net::Ipv4Addr;

use crate::support::*;

/// One query and the reply that it gets.
pub struct Case {
    /// Which section asks for it.
    pub section: &'static str,
    /// In words.
    pub what: &'static str,
    pub query: Query,
    /// The reply in the words of [`Reply::line`]; ` ...` means that more follows.
    pub expected: String,
    /// Where it differs.
    pub over_tcp: Option<String>,
    /// Octets of the reply over UDP.
    pub octets_max: usize,
}

fn case(section: &'static str, what: &'static str, query: Query, expected: &str) -> Case {
    Case { section, what, query, expected: expected.to_owned(), over_tcp: None, octets_max: 512 }
}

/// Without RD and EDNS, as RFC 8906 asks.
fn plain(name: &str, kind: u16) -> Query {
    Query::new(name, kind).flags(0)
}

fn with_opt(query: Query, version: u8, flags: u16, options: &[u8]) -> Query {
    query.additional(&opt(4096, version, flags, options))
}

const ZONE_SOA: &str = "local. 30 SOA ns.local. hostmaster.local. SERIAL 3600 600 86400 5";
const NO_SUCH: &str = "ns local. 5 SOA ns.local. hostmaster.local. SERIAL 3600 600 86400 5";
const A_LINE: &str = "an servicea.local. 30 A VIP";
/// An unknown option with three octets.
const UNKNOWN: [u8; 7] = [0, 100, 0, 3, 1, 2, 3];
const NSID: [u8; 4] = [0, 3, 0, 0];
const COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
const SUBNET: [u8; 8] = [0, 8, 0, 4, 0, 1, 0, 0];
const EXPIRE: [u8; 4] = [0, 9, 0, 0];

/// All of them, with this VIP of servicea.
pub fn all(vip: Ipv4Addr) -> Vec<Case> {
    let mut cases = basic();
    cases.extend(extended());
    cases.extend(zone(vip));
    cases.extend(edns());
    cases.extend(sizes());
    cases.extend(headers());
    cases
}

/// Of a teal that asks upstreams for other names.
pub fn with_upstreams() -> Vec<Case> {
    let missing = |section, what, name: &str, kind, apex: &str| {
        let soa = format!("ns {apex}. 5 SOA ns.local. hostmaster.local. SERIAL 3600 600 86400 5");
        case(section, what, Query::new(name, kind), &format!("NXDomain aa rd ra | {soa}"))
    };
    let pointer = |name: &str| format!("NoError aa rd ra | an {name}. 30 PTR localhost.");
    let loopback6 = format!("1.{}ip6.arpa", "0.".repeat(31));
    let q = Query::new;
    vec![
        missing("6761 §6.2", "test is not asked elsewhere: NXDOMAIN", "x.test", A, "test"),
        missing("8375 §4", "home.arpa is not asked elsewhere", "x.home.arpa", A, "home.arpa"),
        missing("6762 §22.1", "names of the zone local are not", "x.y.local", A, "local"),
        missing(
            "6303 §4.1",
            "reverse names of 10.0.0.0/8 are not",
            "1.0.0.10.in-addr.arpa",
            PTR,
            "10.in-addr.arpa",
        ),
        missing("6303 §4.1", "of 172.16.0.0/12", "1.0.31.172.in-addr.arpa", PTR, "31.172.in-addr.arpa"),
        missing("6303 §4.1", "of 192.168.0.0/16", "1.0.168.192.in-addr.arpa", PTR, "168.192.in-addr.arpa"),
        missing(
            "6303 §4.2",
            "of link-local addresses",
            "1.0.254.169.in-addr.arpa",
            PTR,
            "254.169.in-addr.arpa",
        ),
        missing("6303 §4.4", "of fd00::/8", "1.d.f.ip6.arpa", PTR, "d.f.ip6.arpa"),
        missing("7793 §4", "of 100.64.0.0/10", "1.0.64.100.in-addr.arpa", PTR, "64.100.in-addr.arpa"),
        case(
            "6303 §4.2",
            "PTR of 127.0.0.1",
            q("1.0.0.127.in-addr.arpa", PTR),
            &pointer("1.0.0.127.in-addr.arpa"),
        ),
        case("6303 §4.3", "PTR of ::1", q(&loopback6, PTR), &pointer(&loopback6)),
        case("1035 §4.1.1", "without RD nobody is asked: REFUSED", plain("www.example.org", A), "Refused ra"),
        case("5936 §2.2", "AXFR of another zone: REFUSED", q("example.org", AXFR), "Refused rd ra"),
        case(
            "1035 §3.2.4",
            "class CH is not asked elsewhere",
            q("version.bind", TXT).class(3),
            "Refused rd ra",
        ),
    ]
}

/// RFC 8906 §8.1.
fn basic() -> Vec<Case> {
    let soa = |flags: &str| format!("NoError aa {flags} | an {ZONE_SOA}");
    let query = || plain("local", SOA);
    let mut bare = plain("local", SOA).flags(15 << 11).counts([0; 4]);
    bare.question.clear();
    vec![
        case("8906 §8.1.1", "SOA of the zone: answered with AA", query(), &soa("ra")),
        case(
            "8906 §8.1.2",
            "an unknown type: NODATA",
            plain("local", 1000),
            &format!("NoError aa ra | {NO_SUCH}"),
        ),
        case("8906 §8.1.3.1", "CD is copied", query().flags(0x0010), &soa("ra cd")),
        case("8906 §8.1.3.2", "AD in a query is no error", query().flags(0x0020), &soa("ra")),
        case(
            "8906 §8.1.3.3",
            "the reserved flag is ignored and not copied",
            query().flags(0x0040),
            &soa("ra"),
        ),
        case("8906 §8.1.3.4", "RD is copied", query().flags(0x0100), &soa("rd ra")),
        case("8906 §8.1.4", "an unknown opcode, header only: NOTIMP", bare, "NotImp ra"),
        case(
            "8906 §8.1.4",
            "an unknown opcode with a question: NOTIMP",
            query().flags(15 << 11),
            "NotImp ra",
        ),
        case("8906 §8.1.5", "SOA of the zone over TCP: the same", query(), &soa("ra")),
    ]
}

/// RFC 8906 §8.2.
fn extended() -> Vec<Case> {
    let query = || plain("local", SOA);
    let soa = |opt: &str| format!("NoError aa ra | an {ZONE_SOA} | {opt}");
    let bad = |opt: &str| format!("BadVers ra | {opt}");
    let many = [&NSID[..], &EXPIRE, &SUBNET, &COOKIE].concat();
    vec![
        case(
            "8906 §8.2.1",
            "EDNS 0: answered with an OPT",
            with_opt(query(), 0, 0, &[]),
            &soa("opt v0 1232"),
        ),
        case(
            "8906 §8.2.2",
            "EDNS 1: BADVERS, version 0, empty",
            with_opt(query(), 1, 0, &[]),
            &bad("opt v0 1232"),
        ),
        case(
            "8906 §8.2.3",
            "an unknown option is ignored and not echoed",
            with_opt(query(), 0, 0, &UNKNOWN),
            &soa("opt v0 1232"),
        ),
        case(
            "8906 §8.2.4",
            "unknown EDNS flags are ignored and not echoed",
            with_opt(query(), 0, 0x0040, &[]),
            &soa("opt v0 1232"),
        ),
        case(
            "8906 §8.2.5",
            "EDNS 1 and an unknown flag: BADVERS",
            with_opt(query(), 1, 0x0040, &[]),
            &bad("opt v0 1232"),
        ),
        case(
            "8906 §8.2.6",
            "EDNS 1 and an unknown option: BADVERS",
            with_opt(query(), 1, 0, &UNKNOWN),
            &bad("opt v0 1232"),
        ),
        Case {
            over_tcp: Some("NoError aa ra | an large.local. 30 TXT ...".into()),
            ..case(
                "8906 §8.2.7",
                "a truncated answer keeps its OPT",
                plain("large.local", TXT).additional(&opt(512, 0, 0x8000, &[])),
                "NoError aa tc ra | an large.local. 30 TXT ...",
            )
        },
        case("8906 §8.2.8", "DO is copied", with_opt(query(), 0, 0x8000, &[]), &soa("opt v0 1232 do")),
        case(
            "8906 §8.2.9",
            "EDNS 1 and DO: BADVERS",
            with_opt(query(), 1, 0x8000, &[]),
            &bad("opt v0 1232 do"),
        ),
        case(
            "8906 §8.2.10",
            "NSID, EXPIRE, client subnet and cookie at once: ignored",
            with_opt(query(), 0, 0, &many),
            &soa("opt v0 1232"),
        ),
    ]
}

/// Names of the zone, and those that are in none.
fn zone(vip: Ipv4Addr) -> Vec<Case> {
    let no_data = format!("NoError aa rd ra | {NO_SUCH}");
    let missing = format!("NXDomain aa rd ra | {NO_SUCH}");
    let answered = |records: &str| format!("NoError aa rd ra | {records}");
    let empty = |apex: &str| format!("ns {apex}. 5 SOA ns.local. hostmaster.local. SERIAL 3600 600 86400 5");
    let reversed = Ipv4Addr::from(u32::from(vip).swap_bytes());
    let reverse = format!("{reversed}.in-addr.arpa");
    let refused = "Refused rd ra";
    let q = Query::new;
    let srv = "an _http._tcp.servicea.local. 30 SRV 0 0 7080 servicea.local. | ar servicea.local. 30 A VIP";
    let printers = "an printer.local. 30 A 192.0.2.10 | an printer.local. 30 A 192.0.2.11";
    let alias = "an www.local. 30 CNAME servicea.local.";
    vec![
        case("1035 §3.4.1", "A of a service", q("servicea.local", A), &answered(A_LINE)),
        case(
            "4343 §3",
            "case is ignored, the question comes back as sent",
            q("SerVICEa.LOCAL", A),
            &answered("an SerVICEa.LOCAL. 30 A VIP"),
        ),
        case("2308 §2.2", "AAAA of a service: NODATA with SOA", q("servicea.local", AAAA), &no_data),
        case("9460 §2", "HTTPS of a service: NODATA with SOA", q("servicea.local", HTTPS), &no_data),
        case("9460 §2", "SVCB of a service: NODATA with SOA", q("servicea.local", SVCB), &no_data),
        case("2308 §2.1", "a name that is missing: NXDOMAIN with SOA", q("x.local", A), &missing),
        case("2308 §5", "the SOA's TTL there is `negative_ttl`", q("x.y.local", TXT), &missing),
        case("8020 §2", "an empty non-terminal exists", q("_tcp.servicea.local", A), &no_data),
        case(
            "1034 §4.2.1",
            "NS of the zone, with the server's address",
            q("local", NS),
            &answered("an local. 30 NS ns.local. | ar ns.local. 30 A 127.0.0.1"),
        ),
        case(
            "1912 §2.8",
            "the name server has an address",
            q("ns.local", A),
            &answered("an ns.local. 30 A 127.0.0.1"),
        ),
        case("2308 §2.2", "A of the zone: NODATA", q("local", A), &no_data),
        case(
            "2782",
            "SRV by the port's name, with the address",
            q("_http._tcp.servicea.local", SRV),
            &answered(srv),
        ),
        case(
            "1035 §3.5",
            "PTR of a virtual IP",
            q(&reverse, PTR),
            &answered("an REVERSE.arpa. 30 PTR servicea.local."),
        ),
        case("8482 §4.1", "ANY: records of one type", q("servicea.local", ANY), &answered(A_LINE)),
        case(
            "8482 §4.1",
            "ANY of a name with two types: records of one",
            q("printer.local", ANY),
            &answered(printers),
        ),
        case(
            "1034 §3.6.2",
            "an alias is followed",
            q("www.local", A),
            &answered(&format!("{alias} | {A_LINE}")),
        ),
        case(
            "2308 §2.2",
            "an alias of a name without that type",
            q("www.local", AAAA),
            &answered(&format!("{alias} | {NO_SUCH}")),
        ),
        case("1034 §3.6.2", "the alias itself", q("www.local", CNAME), &answered(alias)),
        case(
            "1034 §4.3.2",
            "an alias of a name outside is given alone where nobody is asked",
            q("far.local", A),
            &answered("an far.local. 30 CNAME www.example.org."),
        ),
        case(
            "6604 §3",
            "an alias of a missing name: NXDOMAIN",
            q("dead.local", A),
            &format!("NXDomain aa rd ra | an dead.local. 30 CNAME nobody.local. | {NO_SUCH}"),
        ),
        case("5936 §2.2", "AXFR: REFUSED", q("local", AXFR), refused),
        case("1995 §2", "IXFR: REFUSED", q("local", IXFR), refused),
        case(
            "6761 §6.3",
            "localhost: 127.0.0.1",
            q("localhost", A),
            &answered("an localhost. 30 A 127.0.0.1"),
        ),
        case(
            "6761 §6.3",
            "a name below localhost: ::1",
            q("x.localhost", AAAA),
            &answered("an x.localhost. 30 AAAA ::1"),
        ),
        case(
            "6761 §6.4",
            "invalid: NXDOMAIN",
            q("x.invalid", A),
            &format!("NXDomain aa rd ra | {}", empty("invalid")),
        ),
        case(
            "7686 §2",
            "onion: NXDOMAIN",
            q("x.onion", A),
            &format!("NXDomain aa rd ra | {}", empty("onion")),
        ),
        case("9476 §2", "alt: NXDOMAIN", q("x.alt", A), &format!("NXDomain aa rd ra | {}", empty("alt"))),
        case(
            "9462 §6.4",
            "resolver.arpa: NODATA",
            q("_dns.resolver.arpa", SVCB),
            &answered(&empty("resolver.arpa")),
        ),
        case("1035 §4.1.1", "a name in none of the zones: REFUSED", q("www.example.org", A), refused),
        case(
            "8914 §4.21",
            "the same with EDNS: extended error 20",
            q("www.example.org", A).opt(1232),
            "Refused rd ra | opt v0 1232 15:[0, 20]",
        ),
        case("1035 §4.1.1", "the same without RD", plain("www.example.org", A), "Refused ra"),
        case("1035 §3.2.4", "version.bind in class CH: REFUSED", q("version.bind", TXT).class(3), refused),
        case("1035 §3.2.4", "id.server in class CH: REFUSED", q("id.server", TXT).class(3), refused),
        case("1035 §3.2.5", "class ANY: REFUSED", q("servicea.local", A).class(255), refused),
    ]
}

/// RFC 6891 and the options.
fn edns() -> Vec<Case> {
    let q = || Query::new("servicea.local", A);
    let answered = format!("NoError aa rd ra | {A_LINE} | opt v0 1232");
    let named = |owner: &[u8]| q().additional(&[owner, &opt(4096, 0, 0, &[])[1..]].concat());
    vec![
        case(
            "6891 §7",
            "no OPT in the query: none in the reply",
            q(),
            &format!("NoError aa rd ra | {A_LINE}"),
        ),
        case("6891 §6.1.1", "two OPTs: FORMERR", q().opt(4096).opt(4096), "FormErr rd ra"),
        case(
            "6891 §6.1.2",
            "an OPT whose owner is not the root: FORMERR",
            named(&[1, b'a', 0]),
            "FormErr rd ra",
        ),
        case("6891 §6.1.1", "an OPT as answer: FORMERR", q().opt(4096).counts([1, 1, 0, 0]), "FormErr rd ra"),
        case(
            "6891 §6.1.2",
            "an option longer than its OPT: FORMERR",
            with_opt(q(), 0, 0, &[0, 3, 0, 9, 1]),
            "FormErr rd ra",
        ),
        case("6891 §6.1.3", "EDNS 255: BADVERS", with_opt(q(), 255, 0, &[]), "BadVers rd ra | opt v0 1232"),
        case("5001 §2", "NSID is ignored", with_opt(q(), 0, 0, &NSID), &answered),
        case("7873 §5.2", "a client cookie is ignored", with_opt(q(), 0, 0, &COOKIE), &answered),
        case(
            "7873 §5.2.2",
            "a cookie of a wrong length is ignored",
            with_opt(q(), 0, 0, &[0, 10, 0, 1, 1]),
            &answered,
        ),
        case("7871 §7.2", "a client subnet is ignored", with_opt(q(), 0, 0, &SUBNET), &answered),
        case("7830 §3", "padding is ignored", with_opt(q(), 0, 0, &[0, 12, 0, 2, 0, 0]), &answered),
        case("7828 §3.2", "keepalive is ignored", with_opt(q(), 0, 0, &[0, 11, 0, 0]), &answered),
        case("8945 §5.2", "TSIG, which teal cannot check: FORMERR", q().additional(&tsig()), "FormErr rd ra"),
    ]
}

fn tsig() -> Vec<u8> {
    let name = wire_name("key");
    let data = [&name[..], &[0; 6], &[1, 44, 0, 0], &[0xbe, 0xef, 0, 0, 0, 0]].concat();
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&name[..], &[0, 250, 0, 255, 0, 0, 0, 0], &length, &data].concat()
}

/// What a reply may have over UDP.
fn sizes() -> Vec<Case> {
    let sized = |section, what, payload: Option<u16>, octets_max| {
        let query = Query::new("large.local", TXT);
        let query = payload.map_or_else(|| query.clone(), |payload| query.clone().opt(payload));
        let expected = "NoError aa tc rd ra | an large.local. 30 TXT ...";
        let over_tcp = Some("NoError aa rd ra | an large.local. 30 TXT ...".to_owned());
        Case { over_tcp, octets_max, ..case(section, what, query, expected) }
    };
    vec![
        sized("1035 §4.2.1", "without EDNS: TC at 512 octets, all of it over TCP", None, 512),
        sized("6891 §6.2.3", "a payload of 0 means 512", Some(0), 512),
        sized("6891 §6.2.3", "a payload of 511 means 512", Some(511), 512),
        sized("6891 §6.2.3", "a payload of 512", Some(512), 512),
        sized("6891 §6.2.3", "a payload of 1000", Some(1000), 1000),
        sized("6891 §6.2.5", "a payload of 1232", Some(1232), 1232),
        sized("6891 §6.2.5", "a payload of 65535: 1232 octets at most", Some(65535), 1232),
    ]
}

/// What the header says.
fn headers() -> Vec<Case> {
    let q = || Query::new("servicea.local", A);
    let answered = format!("NoError aa rd ra | {A_LINE}");
    let mut none = q().counts([0; 4]);
    none.question.clear();
    let mut trailing = q();
    trailing.rest = vec![0xff; 40];
    let extra = [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
    let mut cases = vec![
        case("9619 §4", "no question: FORMERR", none, "FormErr rd ra"),
        case("9619 §4", "two questions: FORMERR", q().counts([2, 0, 0, 0]), "FormErr rd ra"),
        case("9619 §4", "65535 questions: FORMERR", q().counts([65535, 0, 0, 0]), "FormErr rd ra"),
        case(
            "1035 §4.1.1",
            "65535 records that are not there: FORMERR",
            q().counts([1, 65535, 65535, 65535]),
            "FormErr rd ra",
        ),
        case("1035 §4.1.1", "AA, TC, RA and an rcode in a query are ignored", q().flags(0x078f), &answered),
        case("1035 §4.1", "octets after the message are ignored", trailing, &answered),
        case(
            "1035 §4.1",
            "a record that a query has no use for is ignored",
            q().additional(&extra),
            &answered,
        ),
    ];
    let opcodes: [(u16, &'static str, &'static str); 5] = [
        (1, "1035 §4.1.1", "opcode IQUERY: NOTIMP"),
        (2, "1035 §4.1.1", "opcode STATUS: NOTIMP"),
        (4, "1996 §3", "opcode NOTIFY: NOTIMP"),
        (5, "2136 §2", "opcode UPDATE: NOTIMP"),
        (6, "8490 §5", "opcode DSO: NOTIMP"),
    ];
    cases.extend(opcodes.map(|(opcode, section, what)| {
        case(section, what, q().flags(opcode << 11).opt(1232), "NotImp ra | opt v0 1232")
    }));
    cases
}
