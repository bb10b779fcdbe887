//! Names and the records of each, laid out so that a lookup touches little memory.
//!
//! Names with the same number of labels are a tier: the services' own names, which are most of what is asked,
//! lie close together, however many previews, SRV and reverse names there are. A tier is an index with linear
//! probing and one run of bytes, where a name stands with its records, in one cache line if they fit. So a
//! lookup reads one line of each. Who asks puts nothing in: a missing name costs at most the longest cluster
//! of the names that exist, so the hash needs no secret.

use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;

use foldhash::fast::FixedState;

use super::answers::{OwnRecords, Records, Server, label_count};

/// Octets that memory is read by.
const LINE_OCTETS: usize = 64;
/// Slots of an index are so many at least, and always a power of two.
const SLOTS_MIN: usize = 8;

/// Ports of a name that are kept: more than fit in any message.
const PORTS_MAX: usize = 10_000;

/// Every name that exists.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By number of labels.
    tiers: Vec<Tier>,
    /// Records of the operator's own, which are few and need no place beside their name.
    own: Vec<OwnRecords>,
}

/// What is known of a name that exists: its zone and its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) zone: u16,
    pub(super) records: Records<'a>,
}

impl Table {
    /// Looks for `name`: wire format without compression, in upper or lower case.
    pub(super) fn get(&self, name: &[u8]) -> Option<Node<'_>> {
        self.get_of(label_count(name), name)
    }

    /// Looks for a name of which the number of labels is known.
    pub(super) fn get_of(&self, labels: usize, name: &[u8]) -> Option<Node<'_>> {
        let tier = self.tiers.get(labels)?;
        let entry = tier.find(hash_of(name), name)?;
        Some(Node { zone: entry.zone, records: self.decode(entry)? })
    }

    /// Adds a name. If it is there already, it stays as it is.
    pub(super) fn insert(&mut self, name: &[u8], node: Node<'_>) {
        if self.get(name).is_none() {
            self.put(name, node);
        }
    }

    /// Adds a name, or gives it another zone and other records. One that is too long to be asked for is left out.
    pub(super) fn put(&mut self, name: &[u8], node: Node<'_>) {
        if u8::try_from(name.len()).is_err() {
            return;
        }
        let mut data = Vec::new();
        let kind = self.encode(node.records, &mut data);
        let labels = label_count(name);
        if self.tiers.len() <= labels {
            self.tiers.resize_with(labels + 1, Tier::default);
        }
        self.tiers[labels].put(name, Entry { kind, zone: node.zone, data: &data });
    }

    /// Moves all to its last place, where entries keep to the lines of memory. Nothing is added after.
    pub(super) fn seal(&mut self) {
        self.tiers.iter_mut().for_each(Tier::seal);
    }

    fn encode(&mut self, records: Records<'_>, data: &mut Vec<u8>) -> Kind {
        match records {
            Records::Empty => Kind::Empty,
            Records::Forward(domain) => {
                data.extend_from_slice(&domain.to_be_bytes());
                Kind::Forward
            }
            Records::Apex { pointer: None } => Kind::Apex,
            Records::Apex { pointer: Some(target) } => {
                data.extend_from_slice(target);
                Kind::ApexWithPointer
            }
            Records::Address(address) => {
                data.extend_from_slice(&address.octets());
                Kind::Address
            }
            Records::Own(own) => {
                let index = u32::try_from(self.own.len()).expect("the configuration is read from a file");
                self.own.push(own.clone());
                data.extend_from_slice(&index.to_be_bytes());
                Kind::Own
            }
            Records::Alias(target) => {
                data.extend_from_slice(target);
                Kind::Alias
            }
            Records::Server(server) => {
                data.push(server.target_octets);
                data.extend_from_slice(&server.address.octets());
                let ports = server.ports.get(..PORTS_MAX).unwrap_or(server.ports);
                data.extend_from_slice(ports.as_flattened());
                Kind::Server
            }
            Records::Pointer(target) => {
                data.extend_from_slice(target);
                Kind::Pointer
            }
        }
    }

    fn decode<'a>(&'a self, entry: Entry<'a>) -> Option<Records<'a>> {
        let data = entry.data;
        Some(match entry.kind {
            Kind::Address => Records::Address(Ipv4Addr::from(*data.first_chunk()?)),
            Kind::Empty => Records::Empty,
            Kind::Forward => Records::Forward(u16::from_be_bytes(*data.first_chunk()?)),
            Kind::Apex => Records::Apex { pointer: None },
            Kind::ApexWithPointer => Records::Apex { pointer: Some(data) },
            Kind::Own => Records::Own(self.own.get(u32::from_be_bytes(*data.first_chunk()?) as usize)?),
            Kind::Alias => Records::Alias(data),
            Kind::Server => {
                let (target_octets, rest) = data.split_first()?;
                let (address, ports) = rest.split_first_chunk::<4>()?;
                let (ports, _) = ports.as_chunks();
                Records::Server(Server { target_octets: *target_octets, address: (*address).into(), ports })
            }
            Kind::Pointer => Records::Pointer(data),
        })
    }
}

/// Which records an entry has.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Empty,
    Forward,
    Apex,
    ApexWithPointer,
    Address,
    Own,
    Alias,
    Server,
    Pointer,
}

impl Kind {
    /// All of them, in the order of their discriminants.
    const ALL: [Self; 9] = [
        Self::Empty,
        Self::Forward,
        Self::Apex,
        Self::ApexWithPointer,
        Self::Address,
        Self::Own,
        Self::Alias,
        Self::Server,
        Self::Pointer,
    ];
}

/// What stands beside a name.
#[derive(Clone, Copy)]
struct Entry<'a> {
    kind: Kind,
    zone: u16,
    data: &'a [u8],
}

/// The names with one number of labels.
#[derive(Debug, Default)]
struct Tier {
    /// The index: none, or a power of two of which at most a third are taken. Then most names are at their first
    /// place: a processor that foretells so is seldom wrong, which would cost it more than all of the lookup.
    slots: Vec<Slot>,
    taken: usize,
    /// Each entry: octets of the name, kind, zone, octets of the data, the name, the data.
    bytes: Vec<u8>,
    /// Where in `bytes` the first entry is.
    begin: usize,
}

/// A place of an index.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    /// Where the entry begins, after [`Tier::begin`]; [`Slot::FREE`] if there is none.
    at: u32,
}

impl Slot {
    const FREE: u32 = u32::MAX;

    fn is_free(self) -> bool {
        self.at == Self::FREE
    }
}

/// Octets of an entry before its name.
const HEAD_OCTETS: usize = 6;

impl Tier {
    fn find(&self, hash: u32, name: &[u8]) -> Option<Entry<'_>> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = hash as usize;
        // There is a free slot.
        loop {
            let slot = *self.slots.get(place & mask)?;
            if slot.hash == hash
                && let Some(entry) = self.entry(slot, name)
            {
                return Some(entry);
            }
            if slot.is_free() {
                return None;
            }
            place += 1;
        }
    }

    /// The entry of a slot, if it is that of `name`.
    fn entry(&self, slot: Slot, name: &[u8]) -> Option<Entry<'_>> {
        let entry = self.bytes.get(self.begin + slot.at as usize..)?;
        let ([name_octets, kind, zone @ .., data_high, data_low], rest) =
            entry.split_first_chunk::<HEAD_OCTETS>()?;
        let (own, data) = rest.split_at_checked(usize::from(*name_octets))?;
        // Octets of labels are below the letters, so that all can be treated alike (RFC 4343 §3).
        if !own.eq_ignore_ascii_case(name) {
            return None;
        }
        let octets = u16::from_be_bytes([*data_high, *data_low]);
        Some(Entry {
            kind: *Kind::ALL.get(usize::from(*kind))?,
            zone: u16::from_be_bytes(*zone),
            data: data.get(..usize::from(octets))?,
        })
    }

    fn put(&mut self, name: &[u8], entry: Entry<'_>) {
        if (self.taken + 1) * 3 > self.slots.len() {
            self.grow();
        }
        let hash = hash_of(name);
        let at = self.append(name, entry);
        let place = self.place(hash, |table, slot| table.entry(slot, name).is_some());
        self.taken += usize::from(self.slots[place].is_free());
        self.slots[place] = Slot { hash, at };
    }

    /// Where a slot with this hash belongs: that of the same name, else the first free one.
    fn place(&self, hash: u32, is_same: impl Fn(&Self, Slot) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        while !self.slots[place].is_free() {
            if self.slots[place].hash == hash && is_same(self, self.slots[place]) {
                break;
            }
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let before = std::mem::replace(&mut self.slots, vec![Slot { hash: 0, at: Slot::FREE }; slots]);
        for slot in before.into_iter().filter(|slot| !slot.is_free()) {
            let place = self.place(slot.hash, |_, _| false);
            self.slots[place] = slot;
        }
    }

    /// Writes an entry after the others; in the next line, if the rest of this one is too short for it.
    fn append(&mut self, name: &[u8], entry: Entry<'_>) -> u32 {
        const BOUNDED: &str = "names and data are bounded, and the configuration is read from a file";
        let octets = HEAD_OCTETS + name.len() + entry.data.len();
        let left = LINE_OCTETS - self.bytes.len() % LINE_OCTETS;
        if left < octets && octets <= LINE_OCTETS {
            self.bytes.resize(self.bytes.len() + left, 0);
        }
        let at = u32::try_from(self.bytes.len()).expect(BOUNDED);
        self.bytes.extend_from_slice(&[u8::try_from(name.len()).expect(BOUNDED), entry.kind as u8]);
        self.bytes.extend_from_slice(&entry.zone.to_be_bytes());
        self.bytes.extend_from_slice(&u16::try_from(entry.data.len()).expect(BOUNDED).to_be_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(entry.data);
        at
    }

    /// Copies the entries to where a line begins.
    fn seal(&mut self) {
        let mut bytes = Vec::<u8>::with_capacity(self.bytes.len() + LINE_OCTETS);
        // If that cannot be told, lookups are slower and no less right.
        self.begin = bytes.as_ptr().align_offset(LINE_OCTETS).min(LINE_OCTETS);
        bytes.resize(self.begin, 0);
        bytes.extend_from_slice(&self.bytes);
        self.bytes = bytes;
    }
}

/// A hash of the letters whatever their case.
fn hash_of(name: &[u8]) -> u32 {
    // The bit by which upper and lower case differ. That other octets are taken for each other too does no harm.
    const CASE: u64 = 0x2020_2020_2020_2020;
    let mut hasher = FixedState::default().build_hasher();
    let (words, _) = name.as_chunks();
    for word in words {
        hasher.write_u64(u64::from_ne_bytes(*word) | CASE);
    }
    let last = match name.last_chunk() {
        Some(word) => u64::from_ne_bytes(*word),
        None => name.iter().fold(0, |word, octet| word << 8 | u64::from(*octet)),
    };
    hasher.write_u64(last | CASE);
    let [_, _, _, _, low @ ..] = hasher.finish().to_be_bytes();
    u32::from_be_bytes(low)
}

#[cfg(test)]
#[path = "answers_table_tests.rs"]
mod tests;
