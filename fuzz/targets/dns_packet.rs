//! A packet to the DNS port: a reply that any resolver can read, within its bound, or none.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use teal::dns::alias::Aliases;
use teal::dns::forward::question::Query;
use teal::dns::{Asked, Source, Transport, Verdict, answer};
use teal::model::testing::{catalog, color, service};
use teal::model::{Catalog, Domain, RecordData, RecordName, Upstream};
use teal::state::Answers;
use teal::state::build::Addresses;

/// Octets of a reply over UDP at most.
const UDP_MAX: usize = 1232;

static ANSWERS: LazyLock<Arc<Answers>> = LazyLock::new(|| {
    let endpoint = [([127, 0, 0, 1], 9).into()];
    let colors = || vec![color("blue", 1, &endpoint), color("green", 1, &endpoint)];
    let services = vec![service("servicea", 80, colors()), service("b", 443, colors())];
    let vip = |last| Ipv4Addr::new(127, 80, 0, last);
    let addresses: BTreeMap<_, _> = services
        .iter()
        .zip([1, 4])
        .map(|(service, first)| {
            let previews = vec![vip(first + 1), vip(first + 2)];
            (service.name.clone(), Addresses { vip: vip(first), previews })
        })
        .collect();
    let mut catalog = catalog(services);
    look_outside(&mut catalog);
    Answers::build(&catalog, &addresses, 7)
});

/// Names outside are asked for; some names of the zone are others' by another name, or lead to one that is.
fn look_outside(catalog: &mut Catalog) {
    let dns = &mut catalog.settings.dns;
    let upstream = vec![Upstream::At(([127, 0, 0, 1], 53).into())];
    dns.forward.upstreams = upstream.clone();
    let domains =
        ["corp.local", "example"].map(|name| (Domain::parse(name).expect("a domain"), upstream.clone()));
    dns.forward.domains = domains.into();
    let long = format!("{}.www.example", ["x".repeat(60), "y".repeat(60), "z".repeat(60)].join("."));
    let aliases = [
        ("w.local", "servicea.local"),
        ("far.local", "www.example"),
        ("on.local", "far.local"),
        ("c.local", "dc1.corp.local"),
        ("o.local", "out"),
        ("l.local", &*long),
        ("r.local", "r.local"),
    ];
    let name = |name| RecordName::parse(name).expect("a name");
    dns.records = aliases.map(|(alias, target)| (name(alias), RecordData::Alias(name(target)))).into();
}

/// What is handed over can be asked of somebody, and is no name of the zones.
fn check_outside(packet: &[u8], asked: Asked, (verdict, aliases): (Verdict, &[u8])) {
    Query::read(packet, asked.transport).expect("a query that upstreams can be asked");
    if aliases.is_empty() {
        return;
    }
    let (aliases, to_target) = Aliases::read((packet, asked.transport), aliases).expect("aliases");
    let mut nothing = Vec::new();
    assert_eq!(answer(&to_target, asked, &ANSWERS, &mut nothing), verdict, "no name of the zones leaves");
    assert!(nothing.is_empty());
    // An upstream that knows nothing about it.
    let mut empty = to_target;
    empty[2] |= 0x80;
    let mut reply = Vec::new();
    aliases.finish(&empty, &mut reply);
    check_reply(packet, asked.transport, &reply);
}

fn check_reply(packet: &[u8], transport: Transport, reply: &[u8]) {
    let max = if transport == Transport::Udp { UDP_MAX } else { usize::from(u16::MAX) };
    assert!(reply.len() <= max, "{} octets", reply.len());
    assert_eq!(reply[..2], packet[..2], "the ID comes back");
    assert!(reply[2] & 0x80 != 0, "it is a reply");
    Message::from_vec(reply).expect("what teal writes can be read");
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, packet @ ..] = bytes else { return };
    let transport = if kind & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let source = if kind & 2 == 0 { Source::Allowed } else { Source::Denied };
    let asked = Asked { transport, source };
    let mut reply = Vec::new();
    let verdict = answer(packet, asked, &ANSWERS, &mut reply);
    let gets_none = packet.len() < 12 || packet[2] & 0x80 != 0;
    assert_eq!(matches!(verdict, Verdict::Drop(_)), gets_none, "a reply to a reply, or none to a query");
    match verdict {
        Verdict::Reply(..) => check_reply(packet, transport, &reply),
        Verdict::Forward(_) => check_outside(packet, asked, (verdict, &reply)),
        Verdict::Drop(_) => assert!(reply.is_empty()),
    }
});
