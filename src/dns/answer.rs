//! The decision: which reply a packet gets, if any.
//!
//! Pure: bytes and the name table in, bytes and a verdict out; no socket, no clock. Ordinary queries
//! (one question, class IN, at most an OPT) are decided and encoded here without allocation; whatever
//! is odd about a packet is judged by `odd` with hickory's parser.

use super::odd::{self, Judged};
use super::reply::{Ending, ExtendedError, Rcode, Reply, Section, Transport};
use super::wire::{HEADER_OCTETS, Header, NAME_OCTETS_MAX, Question, Recursion, Rest, rest_of};
use crate::state::answers::{Answers, Lookup, Records, Server, ZoneRecords};
use crate::state::records::{
    QUESTION_AT, TYPE_A, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV, fixed_part, pointer_to,
};

const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;
const TYPE_ANY: u16 = 255;

/// Whether the client is in `allow_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It may ask.
    Allowed,
    /// It gets REFUSED.
    Denied,
}

/// How and by whom a query was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How it came, which bounds the reply.
    pub transport: Transport,
    /// Whether the client may ask.
    pub source: Source,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A reply is in the buffer.
    Reply(Scope, Rcode),
    /// The name is in none of the zones and has to be asked elsewhere: of the configured domain with this
    /// index, else of the upstreams.
    Forward(Option<u16>),
    /// There is none.
    Drop(DropReason),
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The zones.
    Zone,
    /// Nowhere: not ours to answer, or not for this client.
    Refused,
    /// Nowhere: the query was no query that teal understands.
    Invalid,
}

impl Scope {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Zone, Self::Refused, Self::Invalid];

    /// The value of the label `scope`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
        }
    }

    /// Where errors come from.
    pub(super) fn of_error(rcode: Rcode) -> Self {
        match rcode {
            Rcode::NoError | Rcode::NxDomain => Self::Zone,
            Rcode::Refused => Self::Refused,
            Rcode::FormErr | Rcode::NotImp | Rcode::BadVers => Self::Invalid,
        }
    }
}

/// Why a packet gets no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Shorter than a header: there is no ID to reply to.
    Short,
    /// A response: answering those would let two servers talk to each other for ever.
    Response,
}

impl DropReason {
    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Response => "response",
        }
    }
}

/// Decides about `packet` and writes the reply, if there is one, to `out`, which is emptied first.
/// Replies over UDP need at most [`super::reply::UDP_PAYLOAD_OCTETS_MAX`] octets, and as many
/// while they are written as a record that does not fit: with twice that as its capacity, `out`
/// never grows.
pub fn answer(packet: &[u8], asked: Asked, answers: &Answers, out: &mut Vec<u8>) -> Verdict {
    out.clear();
    let Some(header) = Header::read(packet) else { return Verdict::Drop(DropReason::Short) };
    if header.is_response() {
        return Verdict::Drop(DropReason::Response);
    }
    // RFC 9619 §4: a query has one question.
    let question = if header.counts[0] == 1 { Question::read(packet) } else { None };
    let Some(question) = question else { return refuse_unread(packet, &header, None, out) };
    let opt = match rest_of(packet, HEADER_OCTETS + question.bytes.len(), &header) {
        Rest::Plain(opt) if header.is_query() && question.is_internet() => opt,
        Rest::Plain(_) | Rest::Odd => match odd::judge(packet, asked, out) {
            Judged::Replied(rcode) => return Verdict::Reply(Scope::of_error(rcode), rcode),
            Judged::Ordinary(opt) => opt,
            Judged::Unreadable => return refuse_unread(packet, &header, Some(&question), out),
        },
        Rest::Broken => return refuse_unread(packet, &header, Some(&question), out),
    };
    let reply = Reply::begin(out, &header, Some(&question), (asked.transport, opt));
    match decide(&question, (asked.source, header.recursion()), answers, reply) {
        Decision::Ended(Ending::Authoritative(rcode) | Ending::Error(rcode, _)) => {
            Verdict::Reply(Scope::of_error(rcode), rcode)
        }
        Decision::Forward(domain) => {
            out.clear();
            Verdict::Forward(domain)
        }
    }
}

/// Refuses a packet that cannot be read further than the header and perhaps the question. An unknown
/// opcode is NOTIMP, whatever follows it (RFC 8906 §3.1.4), anything else FORMERR.
fn refuse_unread(
    packet: &[u8],
    header: &Header,
    question: Option<&Question<'_>>,
    out: &mut Vec<u8>,
) -> Verdict {
    let rcode = if header.is_query() { Rcode::FormErr } else { Rcode::NotImp };
    // Without a question an OPT comes first, and is answered with one (RFC 6891 §6.1.1).
    let opt = match header.counts[0] {
        0 => rest_of(packet, HEADER_OCTETS, header).opt(),
        _ => None,
    };
    let reply = Reply::begin(out, header, question, (Transport::Udp, opt));
    reply.finish(Ending::Error(rcode, None));
    Verdict::Reply(Scope::of_error(rcode), rcode)
}

/// What an ordinary question gets.
enum Decision {
    /// A reply that ended so.
    Ended(Ending),
    /// It is to be asked elsewhere.
    Forward(Option<u16>),
}

/// Answers an ordinary question.
fn decide(
    question: &Question<'_>,
    (source, recursion): (Source, Recursion),
    answers: &Answers,
    mut reply: Reply<'_>,
) -> Decision {
    let mut space = [0; NAME_OCTETS_MAX];
    let ending = if source == Source::Denied {
        Ending::Error(Rcode::Refused, Some(ExtendedError::Prohibited))
    } else if matches!(question.kind, TYPE_AXFR | TYPE_IXFR) {
        Ending::Error(Rcode::Refused, None)
    } else {
        let name = question.lower_case_name(&mut space);
        match answers.lookup(name) {
            Lookup::Name(zone, records) => {
                let asked = Name { octets: name.len(), zone, ttl: answers.ttl() };
                if !asked.push_records(question.kind, records, &mut reply) {
                    asked.push_no_such(&mut reply);
                }
                Ending::Authoritative(Rcode::NoError)
            }
            Lookup::Missing(zone) => {
                Name { octets: name.len(), zone, ttl: 0 }.push_no_such(&mut reply);
                Ending::Authoritative(Rcode::NxDomain)
            }
            Lookup::Forward(domain) if recursion == Recursion::Desired => return Decision::Forward(domain),
            Lookup::Forward(_) | Lookup::Outside => {
                Ending::Error(Rcode::Refused, Some(ExtendedError::NotAuthoritative))
            }
        }
    };
    reply.finish(ending);
    Decision::Ended(ending)
}

/// A name of a zone, as it stands in the question.
struct Name<'a> {
    octets: usize,
    zone: &'a ZoneRecords,
    ttl: u32,
}

impl Name<'_> {
    /// Where the last `octets` of the name are found in the message.
    fn suffix_at(&self, octets: u8) -> u16 {
        let skipped = self.octets.saturating_sub(usize::from(octets));
        QUESTION_AT + u16::try_from(skipped).expect("a name has at most 255 octets")
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
    fn push_records(&self, kind: u16, records: &Records, reply: &mut Reply<'_>) -> bool {
        match (records, kind) {
            (Records::Address(address), TYPE_A | TYPE_ANY) => {
                reply.push(Section::Answer, |out| self.write_address(QUESTION_AT, address.octets(), out));
            }
            (Records::Server(server), TYPE_SRV | TYPE_ANY) => self.push_servers(server, reply),
            (Records::Pointer(target) | Records::Apex { pointer: Some(target) }, TYPE_PTR)
            | (Records::Pointer(target), TYPE_ANY) => {
                reply.push(Section::Answer, |out| self.write_pointer(target, out));
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
            _ => return false,
        }
        true
    }

    /// SRV for each port, with the address that they all lead to. Their target is written out: RFC
    /// 2782 forbids to compress it.
    fn push_servers(&self, server: &Server, reply: &mut Reply<'_>) {
        let target_at = usize::from(self.suffix_at(server.target_octets));
        let target = target_at..target_at + usize::from(server.target_octets);
        for port in &server.ports {
            let [high, low] = port.to_be_bytes();
            // Priority and weight mean nothing with one target.
            let numbers = [0, 0, 0, 0, high, low];
            reply.push(Section::Answer, |out| {
                let target = target.clone();
                let octets = numbers.len() + target.len();
                out.extend_from_slice(&pointer_to(QUESTION_AT));
                out.extend_from_slice(&fixed_part(TYPE_SRV, self.ttl));
                out.extend_from_slice(&length(octets));
                out.extend_from_slice(&numbers);
                let name_at = out.len();
                out.extend_from_within(target);
                out[name_at..].make_ascii_lowercase();
            });
        }
        let target_at = self.suffix_at(server.target_octets);
        reply.push(Section::Additional, |out| {
            self.write_address(target_at, server.address.octets(), out);
        });
    }

    fn write_address(&self, owner_at: u16, address: [u8; 4], out: &mut Vec<u8>) {
        out.extend_from_slice(&pointer_to(owner_at));
        out.extend_from_slice(&fixed_part(TYPE_A, self.ttl));
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&address);
    }

    fn write_pointer(&self, target: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&pointer_to(QUESTION_AT));
        out.extend_from_slice(&fixed_part(TYPE_PTR, self.ttl));
        out.extend_from_slice(&length(target.len()));
        out.extend_from_slice(target);
    }
}

fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).expect("a name and three numbers").to_be_bytes()
}
