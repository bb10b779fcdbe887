//! An upstream's answer: checked, freed of what belongs to one exchange, and written for each client.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::super::reply::{
    AA, COPIED, ExtendedError, OPT_OCTETS, OPTION_EXTENDED_ERROR, QR, RA, Rcode, TC, append_opt,
};
use super::super::wire::{HEADER_OCTETS, Header, NAME_OCTETS_MAX, Question, TYPE_OPT, read_u16};
use super::policy::Outcome;
use super::question::{Edns, Key, Query};
use crate::state::records::TYPE_SOA;

const AD: u16 = 0x0020;
/// Type, class, TTL and length of a record, after its owner.
const FIXED_OCTETS: usize = 10;
/// Where the TTL stands in those.
const TTL_AT: usize = 4;
/// Octets of extended errors that are passed on: they must fit beside the largest question.
const ERRORS_OCTETS_MAX: usize = 128;
/// The bits of the second word that are the RCODE.
const RCODE: u16 = 0xf;
const NO_ERROR: u16 = 0;
const FORM_ERR: u16 = 1;
const SERV_FAIL: u16 = 2;
const NX_DOMAIN: u16 = 3;
const NOT_IMP: u16 = 4;
const YX_DOMAIN: u16 = 6;
const BAD_VERS: u16 = 16;

/// The answer to a question, for whoever asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All 12 bits of it.
    pub rcode: u16,
    /// AD: the upstream has verified the records.
    pub authentic: bool,
    /// TC: not all records are here, and the upstream did not give the rest. Not worth keeping.
    pub truncated: bool,
    /// Records of the three sections, the OPT left out. Their names may point into the question, which
    /// begins at octet 12 and is as long as the one asked.
    pub records: Box<[u8]>,
    /// How many records each section has.
    pub counts: [u16; 3],
    /// Extended errors as options, as they were sent.
    pub errors: Box<[u8]>,
    /// Who gave it; nobody where it is teal's own word.
    pub origin: Option<Origin>,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who said so.
    pub upstream: SocketAddr,
    /// From the question that was sent there until its answer.
    pub took: Duration,
}

/// A packet as it came, with what the policy must know of it.
#[derive(Debug)]
pub struct Received {
    /// What it means for the question.
    pub outcome: Outcome,
    /// What a client would be told.
    pub answer: Answer,
}

impl Answer {
    /// teal's own word about a question that no upstream has answered.
    pub fn failure(error: ExtendedError) -> Self {
        Self {
            rcode: Rcode::ServFail.code(),
            authentic: false,
            truncated: false,
            records: Box::default(),
            counts: [0; 3],
            errors: error.option().into(),
            origin: None,
        }
    }
}

/// Whether a packet is about this question. Errors of servers that could not read a query may come without one.
pub fn answers(packet: &[u8], key: &Key) -> bool {
    let is_bare_error =
        |header: Header| header.counts[0] == 0 && matches!(header.flags & RCODE, FORM_ERR | NOT_IMP);
    key.is_answered_by(packet) || Header::read(packet).is_some_and(is_bare_error)
}

/// Reads a packet for which [`answers`] holds; `edns` says how the question was asked. What does not end where
/// it says is no answer.
pub fn read(packet: &[u8], edns: Edns) -> Received {
    read_whole(packet, edns).unwrap_or_else(|| {
        let is_bare = Header::read(packet).is_some_and(|header| header.counts[0] == 0);
        let outcome = if is_bare && edns == Edns::With { Outcome::NoEdns } else { Outcome::Unwilling };
        Received { outcome, answer: Answer::failure(ExtendedError::NoReachableAuthority) }
    })
}

fn read_whole(packet: &[u8], edns: Edns) -> Option<Received> {
    let header = Header::read(packet)?;
    let question = Question::read(packet).filter(|_| header.counts[0] == 1)?;
    let mut walk = Walk { packet, at: HEADER_OCTETS + question.bytes.len() };
    let records_at = walk.at;
    let mut counts = [0; 3];
    let mut opt = None;
    let mut end = walk.at;
    let mut has_soa = false;
    for (section, count) in counts.iter_mut().enumerate() {
        for _ in 0..header.counts[section + 1] {
            let record = walk.record()?;
            if section == 2 && record.kind == TYPE_OPT {
                opt = opt.or(Some(record));
            } else if opt.is_none() {
                // Records after the OPT are left out, as names in them could point beyond it.
                *count += 1;
                end = walk.at;
                has_soa |= section == 1 && record.kind == TYPE_SOA;
            }
        }
    }
    let rcode = (header.flags & RCODE) | opt.as_ref().map_or(0, |opt| u16::from(opt.rcode_high) << 4);
    let answer = Answer {
        rcode,
        authentic: header.flags & AD != 0,
        truncated: header.flags & TC != 0,
        records: packet.get(records_at..end).unwrap_or_default().into(),
        counts,
        errors: opt.as_ref().map_or_else(Box::default, |opt| extended_errors(opt.rdata)),
        origin: None,
    };
    let is_referral = counts[0] == 0 && !has_soa && header.flags & (AA | RA) == 0;
    let outcome = match rcode {
        _ if answer.truncated => Outcome::Truncated,
        FORM_ERR | NOT_IMP | BAD_VERS if edns == Edns::With && (opt.is_none() || rcode == BAD_VERS) => {
            Outcome::NoEdns
        }
        // A server that does not resolve for others points elsewhere.
        NO_ERROR if is_referral => Outcome::Unwilling,
        NO_ERROR | NX_DOMAIN | YX_DOMAIN => Outcome::Answered,
        SERV_FAIL => Outcome::Failed,
        _ => Outcome::Unwilling,
    };
    Some(Received { outcome, answer })
}

/// The options that are extended errors, as many as fit.
fn extended_errors(options: &[u8]) -> Box<[u8]> {
    let mut errors = Vec::new();
    let mut rest = options;
    while let (Some(code), Some(octets)) = (read_u16(rest, 0), read_u16(rest, 2)) {
        let Some((option, next)) = rest.split_at_checked(4 + usize::from(octets)) else { break };
        if code == OPTION_EXTENDED_ERROR && errors.len() + option.len() <= ERRORS_OCTETS_MAX {
            errors.extend_from_slice(option);
        }
        rest = next;
    }
    errors.into()
}

/// What is needed of one record.
struct Record<'a> {
    kind: u16,
    /// Of an OPT: the first octet of the TTL.
    rcode_high: u8,
    rdata: &'a [u8],
}

/// A record of an [`Answer`].
#[derive(Debug)]
pub struct AnswerRecord<'a> {
    /// Counted from 0: answer, authority, additional.
    pub section: usize,
    /// TYPE.
    pub kind: u16,
    /// TTL, in seconds, as it stands there.
    pub ttl: u32,
    /// Where that is.
    pub ttl_at: usize,
    /// RDATA.
    pub rdata: &'a [u8],
}

impl Answer {
    /// Its records, in order. `None` where one does not end where it says, after which nothing follows.
    pub fn each_record(&self) -> impl Iterator<Item = Option<AnswerRecord<'_>>> {
        let sections =
            self.counts.iter().enumerate().flat_map(|(section, count)| (0..*count).map(move |_| section));
        let mut walk = Walk { packet: &self.records, at: 0 };
        let mut is_broken = false;
        sections.map_while(move |section| {
            if is_broken {
                return None;
            }
            let record = walk.record().and_then(|Record { kind, rdata, .. }| {
                let ttl_at = walk.at - rdata.len() - FIXED_OCTETS + TTL_AT;
                let ttl = u32::from_be_bytes(*walk.packet.get(ttl_at..)?.first_chunk()?);
                Some(AnswerRecord { section, kind, ttl, ttl_at, rdata })
            });
            is_broken = record.is_none();
            Some(record)
        })
    }
}

/// Goes from record to record.
struct Walk<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn record(&mut self) -> Option<Record<'a>> {
        let fixed = skip_name(self.packet, self.at)?;
        let kind = read_u16(self.packet, fixed)?;
        let rcode_high = *self.packet.get(fixed + 4)?;
        let octets = usize::from(read_u16(self.packet, fixed + 8)?);
        let rdata = self.packet.get(fixed + FIXED_OCTETS..fixed + FIXED_OCTETS + octets)?;
        self.at = fixed + FIXED_OCTETS + octets;
        Some(Record { kind, rcode_high, rdata })
    }
}

/// Where a name ends that begins at `at`. Where its pointers lead is not followed: clients do.
fn skip_name(packet: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    loop {
        let octet = *packet.get(at)?;
        match octet >> 6 {
            0 if octet == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(octet),
            3 => return Some(at + 2),
            _ => return None,
        }
        if at - begin > NAME_OCTETS_MAX {
            return None;
        }
    }
}

/// Writes the reply to one client to `out`, which is emptied: its ID, its question letter by letter, what
/// fits of the records, and an OPT if it sent one.
///
/// Records are left out from the end, whole ones. TC says so, unless only additional ones were (RFC 2181 §9).
pub fn write_reply<Q: AsRef<[u8]>>(query: &Query<Q>, answer: &Answer, out: &mut Vec<u8>) -> Written {
    let question = query.question.as_ref();
    let errors: &[u8] = if query.opt.is_some() { &answer.errors } else { &[] };
    let opt_octets = query.opt.map_or(0, |_| OPT_OCTETS + errors.len());
    let records_max =
        query.transport.octets_max(query.opt).saturating_sub(HEADER_OCTETS + question.len() + opt_octets);
    let (octets, counts) = fitting(answer, records_max);
    let is_cut = counts[..2] != answer.counts[..2];
    let mut flags = QR | RA | (query.flags & COPIED) | (answer.rcode & RCODE);
    if is_cut || answer.truncated {
        flags |= TC;
    }
    if answer.authentic && query.understands_authentic() {
        flags |= AD;
    }
    let additionals = counts[2] + u16::from(query.opt.is_some());
    out.clear();
    for word in [query.id, flags, 1, counts[0], counts[1], additionals] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(question);
    let records_at = out.len();
    out.extend_from_slice(&answer.records[..octets]);
    if let Some(opt) = query.opt {
        append_opt(out, answer.rcode, opt.dnssec_ok, errors);
    }
    let rcode = match answer.rcode {
        NO_ERROR => Rcode::NoError,
        NX_DOMAIN => Rcode::NxDomain,
        YX_DOMAIN => Rcode::YxDomain,
        _ => Rcode::ServFail,
    };
    Written { rcode, records: records_at..records_at + octets }
}

/// What [`write_reply`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The code that the client sees.
    pub rcode: Rcode,
    /// Where the records are.
    pub records: Range<usize>,
}

/// How many octets of the records, and how many of each section, fit into `octets_max`.
fn fitting(answer: &Answer, octets_max: usize) -> (usize, [u16; 3]) {
    if answer.records.len() <= octets_max {
        return (answer.records.len(), answer.counts);
    }
    let mut walk = Walk { packet: &answer.records, at: 0 };
    let (mut octets, mut counts) = (0, [0; 3]);
    for (kept, count) in counts.iter_mut().zip(answer.counts) {
        for _ in 0..count {
            let fits = walk.record().is_some() && walk.at <= octets_max;
            if !fits {
                return (octets, counts);
            }
            octets = walk.at;
            *kept += 1;
        }
    }
    (octets, counts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::question::tests::query;
    use super::*;
    use crate::dns::Transport;
    use crate::dns::wire::Opt;

    /// An answer to a question for `www.example`, with these records after it.
    fn packet(flags: u16, counts: [u16; 3], records: &[u8]) -> Vec<u8> {
        let question = query("www", 1, 0x0100, None).question;
        let words = [7, flags, 1, counts[0], counts[1], counts[2]];
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        [&header, &*question, records].concat()
    }

    #[test]
    fn a_claim_of_many_records_is_no_answer() {
        let received = read(&packet(0x8180, [0xffff; 3], &[]), Edns::With);
        assert_eq!(received.outcome, Outcome::Unwilling);
    }

    #[test]
    fn the_extended_code_of_the_opt_counts() {
        let opt = [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0];
        let received = read(&packet(0x8180, [0, 0, 1], &opt), Edns::With);
        assert_eq!((received.answer.rcode, received.outcome), (16, Outcome::NoEdns));
    }

    proptest! {
        /// Whatever an upstream sends, nothing panics, and what a client gets keeps to its bounds and can be
        /// read again as far as its counts go.
        #[test]
        fn any_packet_makes_a_reply_within_its_bounds(
            flags in any::<u16>(),
            counts in proptest::array::uniform3(0_u16..4),
            records in proptest::collection::vec(any::<u8>(), 0..1500),
            payload in proptest::option::of(any::<u16>()),
        ) {
            let opt = payload.map(|payload_octets| Opt { payload_octets, dnssec_ok: false });
            let asked = query("wWw", 1, 0x0100, opt);
            let received = read(&packet(flags, counts, &records), Edns::With);
            let mut reply = Vec::new();
            write_reply(&asked, &received.answer, &mut reply);
            prop_assert!(reply.len() <= Transport::Udp.octets_max(opt));
            prop_assert!(reply.starts_with(&asked.id.to_be_bytes()));
            let again = read_whole(&reply, Edns::With).expect("what teal writes is whole");
            prop_assert!(again.answer.records.len() <= received.answer.records.len());
        }
    }
}
