//! Judges the answer to an HTTP check while it arrives. Pure, bounded, and never panics whatever comes.

use super::outcome::Failure;
use crate::model::HttpCheck;

/// Bytes of head and body that are looked at.
pub const BYTES_MAX: usize = 16 * 1024;
/// Header fields that an answer may have.
const FIELDS_MAX: usize = 128;

/// An answer, as far as it has arrived.
#[derive(Debug)]
pub struct Response<'a> {
    check: &'a HttpCheck,
    /// Bytes that have arrived in all.
    seen: usize,
    /// The head as far as it has arrived; empty once it is complete.
    head: Vec<u8>,
    /// Where the body goes, once the head is complete.
    body: Option<Body>,
}

impl<'a> Response<'a> {
    /// Nothing has arrived yet.
    pub fn new(check: &'a HttpCheck) -> Self {
        Self { check, seen: 0, head: Vec::new(), body: None }
    }

    /// Takes what has arrived; says what the answer is worth once that is clear.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Result<(), Failure>> {
        let bytes = &bytes[..bytes.len().min(BYTES_MAX - self.seen)];
        self.seen += bytes.len();
        let judged = if self.body.is_some() { self.push_body(bytes) } else { self.push_head(bytes) };
        judged.or_else(|| (self.seen >= BYTES_MAX).then(|| Err(self.too_long())))
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// What was missing. Without it, [`Self::push`] would have said that all is well.
    pub fn end(&self) -> Result<(), Failure> {
        Err(if self.body.is_some() { Failure::Body } else { Failure::Closed })
    }

    fn too_long(&self) -> Failure {
        if self.body.is_some() { Failure::Body } else { Failure::HeadTooLong }
    }

    fn push_head(&mut self, bytes: &[u8]) -> Option<Result<(), Failure>> {
        self.head.extend_from_slice(bytes);
        // A head can only be complete where a line is.
        if !bytes.contains(&b'\n') {
            return None;
        }
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut head = httparse::Response::new(&mut fields);
            let length = match head.parse(&self.head) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) => return None,
                Err(error) => return Some(Err(Failure::Malformed(error))),
            };
            let status = head.code.unwrap_or_default();
            let is_expected = self.check.expect.contains(status);
            if !is_expected && (100..200).contains(&status) {
                // An interim answer (RFC 9110 §15.2): the real one follows.
                self.head.drain(..length);
                continue;
            }
            if !is_expected {
                return Some(Err(Failure::Status(status)));
            }
            if self.check.body.is_none() {
                return Some(Ok(()));
            }
            self.body = Some(Body::of(head.headers));
            let rest = std::mem::take(&mut self.head).split_off(length);
            return self.push_body(&rest);
        }
    }

    fn push_body(&mut self, bytes: &[u8]) -> Option<Result<(), Failure>> {
        let (body, wanted) = (self.body.as_mut()?, self.check.body.as_deref()?.as_bytes());
        let before = body.text.len();
        let end = body.push(bytes);
        let from = before.saturating_sub(wanted.len().saturating_sub(1));
        if body.text[from..].windows(wanted.len().max(1)).any(|window| window == wanted) {
            return Some(Ok(()));
        }
        (end == End::Reached).then_some(Err(Failure::Body))
    }
}

/// A body without its framing.
#[derive(Debug)]
struct Body {
    text: Vec<u8>,
    framing: Framing,
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy)]
enum Framing {
    /// It has so many bytes more; `None`: until the connection ends.
    Length(Option<u64>),
    /// The size of a chunk, as far as it was read.
    ChunkSize(u64),
    /// After the size, until the end of the line; then so many bytes.
    ChunkLine(u64),
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The end of line after a chunk.
    ChunkEnd,
    /// Everything is there.
    Over,
}

/// Whether the body is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Reached,
    NotYet,
}

impl Body {
    fn of(fields: &[httparse::Header<'_>]) -> Self {
        let field = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let is_chunked = field("transfer-encoding").is_some_and(|field| {
            let value = field.value.trim_ascii().to_ascii_lowercase();
            value.ends_with(b"chunked")
        });
        let length = field("content-length")
            .and_then(|field| std::str::from_utf8(field.value).ok())
            .and_then(|value| value.trim().parse().ok());
        let framing = if is_chunked { Framing::ChunkSize(0) } else { Framing::Length(length) };
        Self { text: Vec::new(), framing }
    }

    fn push(&mut self, mut bytes: &[u8]) -> End {
        while let Some(first) = bytes.first() {
            let taken = match self.framing {
                Framing::Length(None) => self.take(bytes, u64::MAX),
                Framing::Length(Some(left)) | Framing::Chunk(left) => self.take(bytes, left),
                _ => 1,
            };
            self.framing = match self.framing {
                Framing::Length(Some(left)) => Framing::Length(Some(left - taken as u64)),
                Framing::Chunk(left) if left > taken as u64 => Framing::Chunk(left - taken as u64),
                Framing::Chunk(_) => Framing::ChunkEnd,
                Framing::ChunkSize(size) => match char::from(*first).to_digit(16) {
                    Some(digit) => Framing::ChunkSize(size.saturating_mul(16).saturating_add(digit.into())),
                    None if *first == b'\n' => chunk_of(size),
                    None => Framing::ChunkLine(size),
                },
                Framing::ChunkLine(size) if *first == b'\n' => chunk_of(size),
                Framing::ChunkEnd if *first == b'\n' => Framing::ChunkSize(0),
                same => same,
            };
            bytes = &bytes[taken..];
            if matches!(self.framing, Framing::Over | Framing::Length(Some(0))) {
                return End::Reached;
            }
        }
        let is_over = matches!(self.framing, Framing::Over | Framing::Length(Some(0)));
        if is_over { End::Reached } else { End::NotYet }
    }

    /// Keeps up to `left` bytes, and says how many.
    fn take(&mut self, bytes: &[u8], left: u64) -> usize {
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.text.extend_from_slice(&bytes[..count]);
        count
    }
}

/// A chunk of size 0 is the last one.
fn chunk_of(size: u64) -> Framing {
    if size == 0 { Framing::Over } else { Framing::Chunk(size) }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
