//! The name table: what DNS answers for every name of the zones, ready to be copied into a reply.
//!
//! Built by the writer when names, addresses or `[dns]` change and shared by the snapshots between;
//! read by `dns` for each query, without allocation. It decides nothing: which records a question
//! gets is decided in `dns`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::answers_build::Builder;
use super::answers_table::{Node, Table};
use super::build::Addresses;
use super::records::Template;
use crate::model::{Catalog, DnsSettings, Domain, ForwardSettings, ServiceName};

/// Everything that DNS says about the zones.
#[derive(Debug)]
pub struct Answers {
    pub(super) names: Table,
    pub(super) zones: Vec<ZoneRecords>,
    /// How many labels apexes and domains have, each number once: the only suffixes worth looking for.
    pub(super) apex_labels: Vec<usize>,
    /// TTL of positive answers, in seconds.
    pub(super) ttl: u32,
    pub(super) forwards: Forwards,
}

/// Which names are asked elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Forwards {
    /// Names at and below these are, even inside a zone: the longest match decides. In the order of which
    /// [`Lookup::Forward`] gives the index.
    pub domains: Vec<Domain>,
    /// So is every other name that is in none of the zones.
    pub rest: bool,
}

impl Forwards {
    fn of(settings: &ForwardSettings) -> Self {
        Self { domains: settings.domains.keys().cloned().collect(), rest: !settings.upstreams.is_empty() }
    }
}

/// The records of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records<'a> {
    /// None: names exist below this one (an empty non-terminal, RFC 8020 §2).
    Empty,
    /// Names from here on are asked elsewhere, of the domain with this index.
    Forward(u16),
    /// A zone begins here: SOA and NS, found in [`ZoneRecords`].
    Apex {
        /// Target of a PTR, in wire format: a reverse zone may be no larger than one address.
        pointer: Option<&'a [u8]>,
    },
    /// A.
    Address(Ipv4Addr),
    /// Records of the operator's own: A, AAAA, TXT.
    Own(&'a OwnRecords),
    /// CNAME, with its target in wire format and lower case.
    Alias(&'a [u8]),
    /// SRV (RFC 2782).
    Server(Server<'a>),
    /// PTR, with its target in wire format.
    Pointer(&'a [u8]),
}

/// Records that the operator wrote; at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnRecords {
    /// A.
    pub v4: Vec<Ipv4Addr>,
    /// AAAA.
    pub v6: Vec<Ipv6Addr>,
    /// TXT, with its data.
    pub texts: Vec<Box<[u8]>>,
}

/// What a zone is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneKind {
    /// It is teal's: services, their addresses, records of the operator's own.
    Own,
    /// Nothing is in it, and nobody is asked about it: names are missing (RFC 6303 §3).
    Empty,
    /// Every name in it is this host.
    Loopback,
    /// Every name in it exists and has no records.
    Silent,
}

/// The SRV records of one name: their target is the end of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server<'a> {
    /// Octets at the end of the name, in wire format, that are the target.
    pub target_octets: u8,
    /// Address of the target.
    pub address: Ipv4Addr,
    /// One record for each, in wire format.
    pub ports: &'a [[u8; 2]],
}

/// What belongs to a zone as a whole.
#[derive(Debug)]
pub struct ZoneRecords {
    /// What it is about.
    pub kind: ZoneKind,
    /// Octets of the apex in wire format: every name of the zone ends with so many.
    pub apex_octets: u8,
    /// SOA for negative answers: its TTL is `negative_ttl` (RFC 2308 §3).
    pub soa_negative: Template,
    /// SOA for who asks for it.
    pub soa: Template,
    /// NS of the apex.
    pub ns: Template,
    /// A of the name server, where its name lies in this zone.
    pub glue: Option<Template>,
}

/// What is known about a name.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// It exists.
    Name(&'a ZoneRecords, Records<'a>),
    /// It does not, and would be in this zone.
    Missing(&'a ZoneRecords),
    /// Somebody else knows: the domain with this index, else the upstreams.
    Forward(Option<u16>),
    /// It is in none of the zones, and nobody else is asked.
    Outside,
}

impl Answers {
    /// The answers of a configuration, with the addresses given to its services.
    ///
    /// Every service has its names in every zone; PTR points to the primary one. The name server is
    /// `ns.ZONE`, at [`name_server_address`]. `serial` goes into the SOA records: the caller counts
    /// it up with each change.
    pub fn build(catalog: &Catalog, addresses: &BTreeMap<ServiceName, Addresses>, serial: u32) -> Arc<Self> {
        let forwards = Forwards::of(&catalog.settings.dns.forward);
        let mut builder = Builder::new(&catalog.settings, serial);
        builder.insert_zones();
        builder.insert_forwards(&forwards);
        builder.insert_special(&forwards);
        builder.insert_records();
        for (name, service) in &catalog.services {
            if let Some(addresses) = addresses.get(name) {
                builder.insert_service(service, addresses);
            }
        }
        builder.insert_name_servers();
        builder.insert_between();
        Arc::new(builder.finish())
    }

    /// Looks for `name`: wire format without compression, in upper or lower case.
    pub fn lookup(&self, name: &[u8]) -> Lookup<'_> {
        let labels = label_count(name);
        match self.names.get_of(labels, name) {
            Some(Node { records: Records::Forward(domain), .. }) => Lookup::Forward(Some(domain)),
            Some(Node { records, zone }) => Lookup::Name(self.zone(zone), records),
            None => self.look_above(labels, name),
        }
    }

    /// Looks for where the part of the name space begins that a missing name would be in.
    fn look_above(&self, labels: usize, name: &[u8]) -> Lookup<'_> {
        for (labels, suffix) in (1..=labels).rev().zip(suffixes(name)) {
            if !self.apex_labels.contains(&labels) {
                continue;
            }
            match self.names.get_of(labels, suffix) {
                Some(Node { records: Records::Forward(domain), .. }) => return Lookup::Forward(Some(domain)),
                Some(Node { records: Records::Apex { .. }, zone }) => {
                    return Lookup::Missing(self.zone(zone));
                }
                _ => {}
            }
        }
        if self.forwards.rest { Lookup::Forward(None) } else { Lookup::Outside }
    }

    /// TTL of positive answers, in seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The domain with an index of [`Lookup::Forward`].
    pub fn forwarded(&self, index: u16) -> Option<&Domain> {
        self.forwards.domains.get(usize::from(index))
    }

    fn zone(&self, index: u16) -> &ZoneRecords {
        &self.zones[usize::from(index)]
    }
}

/// The name itself, then without its first label, and so on; the root is left out.
pub(super) fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = name;
    std::iter::from_fn(move || {
        let suffix = rest;
        let octets = usize::from(*suffix.first()?);
        rest = suffix.get(1 + octets..).unwrap_or_default();
        (octets > 0).then_some(suffix)
    })
}

/// How many labels a name has, without the root.
pub(super) fn label_count(name: &[u8]) -> usize {
    let (mut labels, mut at) = (0, 0);
    while let Some(&octets @ 1..) = name.get(at) {
        labels += 1;
        at += 1 + usize::from(octets);
    }
    labels
}

/// Where `ns.ZONE` points: the first IPv4 address of `[dns] listen` that is no wildcard, else
/// 127.0.0.1. Nobody needs it to resolve (clients are configured with an address); it has to exist,
/// because an NS record must lead somewhere (RFC 1912 §2.8).
pub fn name_server_address(dns: &DnsSettings) -> Ipv4Addr {
    let listen = dns.listen.iter().find_map(|address| match address.ip() {
        IpAddr::V4(v4) if !v4.is_unspecified() => Some(v4),
        _ => None,
    });
    listen.unwrap_or(Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_end_before_the_root() {
        let name = b"\x01a\x02bc\x05local\0";
        let found: Vec<&[u8]> = suffixes(name).collect();
        assert_eq!(found, [&name[..], &name[2..], &name[5..]]);
        assert_eq!(suffixes(b"\0").count(), 0);
    }
}
