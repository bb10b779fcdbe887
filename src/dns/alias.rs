//! Aliases of the zones that lead to names of others: the target is asked for in the client's place, and what
//! comes back follows the aliases in the client's reply (RFC 1034 §4.3.2, step 3a).
//!
//! Pure: bytes in, bytes out. The zones' part of the way is bounded by `chase`; the rest is one question like any
//! other, with the same bounds, cache and time. Where the upstreams' answer leads is followed no further.

use std::sync::Arc;

use hickory_proto::op::{Message, Query as HickoryQuery};
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::BinEncodable;

use super::forward::message::{self, Answer, write_reply};
use super::forward::question::{Edns, Query};
use super::later::WayBack;
use super::reply::{AA, ExtendedError, Rcode, Transport, append_opt};
use super::wire::HEADER_OCTETS;

/// Aliases that are the begin of a reply.
#[derive(Debug)]
pub struct Aliases {
    /// What the client asked.
    query: Query,
    asked: HickoryQuery,
    /// In order; the last one leads out of the zones.
    records: Vec<Record>,
}

impl Aliases {
    /// Reads what [`super::answer()`] has left of a reply to `packet`: aliases. Gives them with the query for
    /// the last one's target, which says the same about flags and EDNS.
    pub fn read((packet, transport): (&[u8], Transport), begin: &[u8]) -> Option<(Arc<Self>, Vec<u8>)> {
        let client = Query::read(packet, transport)?;
        let mut message = Message::from_vec(begin).ok()?;
        let asked = message.queries.pop()?;
        let Some(RData::CNAME(target)) = message.answers.last().map(|record| &record.data) else {
            return None;
        };
        let name = target.0.to_bytes().ok()?;
        let to_target = packet_for(&client, &name);
        let aliases = Self { query: client.to_owned(), asked, records: message.answers };
        Some((Arc::new(aliases), to_target))
    }

    /// Writes the client's reply to `out`, which is emptied; `reply` is the one to the target's question. A
    /// failure is passed on without the aliases, as they are of no use then.
    pub fn finish(&self, reply: &[u8], out: &mut Vec<u8>) -> Rcode {
        let (answer, has_aliases) = self.join(reply).unwrap_or_else(|| {
            // Records that cannot be read cannot be moved to another place either.
            tracing::debug!(name = %self.asked.name(), "what an alias leads to cannot be read");
            (Answer::failure(ExtendedError::Other), false)
        });
        let rcode = write_reply(&self.query, &answer, out).rcode;
        if has_aliases && let Some(flags) = out.get_mut(2) {
            // AA is about the first name in the answer section (RFC 1035 §4.1.1).
            *flags |= AA.to_be_bytes()[0];
        }
        rcode
    }

    /// The answer to the client's question, and whether the aliases are in it. Names of a reply point to where
    /// others stand in it, so all of it is written anew.
    fn join(&self, reply: &[u8]) -> Option<(Answer, bool)> {
        let mut joined = Message::from_vec(reply).ok()?;
        let rcode = u16::from(joined.metadata.response_code);
        let is_answer = [Rcode::NoError, Rcode::NxDomain, Rcode::YxDomain].iter().any(|r| r.code() == rcode);
        joined.queries = vec![self.asked.clone()];
        if is_answer {
            joined.answers.splice(..0, self.records.iter().cloned());
        }
        let mut answer = message::read(&joined.to_vec().ok()?, Edns::With).answer;
        // The aliases are not signed.
        answer.authentic = false;
        Some((answer, is_answer))
    }
}

/// The query for another name.
fn packet_for(query: &Query<&[u8]>, name: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(2 * HEADER_OCTETS + query.question.len() + name.len());
    for word in [query.id, query.flags, 1, 0, 0, u16::from(query.opt.is_some())] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    let (_, kind_and_class) = query.question.split_at(query.question.len().saturating_sub(4));
    packet.extend_from_slice(name);
    packet.extend_from_slice(kind_and_class);
    if let Some(opt) = query.opt {
        append_opt(&mut packet, 0, opt.dnssec_ok, &[]);
    }
    packet
}

/// The way back of a reply that aliases go before.
#[derive(Debug)]
pub struct AliasedWay {
    /// The aliases.
    pub aliases: Arc<Aliases>,
    /// Where the whole goes.
    pub to: WayBack,
}
