//! Which records of the name table a question gets, by way of aliases if need be.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::reply::{Rcode, Reply, Section};
use crate::model::RecordName;
use crate::state::answers::{Answers, Lookup, OwnRecords, Records, Server, ZoneKind, ZoneRecords};
use crate::state::records::{
    QUESTION_AT, TYPE_A, TYPE_AAAA, TYPE_CNAME, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV, TYPE_TXT, fixed_part,
    pointer_to,
};

pub(super) const TYPE_ANY: u16 = 255;
/// Octets of a record before its data, where its owner is a pointer.
const POINTED_OCTETS: usize = 12;

/// Where a chain of aliases ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In the zones, with this code.
    Here(Rcode),
    /// At a name that has to be asked elsewhere, see [`Lookup::Forward`]. The aliases are written.
    Elsewhere(Option<u16>),
}

/// A question on its way through the name table.
pub(super) struct Chase<'c, 'r> {
    /// QTYPE.
    pub(super) kind: u16,
    /// The name table.
    pub(super) answers: &'c Answers,
    /// Where records are written.
    pub(super) reply: &'c mut Reply<'r>,
}

impl<'c> Chase<'c, '_> {
    /// Writes what there is of `name`, the question's, which is in `zone`, and exists if it
    /// has `records`. The rcode is about the last name of a chain of aliases (RFC 6604 §3). An alias of a
    /// name that nobody is asked about is given alone: who asked looks further.
    pub(super) fn run(
        &mut self,
        name: &'c [u8],
        zone: &'c ZoneRecords,
        mut records: Option<Records<'c>>,
    ) -> End {
        let ttl = self.answers.ttl();
        let mut owner = Owner { at: QUESTION_AT, octets: name.len(), zone, ttl };
        for _ in 0..RecordName::ALIASES_MAX {
            let Some(Records::Alias(target)) = records else { break };
            if matches!(self.kind, TYPE_CNAME | TYPE_ANY) {
                break;
            }
            let target_at = self.reply.position() + POINTED_OCTETS;
            self.reply.push(Section::Answer, |out| owner.write(TYPE_CNAME, target, out));
            let zone = match self.answers.lookup(target) {
                Lookup::Name(zone, found) => {
                    records = Some(found);
                    zone
                }
                Lookup::Missing(zone) => {
                    records = None;
                    zone
                }
                Lookup::Forward(domain) if !self.reply.is_full() => return End::Elsewhere(domain),
                // With TC, the client comes again over TCP.
                Lookup::Forward(_) | Lookup::Outside => return End::Here(Rcode::NoError),
            };
            // What is too far for a pointer is beyond the end of a reply over UDP, and never comes over TCP.
            let at = u16::try_from(target_at).expect("a few names");
            owner = Owner { at, octets: target.len(), zone, ttl };
        }
        End::Here(self.end(&owner, records))
    }

    /// Answers about the last name.
    fn end(&mut self, owner: &Owner<'_>, records: Option<Records<'_>>) -> Rcode {
        let (rcode, has_records) = match (records, owner.zone.kind) {
            (Some(records), _) => (Rcode::NoError, owner.push_records(self.kind, records, self.reply)),
            (None, ZoneKind::Loopback) => (Rcode::NoError, owner.push_loopback(self.kind, self.reply)),
            (None, ZoneKind::Silent) => (Rcode::NoError, false),
            (None, ZoneKind::Own | ZoneKind::Empty) => (Rcode::NxDomain, false),
        };
        if !has_records {
            owner.push_no_such(self.reply);
        }
        rcode
    }
}

/// A name of a zone, as it stands in the message.
struct Owner<'a> {
    /// Where it begins.
    at: u16,
    octets: usize,
    zone: &'a ZoneRecords,
    ttl: u32,
}

impl Owner<'_> {
    /// Where the last `octets` of the name are found in the message.
    fn suffix_at(&self, octets: u8) -> u16 {
        let skipped = self.octets.saturating_sub(usize::from(octets));
        self.at + u16::try_from(skipped).expect("a name has at most 255 octets")
    }

    fn apex_at(&self) -> u16 {
        self.suffix_at(self.zone.apex_octets)
    }

    /// SOA, which lets the client remember that there is nothing (RFC 2308 §3).
    fn push_no_such(&self, reply: &mut Reply<'_>) {
        reply.push(Section::Authority, |out| self.zone.soa_negative.append(self.apex_at(), out));
    }

    /// Whether there were records of that type. Who asks for ANY gets records of one type
    /// (RFC 8482 §4.1).
    fn push_records(&self, kind: u16, records: Records<'_>, reply: &mut Reply<'_>) -> bool {
        match (records, kind) {
            (Records::Address(address), TYPE_A | TYPE_ANY) => self.push_v4(address, reply),
            (Records::Own(own), _) => return self.push_own(kind, own, reply),
            (Records::Alias(target), TYPE_CNAME | TYPE_ANY) => {
                reply.push(Section::Answer, |out| self.write(TYPE_CNAME, target, out));
            }
            (Records::Server(server), TYPE_SRV | TYPE_ANY) => self.push_servers(server, reply),
            (Records::Pointer(target) | Records::Apex { pointer: Some(target) }, TYPE_PTR)
            | (Records::Pointer(target), TYPE_ANY) => {
                reply.push(Section::Answer, |out| self.write(TYPE_PTR, target, out));
            }
            (Records::Apex { .. }, TYPE_SOA | TYPE_ANY) => {
                reply.push(Section::Answer, |out| self.zone.soa.append(self.apex_at(), out));
            }
            (Records::Apex { .. }, TYPE_NS) => {
                reply.push(Section::Answer, |out| self.zone.ns.append(self.apex_at(), out));
                if let Some(glue) = &self.zone.glue {
                    reply.push(Section::Additional, |out| glue.append(self.apex_at(), out));
                }
            }
            (Records::Apex { .. }, _) if self.zone.kind == ZoneKind::Loopback => {
                return self.push_loopback(kind, reply);
            }
            _ => return false,
        }
        true
    }

    fn push_v4(&self, address: Ipv4Addr, reply: &mut Reply<'_>) {
        reply.push(Section::Answer, |out| self.write(TYPE_A, &address.octets(), out));
    }

    fn push_v6(&self, address: Ipv6Addr, reply: &mut Reply<'_>) {
        reply.push(Section::Answer, |out| self.write(TYPE_AAAA, &address.octets(), out));
    }

    /// This host (RFC 6761 §6.3).
    fn push_loopback(&self, kind: u16, reply: &mut Reply<'_>) -> bool {
        match kind {
            TYPE_A | TYPE_ANY => self.push_v4(Ipv4Addr::LOCALHOST, reply),
            TYPE_AAAA => self.push_v6(Ipv6Addr::LOCALHOST, reply),
            _ => return false,
        }
        true
    }

    fn push_own(&self, kind: u16, own: &OwnRecords, reply: &mut Reply<'_>) -> bool {
        let kind = match kind {
            TYPE_ANY if !own.v4.is_empty() => TYPE_A,
            TYPE_ANY if !own.v6.is_empty() => TYPE_AAAA,
            TYPE_ANY => TYPE_TXT,
            kind => kind,
        };
        match kind {
            TYPE_A => own.v4.iter().for_each(|address| self.push_v4(*address, reply)),
            TYPE_AAAA => own.v6.iter().for_each(|address| self.push_v6(*address, reply)),
            TYPE_TXT => {
                for text in &own.texts {
                    reply.push(Section::Answer, |out| self.write(TYPE_TXT, text, out));
                }
            }
            _ => return false,
        }
        match kind {
            TYPE_A => !own.v4.is_empty(),
            TYPE_AAAA => !own.v6.is_empty(),
            _ => !own.texts.is_empty(),
        }
    }

    /// SRV for each port, with the address that they all lead to. Their target is written out: RFC
    /// 2782 forbids to compress it.
    fn push_servers(&self, server: Server<'_>, reply: &mut Reply<'_>) {
        let target_at = usize::from(self.suffix_at(server.target_octets));
        let target = target_at..target_at + usize::from(server.target_octets);
        for port in server.ports {
            // Priority and weight mean nothing with one target.
            let numbers = [0, 0, 0, 0, port[0], port[1]];
            reply.push(Section::Answer, |out| {
                let target = target.clone();
                let octets = numbers.len() + target.len();
                write_head(self.at, TYPE_SRV, self.ttl, octets, out);
                out.extend_from_slice(&numbers);
                let name_at = out.len();
                out.extend_from_within(target);
                out[name_at..].make_ascii_lowercase();
            });
        }
        let target_at = self.suffix_at(server.target_octets);
        reply.push(Section::Additional, |out| {
            let target = Owner { at: target_at, ..*self };
            target.write(TYPE_A, &server.address.octets(), out);
        });
    }

    /// A record of this name.
    fn write(&self, kind: u16, data: &[u8], out: &mut Vec<u8>) {
        write_head(self.at, kind, self.ttl, data.len(), out);
        out.extend_from_slice(data);
    }
}

/// A record up to its data, of which it has so many octets.
fn write_head(owner_at: u16, kind: u16, ttl: u32, octets: usize, out: &mut Vec<u8>) {
    let octets = u16::try_from(octets).expect("a name and three numbers, or a bounded text");
    let mut head = [0; POINTED_OCTETS];
    head[..2].copy_from_slice(&pointer_to(owner_at));
    head[2..10].copy_from_slice(&fixed_part(kind, ttl));
    head[10..].copy_from_slice(&octets.to_be_bytes());
    out.extend_from_slice(&head);
}
