//! What a client asked: what its reply is written with, and what makes two questions the same.

use std::borrow::Borrow;
use std::sync::Arc;

use super::super::odd;
use super::super::reply::{Transport, append_opt};
use super::super::wire::{HEADER_OCTETS, Header, NAME_OCTETS_MAX, Opt, Question, Rest, rest_of};

/// RD and CD of a query, AD of both (RFC 1035 §4.1.1, RFC 4035 §3.2.2, RFC 6840 §5.7).
const RD: u16 = 0x0100;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;
/// Type and class.
const FIXED_OCTETS: usize = 4;
/// The octet after a key's question.
const KEY_DNSSEC_OK: u8 = 1;
const KEY_CHECKING_DISABLED: u8 = 2;
/// Octets of a key at most.
pub const KEY_OCTETS_MAX: usize = NAME_OCTETS_MAX + FIXED_OCTETS + 1;

/// A client's query, as far as its own reply depends on it. Borrowed from the packet until it has to wait.
#[derive(Debug, Clone)]
pub struct Query<Q = Arc<[u8]>> {
    /// Copied into the reply.
    pub id: u16,
    /// The second word of its header.
    pub flags: u16,
    /// Name, type and class as sent: the reply has the client's own upper and lower case.
    pub question: Q,
    /// What it said about EDNS.
    pub opt: Option<Opt>,
    /// Bounds the reply.
    pub transport: Transport,
}

impl<'a> Query<&'a [u8]> {
    /// Reads a query that [`super::super::answer()`] has given to upstreams.
    pub fn read(packet: &'a [u8], transport: Transport) -> Option<Self> {
        let header = Header::read(packet)?;
        let question = Question::read(packet)?.bytes;
        let opt = match rest_of(packet, HEADER_OCTETS + question.len(), &header) {
            Rest::Plain(opt) => opt,
            // With records that queries do not have; it has been judged before.
            Rest::Odd | Rest::Broken => odd::opt_of(packet),
        };
        Some(Self { id: header.id, flags: header.flags, question, opt, transport })
    }

    /// The same, to be kept.
    pub fn to_owned(&self) -> Query {
        let Self { id, flags, question, opt, transport } = *self;
        Query { id, flags, question: question.into(), opt, transport }
    }
}

impl<Q: AsRef<[u8]>> Query<Q> {
    /// What it shares with other queries.
    pub fn key(&self) -> Key {
        Key(self.key_in(&mut [0; KEY_OCTETS_MAX]).into())
    }

    /// The octets of its [`Key`], in `space`.
    pub fn key_in<'s>(&self, space: &'s mut [u8; KEY_OCTETS_MAX]) -> &'s [u8] {
        let question = self.question.as_ref();
        let octets = &mut space[..=question.len()];
        octets[..question.len()].copy_from_slice(question);
        octets[..question.len().saturating_sub(FIXED_OCTETS)].make_ascii_lowercase();
        octets[question.len()] = self.bits();
        octets
    }

    fn bits(&self) -> u8 {
        let mut bits = 0;
        if self.opt.is_some_and(|opt| opt.dnssec_ok) {
            bits |= KEY_DNSSEC_OK;
        }
        if self.flags & CD != 0 {
            bits |= KEY_CHECKING_DISABLED;
        }
        bits
    }

    /// Whether the client understands AD in its reply (RFC 6840 §5.7, §5.8).
    pub fn understands_authentic(&self) -> bool {
        self.flags & AD != 0 || self.opt.is_some_and(|opt| opt.dnssec_ok)
    }
}

/// What makes two questions the same: the name in lower case, type, class, DO and CD.
///
/// AD is none of it: it is always set towards upstreams, and taken out of replies to clients that did not
/// ask for it. Nor is RD: without it nothing is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Key {
    /// The name in wire format and lower case.
    pub fn name(&self) -> &[u8] {
        &self.0[..self.0.len() - FIXED_OCTETS - 1]
    }

    /// How much memory it takes, counting what it shares with its copies.
    pub fn octets(&self) -> usize {
        self.0.len()
    }

    /// Name, type and class.
    pub fn question(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }

    /// QTYPE.
    pub fn kind(&self) -> u16 {
        let at = self.name().len();
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// DO: records for DNSSEC are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.bits() & KEY_DNSSEC_OK != 0
    }

    /// CD: the client checks signatures itself.
    pub fn checking_disabled(&self) -> bool {
        self.bits() & KEY_CHECKING_DISABLED != 0
    }

    fn bits(&self) -> u8 {
        self.0.last().copied().unwrap_or_default()
    }

    /// Another question, asked in the same way.
    #[must_use]
    pub fn with_question(&self, question: &[u8]) -> Self {
        let mut octets = [question, &[self.bits()]].concat();
        octets[..question.len().saturating_sub(FIXED_OCTETS)].make_ascii_lowercase();
        Self(octets.into())
    }

    /// Whether an upstream's packet repeats this question. Case makes no difference: some servers answer in
    /// lower case, whatever they were asked.
    pub fn is_answered_by(&self, packet: &[u8]) -> bool {
        let name = self.name();
        let has_one = Header::read(packet).is_some_and(|header| header.counts[0] == 1);
        let question = Question::read(packet).filter(|_| has_one);
        question.is_some_and(|question| {
            question.name().eq_ignore_ascii_case(name)
                && question.bytes[question.name().len()..] == self.question()[name.len()..]
        })
    }
}

/// Whether an upstream is asked with EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edns {
    /// It is.
    With,
    /// It does not know EDNS (RFC 6891 §7).
    Without,
}

/// Writes the query for an upstream to `out`, which is emptied: RD and AD, CD and DO as asked, the question as
/// the client wrote it, one OPT with teal's own payload size. Options end here: EDNS is between neighbours
/// (RFC 6891 §6.1.1), and cookies or subnets of a client are not for others.
pub fn write_query(key: &Key, question: &[u8], (id, edns): (u16, Edns), out: &mut Vec<u8>) {
    out.clear();
    let cd = if key.checking_disabled() { CD } else { 0 };
    let additionals = u16::from(edns == Edns::With);
    for word in [id, RD | AD | cd, 1, 0, 0, additionals] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    debug_assert_eq!(out.len(), HEADER_OCTETS);
    out.extend_from_slice(question);
    if edns == Edns::With {
        append_opt(out, 0, key.dnssec_ok(), &[]);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A query for a name under `example`.
    pub(crate) fn query(label: &str, kind: u16, flags: u16, opt: Option<Opt>) -> Query {
        let mut question = vec![u8::try_from(label.len()).unwrap()];
        question.extend_from_slice(label.as_bytes());
        question.extend_from_slice(b"\x07example\0");
        question.extend_from_slice(&kind.to_be_bytes());
        question.extend_from_slice(&[0, 1]);
        Query { id: 7, flags, question: question.into(), opt, transport: Transport::Udp }
    }

    const DO: Option<Opt> = Some(Opt { payload_octets: 4096, dnssec_ok: true });

    #[test]
    fn case_id_ad_and_payload_make_no_other_question_but_type_do_and_cd_do() {
        let key = query("www", 1, RD, None).key();
        let plain = Some(Opt { payload_octets: 512, dnssec_ok: false });
        assert_eq!(query("wWw", 1, RD | AD, plain).key(), key);
        assert_ne!(query("www", 28, RD, None).key(), key);
        assert_ne!(query("www", 1, RD | CD, None).key(), key);
        assert_ne!(query("www", 1, RD, DO).key(), key);
        assert_eq!(key.name(), b"\x03www\x07example\0");
        // 0x41 is a capital letter where it stands in a name.
        assert_eq!(query("www", 0x4142, RD, None).key().kind(), 0x4142);
    }

    #[test]
    fn the_query_for_an_upstream_has_the_case_of_the_client_and_our_opt() {
        let asked = query("wWw", 1, RD | CD, DO);
        let mut out = vec![9];
        write_query(&asked.key(), &asked.question, (0x1234, Edns::With), &mut out);
        let mut expected = vec![0x12, 0x34, 0x01, 0x30, 0, 1, 0, 0, 0, 0, 0, 1];
        expected.extend_from_slice(b"\x03wWw\x07example\0\0\x01\0\x01");
        expected.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        assert_eq!(out, expected);
        write_query(&asked.key(), &asked.question, (0x1234, Edns::Without), &mut out);
        expected.truncate(expected.len() - 11);
        expected[11] = 0;
        assert_eq!(out, expected);
        assert!(query("WWW", 1, RD, None).key().is_answered_by(&out));
        assert!(!query("www", 2, RD, None).key().is_answered_by(&out));
    }
}
