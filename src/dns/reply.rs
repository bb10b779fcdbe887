//! Writes a reply: header, question, records as long as they fit, OPT last but never lost.

use super::wire::{HEADER_OCTETS, Header, Opt, Question};

/// UDP payload that teal takes and gives at most: passes any IPv6 link unfragmented (DNS flag
/// day 2020).
pub const UDP_PAYLOAD_OCTETS_MAX: u16 = 1232;
/// UDP payload that everybody takes (RFC 1035 §4.2.1; smaller values are treated so, RFC 6891 §6.2.3).
pub const UDP_PAYLOAD_OCTETS_MIN: u16 = 512;

pub(super) const QR: u16 = 0x8000;
pub(super) const AA: u16 = 0x0400;
pub(super) const TC: u16 = 0x0200;
pub(super) const RA: u16 = 0x0080;
/// Opcode, RD and CD come back as they were sent (RFC 1035 §4.1.1, RFC 4035 §3.2.2).
pub(super) const COPIED: u16 = 0x7800 | 0x0100 | 0x0010;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream, length before each message.
    Tcp,
}

impl Transport {
    /// The value of the label `transport`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }

    /// Octets that a reply may have.
    pub fn octets_max(self, opt: Option<Opt>) -> usize {
        match (self, opt) {
            (Self::Tcp, _) => usize::from(u16::MAX),
            (Self::Udp, None) => usize::from(UDP_PAYLOAD_OCTETS_MIN),
            (Self::Udp, Some(opt)) => {
                usize::from(opt.payload_octets.clamp(UDP_PAYLOAD_OCTETS_MIN, UDP_PAYLOAD_OCTETS_MAX))
            }
        }
    }
}

/// Response codes that teal gives (RFC 1035 §4.1.1, RFC 6891 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// Answered, if only by "no such records".
    NoError,
    /// The query cannot be understood.
    FormErr,
    /// Nobody could be asked, or nobody knew.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// The opcode is not served.
    NotImp,
    /// teal does not answer this, or not to this client.
    Refused,
    /// A name that DNAME makes is too long (RFC 6672 §2.2).
    YxDomain,
    /// The EDNS version is not served.
    BadVers,
}

impl Rcode {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::YxDomain,
        Self::BadVers,
    ];

    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::YxDomain => 6,
            Self::BadVers => 16,
        }
    }

    /// The value of the label `rcode`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::YxDomain => "YXDOMAIN",
            Self::BadVers => "BADVERS",
        }
    }
}

/// Further words about an error (RFC 8914 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendedError {
    /// teal is at one of its own bounds.
    Other = 0,
    /// The answer is over, and no better one is to be had.
    StaleAnswer = 3,
    /// The client may not ask.
    Prohibited = 18,
    /// That there is no such name is over, and no better answer is to be had.
    StaleNxDomain = 19,
    /// The name is in none of the zones.
    NotAuthoritative = 20,
    /// No upstream has answered in time, or none wants to.
    NoReachableAuthority = 22,
    /// The network has no way to any upstream.
    NetworkError = 23,
}

impl ExtendedError {
    /// The INFO-CODE.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The option that carries it (RFC 8914 §2).
    pub(super) fn option(self) -> [u8; 6] {
        let [code_high, code_low] = self.code().to_be_bytes();
        let [option_high, option_low] = OPTION_EXTENDED_ERROR.to_be_bytes();
        [option_high, option_low, 0, 2, code_high, code_low]
    }
}

/// Code of the option that carries extended errors (RFC 8914 §2).
pub const OPTION_EXTENDED_ERROR: u16 = 15;

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// teal speaks for the zone (AA).
    Authoritative(Rcode),
    /// An error, with more about it where the client has EDNS.
    Error(Rcode, Option<ExtendedError>),
}

/// A section that records go to. They are filled in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer = 1,
    /// Why there is no answer.
    Authority = 2,
    /// What the client would ask next.
    Additional = 3,
}

/// A reply being written.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    flags: u16,
    counts: [u16; 4],
    opt: Option<Opt>,
    /// Octets for header, question and records: what the OPT needs is kept free.
    octets_max: usize,
    full: bool,
}

/// Octets of an OPT without options.
pub(super) const OPT_OCTETS: usize = 11;

impl<'a> Reply<'a> {
    /// Begins the reply to `header` in `out`, which is emptied.
    pub fn begin(
        out: &'a mut Vec<u8>,
        header: &Header,
        question: Option<&Question<'_>>,
        (transport, opt): (Transport, Option<Opt>),
    ) -> Self {
        let [id_high, id_low] = header.id.to_be_bytes();
        out.clear();
        out.extend_from_slice(&[id_high, id_low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(question.map_or(&[], |question| question.bytes));
        Self {
            out,
            flags: QR | RA | (header.flags & COPIED),
            counts: [u16::from(question.is_some()), 0, 0, 0],
            octets_max: transport.octets_max(opt) - opt.map_or(0, |_| OPT_OCTETS),
            opt,
            full: false,
        }
    }

    /// Adds a record, whole or not at all. If one does not fit, no later one is added, and TC says
    /// so unless it was an additional one (RFC 2181 §9).
    pub fn push(&mut self, section: Section, write: impl FnOnce(&mut Vec<u8>)) {
        if self.full {
            return;
        }
        let begin = self.out.len();
        write(self.out);
        if self.out.len() > self.octets_max {
            self.out.truncate(begin);
            self.full = true;
            if section != Section::Additional {
                self.flags |= TC;
            }
        } else {
            self.counts[section as usize] += 1;
        }
    }

    /// Whether a record did not fit, so that no later one is added.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Leaves it as it is for whoever knows the rest: readable, and without an OPT.
    pub fn pause(mut self) {
        self.write_header(self.flags);
    }

    /// Octets written so far: where the next record begins.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Writes the OPT, if the client sent one, and completes the header. An extended error is only
    /// given in replies without records, where there is always room for it.
    pub fn finish(mut self, ending: Ending) {
        let (rcode, error) = match ending {
            Ending::Authoritative(rcode) => {
                self.flags |= AA;
                (rcode, None)
            }
            Ending::Error(rcode, error) => (rcode, error),
        };
        if let Some(opt) = self.opt {
            self.counts[Section::Additional as usize] += 1;
            self.write_opt(opt, rcode, error);
        }
        self.write_header(self.flags | (rcode.code() & 0xf));
    }

    fn write_header(&mut self, flags: u16) {
        let [questions, answers, authorities, additionals] = self.counts;
        let words = [flags, questions, answers, authorities, additionals].map(u16::to_be_bytes);
        self.out[2..HEADER_OCTETS].copy_from_slice(words.as_flattened());
    }

    fn write_opt(&mut self, opt: Opt, rcode: Rcode, error: Option<ExtendedError>) {
        let option = error.map(ExtendedError::option);
        append_opt(self.out, rcode.code(), opt.dnssec_ok, option.as_ref().map_or(&[], |option| &option[..]));
    }
}

/// Appends an OPT: root, type, our payload, high bits of the rcode, version 0, DO, options (RFC 6891
/// §6.1.2), which have 65,535 octets at most.
pub(super) fn append_opt(out: &mut Vec<u8>, rcode: u16, dnssec_ok: bool, options: &[u8]) {
    let [payload_high, payload_low] = UDP_PAYLOAD_OCTETS_MAX.to_be_bytes();
    let rcode_high = (rcode >> 4).to_be_bytes()[1];
    let flags = if dnssec_ok { 0x80 } else { 0 };
    let octets = u16::try_from(options.len()).expect("options come from one message");
    let [octets_high, octets_low] = octets.to_be_bytes();
    out.extend_from_slice(&[
        0,
        0,
        41,
        payload_high,
        payload_low,
        rcode_high,
        0,
        flags,
        0,
        octets_high,
        octets_low,
    ]);
    out.extend_from_slice(options);
}
