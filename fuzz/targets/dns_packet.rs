//! A packet to the DNS port: a reply that any resolver can read, within its bound, or none.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use teal::dns::{Asked, Source, Transport, Verdict, answer};
use teal::model::testing::{catalog, color, service};
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
    Answers::build(&catalog(services), &addresses, 7)
});

fuzz_target!(|bytes: &[u8]| {
    let [kind, packet @ ..] = bytes else { return };
    let transport = if kind & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let source = if kind & 2 == 0 { Source::Allowed } else { Source::Denied };
    let mut reply = Vec::new();
    let verdict = answer(packet, Asked { transport, source }, &ANSWERS, &mut reply);
    let gets_none = packet.len() < 12 || packet[2] & 0x80 != 0;
    assert_eq!(matches!(verdict, Verdict::Drop(_)), gets_none, "a reply to a reply, or none to a query");
    assert_eq!(reply.is_empty(), gets_none);
    if gets_none {
        return;
    }
    let max = if transport == Transport::Udp { UDP_MAX } else { usize::from(u16::MAX) };
    assert!(reply.len() <= max, "{} octets", reply.len());
    assert_eq!(reply[..2], packet[..2], "the ID comes back");
    assert!(reply[2] & 0x80 != 0, "it is a reply");
    Message::from_vec(&reply).expect("what teal writes can be read");
});
