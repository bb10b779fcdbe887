//! Names and records in wire format (RFC 1035 §3.1, §3.2.1, §4.1.4).

/// Where the question's name begins in every message.
pub const QUESTION_AT: u16 = 12;
/// Class IN.
pub const CLASS_IN: u16 = 1;
/// Type A.
pub const TYPE_A: u16 = 1;
/// Type NS.
pub const TYPE_NS: u16 = 2;
/// Type CNAME.
pub const TYPE_CNAME: u16 = 5;
/// Type SOA.
pub const TYPE_SOA: u16 = 6;
/// Type PTR.
pub const TYPE_PTR: u16 = 12;
/// Type TXT.
pub const TYPE_TXT: u16 = 16;
/// Type AAAA (RFC 3596).
pub const TYPE_AAAA: u16 = 28;
/// Type SRV (RFC 2782).
pub const TYPE_SRV: u16 = 33;

/// Two high bits mark a compression pointer; the rest is an offset into the message.
const POINTER: u16 = 0xc000;

/// A record, or part of one, with gaps for pointers to the apex of its zone: where that is in a
/// message depends on the name asked for.
#[derive(Debug, Default)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where in `bytes` a pointer to the apex goes.
    gaps: Vec<u8>,
}

impl Template {
    /// Appends the record to a message in which the apex is found at `apex_at`.
    pub fn append(&self, apex_at: u16, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        for gap in &self.gaps {
            let at = begin + usize::from(*gap);
            out[at..at + 2].copy_from_slice(&pointer_to(apex_at));
        }
    }

    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds a pointer to the apex.
    pub fn put_apex(&mut self) -> &mut Self {
        let at = u8::try_from(self.bytes.len()).expect("two short names stand before the last gap");
        self.gaps.push(at);
        self.put(&[0, 0])
    }

    /// Adds type, class IN, TTL and what `rdata` adds, with its length before it.
    pub fn put_body(&mut self, kind: u16, ttl: u32, rdata: impl FnOnce(&mut Self)) {
        self.put(&fixed_part(kind, ttl));
        let length_at = self.bytes.len();
        self.put(&[0, 0]);
        rdata(self);
        let octets = self.bytes.len() - length_at - 2;
        let octets = u16::try_from(octets).expect("two names and five numbers");
        self.bytes[length_at..length_at + 2].copy_from_slice(&octets.to_be_bytes());
    }
}

/// A compression pointer to `offset` (RFC 1035 §4.1.4).
pub fn pointer_to(offset: u16) -> [u8; 2] {
    (POINTER | offset).to_be_bytes()
}

/// Type, class IN and TTL of a record.
pub fn fixed_part(kind: u16, ttl: u32) -> [u8; 8] {
    let number = u64::from(kind) << 48 | u64::from(CLASS_IN) << 32 | u64::from(ttl);
    number.to_be_bytes()
}

/// Puts labels before a name in wire format.
pub fn name_below(labels: &[&str], parent: &[u8]) -> Box<[u8]> {
    let octets = labels.iter().map(|label| label.len() + 1).sum::<usize>() + parent.len();
    let mut name = Vec::with_capacity(octets);
    for label in labels {
        name.push(u8::try_from(label.len()).expect("the model bounds labels"));
        name.extend_from_slice(label.as_bytes());
    }
    name.extend_from_slice(parent);
    name.into()
}

/// A name in text form, in lower case and without the root's dot, in wire format.
pub fn wire_name(name: &str) -> Box<[u8]> {
    let labels: Vec<&str> = name.split('.').collect();
    name_below(&labels, &[0])
}

/// The data of a TXT record: the text in pieces of 255 octets (RFC 1035 §3.3.14).
pub fn text_data(text: &str) -> Box<[u8]> {
    let mut data = Vec::with_capacity(text.len() + 1 + text.len() / usize::from(u8::MAX));
    for piece in text.as_bytes().chunks(usize::from(u8::MAX)) {
        data.push(u8::try_from(piece.len()).expect("a chunk of 255 octets at most"));
        data.extend_from_slice(piece);
    }
    data.into()
}

/// The name under `in-addr.arpa` of the network that these octets begin (RFC 1035 §3.5).
pub fn reverse_name(octets: &[u8]) -> Box<[u8]> {
    const SUFFIX: &[u8] = b"\x07in-addr\x04arpa\0";
    const LABEL_OCTETS_MAX: usize = 4;
    let mut name = Vec::with_capacity(octets.len() * LABEL_OCTETS_MAX + SUFFIX.len());
    for octet in octets.iter().rev() {
        let [hundreds, tens, ones] = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
        match octet {
            0..10 => name.extend_from_slice(&[1, ones]),
            10..100 => name.extend_from_slice(&[2, tens, ones]),
            100.. => name.extend_from_slice(&[3, hundreds, tens, ones]),
        }
    }
    name.extend_from_slice(SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_into_several_strings() {
        assert_eq!(*text_data("ab"), *b"\x02ab");
        let data = text_data(&"x".repeat(300));
        assert_eq!((data.len(), data[0], data[256]), (302, 255, 45));
    }

    #[test]
    fn a_reverse_name_has_the_octets_in_decimal_and_backwards() {
        assert_eq!(*reverse_name(&[198, 18, 0, 9]), *b"\x019\x010\x0218\x03198\x07in-addr\x04arpa\0");
        assert_eq!(*reverse_name(&[10]), *b"\x0210\x07in-addr\x04arpa\0");
        assert_eq!(*reverse_name(&[]), *b"\x07in-addr\x04arpa\0");
    }
}
