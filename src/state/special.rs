//! Names that the standards give to everybody, and reverse names of addresses that mean another host in
//! every network. Whoever asks the world for them leaks what should stay, and learns nothing.

use super::answers::{Forwards, ZoneKind, suffixes};
use super::answers_build::{Builder, Cut, ServerIn};
use super::records::{name_below, wire_name};

/// Names that mean the same everywhere: answered always.
const EVERYWHERE: [(&str, ZoneKind); 5] = [
    // RFC 6761 §6.3
    ("localhost", ZoneKind::Loopback),
    // RFC 6761 §6.4
    ("invalid", ZoneKind::Empty),
    // RFC 7686 §2
    ("onion", ZoneKind::Empty),
    // RFC 9476 §2
    ("alt", ZoneKind::Empty),
    // RFC 9462 §6.4: there is no designated resolver.
    ("resolver.arpa", ZoneKind::Silent),
];

/// Names that a site may have filled. Answered where teal would ask the upstreams otherwise; where it would
/// refuse, a client may have another server that knows.
const OF_SITES: [&str; 17] = [
    // RFC 6761 §6.2
    "test",
    // RFC 6762 §22.1
    "local",
    // RFC 8375 §4
    "home.arpa",
    // RFC 6303 §4.1, but for the networks below
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    // RFC 6303 §4.2
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    // RFC 6303 §4.4
    "d.f.ip6.arpa",
    // RFC 6303 §4.5
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
];

/// Further reverse names of sites, which are many alike.
fn numbered() -> impl Iterator<Item = String> {
    // RFC 6303 §4.1: 172.16.0.0/12. RFC 7793 §4: 100.64.0.0/10.
    let private = (16..32).map(|octet| format!("{octet}.172.in-addr.arpa"));
    let shared = (64..128).map(|octet| format!("{octet}.100.in-addr.arpa"));
    // RFC 6303 §4.3: `::` and `::1`. §4.6: 2001:db8::/32.
    let zeros = "0.".repeat(31);
    let unspecified = [format!("0.{zeros}ip6.arpa"), "8.b.d.0.1.0.0.2.ip6.arpa".to_owned()];
    private.chain(shared).chain(unspecified)
}

/// `::1`, whose name is `localhost` as that of 127.0.0.1 is.
fn loopback6() -> String {
    format!("1.{}ip6.arpa", "0.".repeat(31))
}

impl Builder<'_> {
    /// Zones for special names, where no zone or domain of the configuration covers them.
    pub(super) fn insert_special(&mut self, forwards: &Forwards) {
        for (name, kind) in EVERYWHERE {
            self.insert_special_zone(name, kind);
        }
        if !forwards.rest {
            return;
        }
        for name in OF_SITES {
            self.insert_special_zone(name, ZoneKind::Empty);
        }
        for name in numbered() {
            self.insert_special_zone(&name, ZoneKind::Empty);
        }
        self.insert_special_zone(&loopback6(), ZoneKind::Empty);
        for name in ["1.0.0.127.in-addr.arpa".to_owned(), loopback6()] {
            self.insert_localhost(&name);
        }
    }

    fn insert_special_zone(&mut self, name: &str, kind: ZoneKind) {
        let apex = wire_name(name);
        let is_covered = suffixes(&apex).any(|suffix| self.cut_at(suffix).is_some());
        if !is_covered {
            let primary = self.zones.first().cloned().unwrap_or_default();
            self.insert_zone(&apex, kind, ServerIn::Zone(&primary));
        }
    }

    /// PTR to `localhost`, where its zone is ours.
    fn insert_localhost(&mut self, name: &str) {
        let name = wire_name(name);
        let Some(Cut::Zone(zone)) = suffixes(&name).find_map(|suffix| self.cut_at(suffix)) else { return };
        self.note_deep(&name);
        self.insert_pointer_at(zone, &name, &name_below(&["localhost"], &[0]));
    }
}
