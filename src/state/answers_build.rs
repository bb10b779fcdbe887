//! Builds the name table: zones first, then the names of each service, then what is left over.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::answers::{
    Answers, Forwards, Records, Server, ZoneKind, ZoneRecords, label_count, name_server_address, suffixes,
};
use super::answers_table::{Node, Table};
use super::build::Addresses;
use super::records::{TYPE_A, TYPE_NS, TYPE_SOA, Template, name_below, reverse_name, wire_name};
use crate::model::{Service, Settings};

/// SOA numbers for secondaries, of which there are none: an hour, ten minutes, a day.
const REFRESH_RETRY_EXPIRE: [u32; 3] = [3600, 600, 86_400];

pub(super) struct Builder<'a> {
    pub(super) settings: &'a Settings,
    serial: u32,
    /// Apexes in wire format, in the order of the settings.
    pub(super) zones: Vec<Box<[u8]>>,
    /// Indexes of `zones`, deepest first: what lies in two zones belongs to the deeper one.
    order: Rc<[usize]>,
    answers: Answers,
    /// Names that may make names above them exist.
    deep: Vec<Box<[u8]>>,
    /// Octets of an address that name its reverse zone.
    reverse_octets: u8,
}

impl<'a> Builder<'a> {
    pub(super) fn new(settings: &'a Settings, serial: u32) -> Self {
        let dns = &settings.dns;
        let zones: Vec<Box<[u8]>> = dns.zones.iter().map(|zone| wire_name(zone.as_str())).collect();
        let mut order: Vec<usize> = (0..zones.len()).collect();
        order.sort_by_key(|index| Reverse(label_count(&zones[*index])));
        Self {
            settings,
            serial,
            answers: Answers {
                names: Table::default(),
                zones: Vec::new(),
                apex_labels: Vec::new(),
                ttl: seconds(dns.ttl),
                forwards: Forwards::default(),
            },
            deep: Vec::new(),
            reverse_octets: settings.vip.pool.0.prefix_len().div_ceil(8),
            order: order.into(),
            zones,
        }
    }

    /// The apexes of the zones, and of the reverse zones that the pool covers: the pool is cut at
    /// whole octets, because only there can reverse zones begin (RFC 2317 §3). A pool of 12 bits is
    /// 16 zones of 16 bits, one of 25 bits is 128 zones of a single address: at most 128 in any case,
    /// and never a name outside the pool.
    pub(super) fn insert_zones(&mut self) {
        for apex in self.zones.clone() {
            self.insert_zone(&apex, ZoneKind::Own, ServerIn::Itself);
        }
        let primary = self.zones.first().cloned().unwrap_or_default();
        for network in reverse_networks(self.settings.vip.pool.0, self.reverse_octets) {
            let octets = network.network().octets();
            let apex = reverse_name(&octets[..usize::from(self.reverse_octets)]);
            self.insert_zone(&apex, ZoneKind::Own, ServerIn::Zone(&primary));
        }
    }

    /// A zone begins at `apex`.
    pub(super) fn insert_zone(&mut self, apex: &[u8], kind: ZoneKind, server: ServerIn<'_>) {
        let zone = u16::try_from(self.answers.zones.len()).expect("the configuration is read from a file");
        let records = self.zone_records(apex, kind, server);
        self.answers.zones.push(records);
        self.note_deep(apex);
        self.note_cut(apex);
        self.answers.names.put(apex, Node { zone, records: Records::Apex { pointer: None } });
    }

    fn zone_records(&self, apex: &[u8], kind: ZoneKind, server: ServerIn<'_>) -> ZoneRecords {
        let dns = &self.settings.dns;
        let (ttl, negative_ttl) = (seconds(dns.ttl), seconds(dns.negative_ttl));
        let name = |template: &mut Template, label: &str| match server {
            ServerIn::Itself => {
                template.put(&name_below(&[label], &[])).put_apex();
            }
            ServerIn::Zone(zone) => {
                template.put(&name_below(&[label], zone));
            }
        };
        let soa = |ttl| {
            let mut soa = Template::default();
            soa.put_apex().put_body(TYPE_SOA, ttl, |rdata| {
                name(rdata, "ns");
                name(rdata, "hostmaster");
                let [refresh, retry, expire] = REFRESH_RETRY_EXPIRE;
                for number in [self.serial, refresh, retry, expire, negative_ttl] {
                    rdata.put(&number.to_be_bytes());
                }
            });
            soa
        };
        let mut ns = Template::default();
        ns.put_apex().put_body(TYPE_NS, ttl, |rdata| name(rdata, "ns"));
        let glue = matches!(server, ServerIn::Itself).then(|| {
            let mut glue = Template::default();
            name(&mut glue, "ns");
            let address = name_server_address(dns).octets();
            glue.put_body(TYPE_A, ttl, |rdata| {
                rdata.put(&address);
            });
            glue
        });
        let apex_octets = u8::try_from(apex.len()).expect("the model bounds zones");
        ZoneRecords { kind, apex_octets, soa_negative: soa(negative_ttl), soa: soa(ttl), ns, glue }
    }

    /// The names of a service in every zone, and of its addresses.
    pub(super) fn insert_service(&mut self, service: &Service, addresses: &Addresses) {
        for index in Rc::clone(&self.order).iter().copied() {
            let name = name_below(&[service.name.as_str()], &self.zones[index]);
            let previews = service.colors.iter().zip(&addresses.previews);
            for (color, address) in previews {
                self.insert_host(index, service, &name_below(&[color.name.as_str()], &name), *address);
            }
            self.insert_host(index, service, &name, addresses.vip);
        }
        let Some(primary) = self.zones.first() else { return };
        let name = name_below(&[service.name.as_str()], primary);
        let previews = service.colors.iter().zip(&addresses.previews);
        let previews = previews.map(|(color, address)| (*address, name_below(&[color.name.as_str()], &name)));
        for (address, target) in previews.collect::<Vec<_>>() {
            self.insert_pointer(address, &target);
        }
        self.insert_pointer(addresses.vip, &name);
    }

    /// A name with an address, and the SRV names below it.
    fn insert_host(&mut self, index: usize, service: &Service, name: &[u8], address: Ipv4Addr) {
        let zone = u16::try_from(index).expect("counted when the zones were inserted");
        self.insert(zone, name, Records::Address(address));
        // Several ports with one name make one RRset.
        let mut named = BTreeMap::<&str, Vec<[u8; 2]>>::new();
        for port in &service.ports {
            if let Some(name) = &port.name {
                named.entry(name.as_str()).or_default().push(port.listen.to_be_bytes());
            }
        }
        if named.is_empty() {
            return;
        }
        let transport = name_below(&["_tcp"], name);
        let target_octets = u8::try_from(name.len()).expect("the model bounds names");
        for (port, ports) in named {
            let server = Server { target_octets, address, ports: &ports };
            let name = name_below(&[&format!("_{port}")], &transport);
            self.insert(zone, &name, Records::Server(server));
        }
        self.insert(zone, &transport, Records::Empty);
    }

    /// `ns` in every zone, and its reverse name where that is ours.
    pub(super) fn insert_name_servers(&mut self) {
        let address = name_server_address(&self.settings.dns);
        for index in Rc::clone(&self.order).iter().copied() {
            let zone = u16::try_from(index).expect("counted when the zones were inserted");
            self.insert(zone, &name_below(&["ns"], &self.zones[index]), Records::Address(address));
        }
        if let Some(primary) = self.zones.first()
            && self.settings.vip.pool.contains(address)
        {
            self.insert_pointer(address, &name_below(&["ns"], primary));
        }
    }

    /// Domains that are asked elsewhere. One that is a zone's apex is the zone.
    pub(super) fn insert_forwards(&mut self, forwards: &Forwards) {
        self.answers.forwards = forwards.clone();
        for (index, domain) in forwards.domains.iter().enumerate() {
            let index = u16::try_from(index).expect("the configuration is read from a file");
            let name = wire_name(domain.as_str());
            self.note_cut(&name);
            self.note_deep(&name);
            self.insert(0, &name, Records::Forward(index));
        }
    }

    /// Another part of the name space begins here.
    fn note_cut(&mut self, name: &[u8]) {
        let labels = label_count(name);
        if !self.answers.apex_labels.contains(&labels) {
            self.answers.apex_labels.push(labels);
        }
    }

    /// Names above this one may exist because it does.
    pub(super) fn note_deep(&mut self, name: &[u8]) {
        self.deep.push(name.into());
    }

    /// Names between a zone's apex and a name below it exist (RFC 8020 §2).
    pub(super) fn insert_between(&mut self) {
        for name in std::mem::take(&mut self.deep) {
            let above = suffixes(&name).skip(1);
            let is_ordinary = |name: &&[u8]| self.cut_at(name).is_none();
            let between: Vec<&[u8]> = above.clone().take_while(is_ordinary).collect();
            let Some(Cut::Zone(zone)) = above.clone().find_map(|name| self.cut_at(name)) else { continue };
            for name in between {
                self.insert(zone, name, Records::Empty);
            }
        }
    }

    pub(super) fn cut_at(&self, name: &[u8]) -> Option<Cut> {
        let node = self.answers.names.get(name)?;
        match node.records {
            Records::Apex { .. } => Some(Cut::Zone(node.zone)),
            Records::Forward(_) => Some(Cut::Domain),
            _ => None,
        }
    }

    /// PTR of an address of the pool, and the names between it and its zone's apex.
    fn insert_pointer(&mut self, address: Ipv4Addr, target: &[u8]) {
        let octets = address.octets();
        let kept = usize::from(self.reverse_octets);
        let Some(zone) = self.reverse_zone(address) else { return };
        self.insert_pointer_at(zone, &reverse_name(&octets), target);
        for octets_between in kept + 1..octets.len() {
            self.insert(zone, &reverse_name(&octets[..octets_between]), Records::Empty);
        }
    }

    /// PTR; a zone may be no larger than one address.
    pub(super) fn insert_pointer_at(&mut self, zone: u16, name: &[u8], target: &[u8]) {
        match self.answers.names.get(name) {
            Some(Node { zone, records: Records::Apex { pointer: None } }) => {
                let records = Records::Apex { pointer: Some(target) };
                self.answers.names.put(name, Node { zone, records });
            }
            Some(_) => {}
            None => self.insert(zone, name, Records::Pointer(target)),
        }
    }

    /// The reverse zone of an address of the pool: they follow the zones, in the order of addresses.
    fn reverse_zone(&self, address: Ipv4Addr) -> Option<u16> {
        let pool = self.settings.vip.pool;
        if !pool.contains(address) {
            return None;
        }
        let offset = u32::from(address) - u32::from(pool.0.network());
        let host_bits = 32 - 8 * u32::from(self.reverse_octets);
        let index = offset.checked_shr(host_bits).unwrap_or(0);
        u16::try_from(self.zones.len()).ok()?.checked_add(u16::try_from(index).ok()?)
    }

    /// The first one to claim a name keeps it: apexes, records of the operator's own, names of deeper zones.
    pub(super) fn insert(&mut self, zone: u16, name: &[u8], records: Records<'_>) {
        self.answers.names.insert(name, Node { zone, records });
    }

    pub(super) fn finish(mut self) -> Answers {
        self.answers.names.seal();
        self.answers
    }
}

/// Where the name server of a zone has its name: the labels are the same in all.
#[derive(Clone, Copy)]
pub(super) enum ServerIn<'a> {
    /// In the zone.
    Itself,
    /// In this one, in wire format.
    Zone(&'a [u8]),
}

/// Where another part of the name space begins.
pub(super) enum Cut {
    /// A zone.
    Zone(u16),
    /// A domain that is asked elsewhere.
    Domain,
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// The networks of whole octets that make up the pool.
fn reverse_networks(pool: Ipv4Net, octets: u8) -> impl Iterator<Item = Ipv4Net> {
    pool.subnets(octets * 8).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_zones_cover_exactly_the_pool() {
        let networks = |pool: &str| {
            let pool: Ipv4Net = pool.parse().unwrap();
            reverse_networks(pool, pool.prefix_len().div_ceil(8)).collect::<Vec<_>>()
        };
        assert_eq!(networks("127.80.0.0/16"), ["127.80.0.0/16".parse().unwrap()]);
        let of_15_bits = ["198.18.0.0/16", "198.19.0.0/16"].map(|net| net.parse().unwrap());
        assert_eq!(networks("198.18.0.0/15"), of_15_bits);
        assert_eq!(networks("10.0.0.0/9").len(), 128);
        assert_eq!(networks("192.0.2.128/25").len(), 128);
        assert_eq!(networks("192.0.2.128/25")[127], "192.0.2.255/32".parse().unwrap());
    }
}
