//! The query log: one line for each query that is answered, or for one of so many.

use std::fmt::Write;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::rr::RecordType;

use super::answer::{Scope, Verdict};
use super::reply::{Rcode, Transport};
use super::wire::Question;
use crate::telemetry::lines::{Line, Lines};

/// The target of the lines, for `TEAL_LOG`.
pub const TARGET: &str = "teal::query";

/// A query and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Logged<'a> {
    /// The query as it came.
    pub packet: &'a [u8],
    /// Who asked.
    pub source: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// What became of it.
    pub verdict: Verdict,
    /// Octets of the reply.
    pub octets: usize,
}

/// What the line says.
#[derive(Debug)]
pub struct QueryLine {
    /// Absent where there is none that can be read.
    question: Option<(Box<[u8]>, u16)>,
    source: IpAddr,
    transport: Transport,
    scope: Scope,
    /// Code and octets of the reply; absent where it comes later.
    reply: Option<(Rcode, usize)>,
}

impl Line for QueryLine {
    fn write(&self) {
        let (rcode, octets) = self.reply.unzip();
        let (name, kind) = self.question.as_ref().map(|(name, kind)| (shown_name(name), *kind)).unzip();
        tracing::info!(
            target: TARGET,
            name,
            r#type = kind.map(|kind| tracing::field::display(RecordType::from(kind))),
            source = tracing::field::display(self.source),
            transport = self.transport.label(),
            scope = self.scope.label(),
            rcode = rcode.map(Rcode::label),
            octets,
            "query"
        );
    }
}

/// Where lines go, and which.
#[derive(Debug, Default)]
pub struct QueryLog {
    lines: Lines<QueryLine>,
    asked: AtomicU32,
}

impl QueryLog {
    /// A log that writes there.
    pub fn new(lines: Lines<QueryLine>) -> Self {
        Self { lines, asked: AtomicU32::new(0) }
    }

    /// Writes a line if the query gets an answer, now or later, and it is its turn: the first of every `one_in`.
    pub fn note(&self, one_in: NonZeroU32, query: &Logged<'_>) {
        let (scope, reply) = match query.verdict {
            Verdict::Reply(scope, rcode) => (scope, Some((rcode, query.octets))),
            Verdict::Forward(_) => (Scope::Forwarded, None),
            Verdict::Drop(_) => return,
        };
        if !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in.get()) {
            return;
        }
        let question = Question::read(query.packet);
        self.lines.write(QueryLine {
            question: question.map(|question| (question.name().into(), question.kind)),
            source: query.source,
            transport: query.transport,
            scope,
            reply,
        });
    }
}

/// A name in wire format as people read it, with what is no printable character as `\DDD` (RFC 1035 §5.1).
pub(super) fn shown_name(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((octets, labels)) = rest.split_first().filter(|(octets, _)| **octets > 0) {
        let (label, next) = labels.split_at(usize::from(*octets).min(labels.len()));
        for octet in label {
            match octet {
                b'.' | b'\\' => text.extend(['\\', char::from(*octet)]),
                b'!'..=b'~' => text.push(char::from(*octet)),
                _ => drop(write!(text, "\\{octet:03}")),
            }
        }
        text.push('.');
        rest = next;
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::answer::DropReason;
    use super::*;
    use crate::telemetry::names::DNS_LOG_DROPPED;

    #[test]
    fn a_name_that_is_no_text_cannot_forge_a_line() {
        assert_eq!(shown_name(b"\x01a\x05local\0"), "a.local.");
        assert_eq!(shown_name(b"\0"), ".");
        assert_eq!(shown_name(b"\x06a.b\\\n\xff\0"), "a\\.b\\\\\\010\\255.");
    }

    #[test]
    fn one_of_so_many_answered_queries_has_a_line() {
        let (lines, writer) = Lines::queued(DNS_LOG_DROPPED);
        let log = QueryLog::new(lines);
        let mut query = Logged {
            packet: b"",
            source: [127, 0, 0, 1].into(),
            transport: Transport::Udp,
            verdict: Verdict::Reply(Scope::Zone, Rcode::NoError),
            octets: 50,
        };
        for _ in 0..10 {
            log.note(NonZeroU32::new(4).expect("not 0"), &query);
        }
        assert_eq!(writer.waiting().len(), 3);
        query.verdict = Verdict::Forward(None);
        log.note(NonZeroU32::MIN, &query);
        let lines = writer.waiting();
        assert_eq!((lines[0].scope, lines[0].reply), (Scope::Forwarded, None), "its reply comes later");
        query.verdict = Verdict::Drop(DropReason::Short);
        log.note(NonZeroU32::MIN, &query);
        assert_eq!(writer.waiting().len(), 0);
    }
}
