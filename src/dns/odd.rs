//! Odd queries: other opcodes, classes and EDNS versions, extra records, several or misplaced OPTs.
//!
//! hickory's parser reads them whole, and a hickory [`RequestHandler`] says what is wrong with them.
//! Rare, so it may allocate; what it may reserve is bounded by the packet, because the caller has
//! checked the header's counts. Ordinary queries never come here.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use hickory_proto::op::{
    Edns, Header as HickoryHeader, HeaderCounts, LowerQuery, Metadata, OpCode, ResponseCode,
};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioTime};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};

use super::answer::{Asked, Source};
use super::reply::{ExtendedError, OPTION_EXTENDED_ERROR, Rcode, Transport, UDP_PAYLOAD_OCTETS_MAX};
use super::wire::Opt;

/// What is to be done about an odd query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// The reply is in the buffer.
    Replied(Rcode),
    /// It can be answered all the same.
    Ordinary(Option<Opt>),
    /// It cannot be parsed.
    Unreadable,
}

/// Judges `packet`, whose header counts one question and no more records than it has room for.
pub(super) fn judge(packet: &[u8], asked: Asked, out: &mut Vec<u8>) -> Judged {
    let (protocol, octets_max) = match asked.transport {
        // An error with its question and an OPT always fits.
        Transport::Udp => (Protocol::Udp, UDP_PAYLOAD_OCTETS_MAX),
        Transport::Tcp => (Protocol::Tcp, u16::MAX),
    };
    // Who asked has been judged before; the handler does not look.
    let nobody = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let Ok(request) = Request::from_bytes(packet.to_vec(), nobody, protocol) else {
        return Judged::Unreadable;
    };
    let handler = OddQueries { source: asked.source };
    let Some(rcode) = handler.error_of(&request) else {
        let opt = request
            .edns
            .as_ref()
            .map(|edns| Opt { payload_octets: edns.max_payload(), dnssec_ok: edns.flags().dnssec_ok });
        return Judged::Ordinary(opt);
    };
    let buffer = Buffer { bytes: Arc::default(), octets_max };
    let handled = handler.handle_request::<_, TokioTime>(&request, buffer.clone()).now_or_never();
    let bytes = std::mem::take(&mut *buffer.bytes.lock().unwrap_or_else(PoisonError::into_inner));
    if handled.is_none() || bytes.is_empty() {
        return Judged::Unreadable;
    }
    out.clear();
    out.extend_from_slice(&bytes);
    Judged::Replied(rcode)
}

/// The OPT of an odd query that can be answered all the same.
pub(super) fn opt_of(packet: &[u8]) -> Option<Opt> {
    let asked = Asked { transport: Transport::Tcp, source: Source::Allowed };
    match judge(packet, asked, &mut Vec::new()) {
        Judged::Ordinary(opt) => opt,
        Judged::Replied(_) | Judged::Unreadable => None,
    }
}

/// Says what is wrong with odd queries.
struct OddQueries {
    source: Source,
}

impl OddQueries {
    /// The error that a query gets, or none if only its extra records are odd: they are ignored.
    fn error_of(&self, request: &Request) -> Option<Rcode> {
        let query = request.queries.queries().first();
        let class = query.map(LowerQuery::query_class);
        let signed = request.additionals.iter().any(|record| record.record_type() == RecordType::TSIG);
        if self.source == Source::Denied {
            Some(Rcode::Refused)
        } else if request.metadata.op_code != OpCode::Query {
            // RFC 8906 §3.1.4
            Some(Rcode::NotImp)
        } else if request.version() > 0 {
            // RFC 6891 §6.1.3
            Some(Rcode::BadVers)
        } else if class != Some(DNSClass::IN) {
            Some(Rcode::Refused)
        } else if signed {
            // RFC 8945 §5.2: a TSIG that cannot be interpreted. An unsigned answer would be discarded.
            Some(Rcode::FormErr)
        } else {
            None
        }
    }

    /// The OPT of the reply, where the query had one: version 0, DO as sent, nothing else echoed
    /// (RFC 6891 §6.1.1, §6.1.3).
    fn edns_of(&self, request: &Request) -> Option<Edns> {
        let asked = request.edns.as_ref()?;
        let mut edns = Edns::new();
        edns.set_version(0);
        edns.set_max_payload(UDP_PAYLOAD_OCTETS_MAX);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        if self.source == Source::Denied {
            let code = ExtendedError::Prohibited.code().to_be_bytes();
            let option = EdnsOption::Unknown(OPTION_EXTENDED_ERROR, code.to_vec());
            edns.options_mut().insert(option);
        }
        Some(edns)
    }
}

#[async_trait::async_trait]
impl RequestHandler for OddQueries {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        metadata.response_code = response_code(self.error_of(request));
        let edns = self.edns_of(request);
        let reply = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build_no_records(metadata);
        let sent = response.send_response(reply).await;
        sent.unwrap_or_else(|_| HickoryHeader { metadata, counts: HeaderCounts::default() }.into())
    }
}

fn response_code(rcode: Option<Rcode>) -> ResponseCode {
    let code = rcode.unwrap_or(Rcode::NoError).code().to_be_bytes();
    ResponseCode::from(code[0] << 4 | code[1] >> 4, code[1] & 0xf)
}

/// Takes a reply instead of a socket.
#[derive(Clone)]
struct Buffer {
    bytes: Arc<Mutex<Vec<u8>>>,
    octets_max: u16,
}

#[async_trait::async_trait]
impl ResponseHandler for Buffer {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(self.octets_max);
        let info = response.destructive_emit(&mut encoder)?;
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(info)
    }
}
