//! Reads what a query is made of, as far as ordinary ones go (RFC 1035 §4.1, RFC 6891 §6.1.2).
//!
//! Works on borrowed bytes and believes no count in a header: nothing is reserved for what is claimed.

use crate::state::records::{CLASS_IN, QUESTION_AT};

/// Octets of a header.
pub const HEADER_OCTETS: usize = QUESTION_AT as usize;
/// Octets of a name in wire format at most (RFC 1035 §2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// Octets of a label at most; larger length octets are pointers or reserved.
const LABEL_OCTETS_MAX: u8 = 63;
/// Octets of a record whose owner is the root and which has no data.
const RECORD_OCTETS_MIN: usize = 11;
pub(super) const TYPE_OPT: u16 = 41;

/// The header (RFC 1035 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Copied into the reply.
    pub id: u16,
    /// QR, opcode and the other bits.
    pub flags: u16,
    /// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT: claims of the sender.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads the first 12 octets, if there are so many.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (words, _) = packet.first_chunk::<HEADER_OCTETS>()?.as_chunks();
        let [id, flags, counts @ ..] = <[[u8; 2]; 6]>::try_from(words).ok()?.map(u16::from_be_bytes);
        Some(Self { id, flags, counts })
    }

    /// QR: this is itself an answer.
    pub fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// RD.
    pub fn recursion(&self) -> Recursion {
        if self.flags & 0x0100 != 0 { Recursion::Desired } else { Recursion::NotDesired }
    }

    /// Whether the opcode is QUERY.
    pub fn is_query(&self) -> bool {
        self.flags & 0x7800 == 0
    }
}

/// Whether names may be asked elsewhere to answer a query (RFC 1035 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    /// The client wants an answer, wherever it comes from.
    Desired,
    /// It wants what is known here. Such a query is never passed on.
    NotDesired,
}

/// The one question of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// As sent: name, type, class.
    pub bytes: &'a [u8],
    /// QTYPE.
    pub kind: u16,
    /// QCLASS.
    pub class: u16,
}

impl<'a> Question<'a> {
    /// Reads the question after the header. A compressed name is refused: nothing stands before it
    /// that it could point to (RFC 1035 §4.1.4 allows prior occurrences only).
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        let rest = packet.get(HEADER_OCTETS..)?;
        let mut at = 0;
        loop {
            let octets = *rest.get(at)?;
            if octets > LABEL_OCTETS_MAX {
                return None;
            }
            at += 1 + usize::from(octets);
            if at > NAME_OCTETS_MAX {
                return None;
            }
            if octets == 0 {
                break;
            }
        }
        let bytes = rest.get(..at + 4)?;
        Some(Self { bytes, kind: read_u16(rest, at)?, class: read_u16(rest, at + 2)? })
    }

    /// The name as sent.
    pub fn name(&self) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - 4]
    }

    /// Whether the class is IN.
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_IN
    }
}

/// What the client said about EDNS (RFC 6891 §6.1.2). Options and other flags are ignored
/// (§6.1.2, §6.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// UDP payload that it can take.
    pub payload_octets: u16,
    /// DO, copied into the reply (RFC 3225 §3).
    pub dnssec_ok: bool,
}

/// What follows the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing, or one OPT of version 0 (octets after it are ignored, see [`rest_of`]).
    Plain(Option<Opt>),
    /// Something that takes a full parser to judge.
    Odd,
    /// Less than the header claims, or an OPT that is broken.
    Broken,
}

impl Rest {
    /// The OPT, if that is all there is.
    pub fn opt(self) -> Option<Opt> {
        match self {
            Self::Plain(opt) => opt,
            Self::Odd | Self::Broken => None,
        }
    }
}

/// Judges what follows the question, which ends at `at`. Octets after the last record that the
/// header counts are ignored, as the field does: no RFC forbids them, nothing is read from them and
/// the reply does not repeat them.
pub fn rest_of(packet: &[u8], at: usize, header: &Header) -> Rest {
    let [_, answers, authorities, additionals] = header.counts.map(usize::from);
    let rest = packet.get(at..).unwrap_or_default();
    if (answers + authorities + additionals) * RECORD_OCTETS_MIN > rest.len() {
        return Rest::Broken;
    }
    match (answers, authorities, additionals) {
        (0, 0, 0) => Rest::Plain(None),
        (0, 0, 1) if rest[0] == 0 && read_u16(rest, 1) == Some(TYPE_OPT) => read_opt(rest),
        _ => Rest::Odd,
    }
}

/// An OPT: root, type, payload, extended rcode, version, flags, options with their length.
fn read_opt(record: &[u8]) -> Rest {
    let [_, _, _, payload_high, payload_low, _, version, flags, _, octets_high, octets_low, options @ ..] =
        record
    else {
        return Rest::Broken;
    };
    let octets = u16::from_be_bytes([*octets_high, *octets_low]);
    let Some(mut options) = options.get(..usize::from(octets)) else { return Rest::Broken };
    while !options.is_empty() {
        let Some(octets) = read_u16(options, 2) else { return Rest::Broken };
        let Some(next) = options.get(4 + usize::from(octets)..) else { return Rest::Broken };
        options = next;
    }
    if *version != 0 {
        return Rest::Odd;
    }
    let payload_octets = u16::from_be_bytes([*payload_high, *payload_low]);
    Rest::Plain(Some(Opt { payload_octets, dnssec_ok: flags & 0x80 != 0 }))
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}
