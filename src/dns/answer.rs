//! The decision: which reply a packet gets, if any.
//!
//! Pure: bytes and the name table in, bytes and a verdict out; no socket, no clock. Ordinary queries
//! (one question, class IN, at most an OPT) are decided and encoded here without allocation; whatever
//! is odd about a packet is judged by `odd` with hickory's parser.

use super::chase::{Chase, End};
use super::odd::{self, Judged};
use super::reply::{Ending, ExtendedError, Rcode, Reply, Transport};
use super::wire::{HEADER_OCTETS, Header, Question, Recursion, Rest, rest_of};
use crate::state::answers::{Answers, Lookup, ZoneKind, ZoneRecords};

const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;

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
    /// The name, or the one that its aliases lead to, is in none of the zones and has to be asked elsewhere: of
    /// the configured domain with this index, else of the upstreams. Such aliases are in the buffer.
    Forward(Option<u16>),
    /// There is none.
    Drop(DropReason),
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The zones.
    Zone,
    /// What every server knows of names such as `localhost`.
    Special,
    /// What upstreams have said before.
    Cache,
    /// Upstreams, or teal's own word about them.
    Forwarded,
    /// Nowhere: not ours to answer, or not for this client.
    Refused,
    /// Nowhere: the query was no query that teal understands.
    Invalid,
}

impl Scope {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Zone, Self::Special, Self::Cache, Self::Forwarded, Self::Refused, Self::Invalid];

    /// The value of the label `scope`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Special => "special",
            Self::Cache => "cache",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
        }
    }

    /// Where answers about a zone come from.
    fn of_zone(zone: &ZoneRecords) -> Self {
        if zone.kind == ZoneKind::Own { Self::Zone } else { Self::Special }
    }

    /// Where errors come from.
    fn of_error(rcode: Rcode) -> Self {
        if rcode == Rcode::Refused { Self::Refused } else { Self::Invalid }
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
    let mut reply = Reply::begin(out, &header, Some(&question), (asked.transport, opt));
    match decide(&question, (asked.source, header.recursion()), answers, &mut reply) {
        Decision::Ended(scope, ending @ (Ending::Authoritative(rcode) | Ending::Error(rcode, _))) => {
            reply.finish(ending);
            Verdict::Reply(scope, rcode)
        }
        Decision::Forward(domain) => {
            out.clear();
            Verdict::Forward(domain)
        }
        Decision::ForwardTarget(domain) => {
            reply.pause();
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
    /// A reply that ends so.
    Ended(Scope, Ending),
    /// It is to be asked elsewhere.
    Forward(Option<u16>),
    /// What its aliases lead to is; they are written.
    ForwardTarget(Option<u16>),
}

/// Answers an ordinary question.
fn decide(
    question: &Question<'_>,
    (source, recursion): (Source, Recursion),
    answers: &Answers,
    reply: &mut Reply<'_>,
) -> Decision {
    let refused = |why| Decision::Ended(Scope::Refused, Ending::Error(Rcode::Refused, why));
    if source == Source::Denied {
        return refused(Some(ExtendedError::Prohibited));
    }
    if matches!(question.kind, TYPE_AXFR | TYPE_IXFR) {
        return refused(None);
    }
    let name = question.name();
    let (zone, records) = match answers.lookup(name) {
        Lookup::Forward(domain) if recursion == Recursion::Desired => return Decision::Forward(domain),
        Lookup::Forward(_) | Lookup::Outside => {
            return refused(Some(ExtendedError::NotAuthoritative));
        }
        Lookup::Name(zone, records) => (zone, Some(records)),
        Lookup::Missing(zone) => (zone, None),
    };
    let mut chase = Chase { kind: question.kind, answers, reply };
    let rcode = match chase.run(name, zone, records) {
        End::Elsewhere(domain) if recursion == Recursion::Desired => return Decision::ForwardTarget(domain),
        // Nobody is asked: the client gets the aliases alone.
        End::Elsewhere(_) => Rcode::NoError,
        End::Here(rcode) => rcode,
    };
    Decision::Ended(Scope::of_zone(zone), Ending::Authoritative(rcode))
}
