//! `/v1/dns`: what DNS answers, and why.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use serde::{Deserialize, Serialize};

use super::change::Failure;
use super::context::Context;
use super::report::{DnsFlushReport, DnsQueryReport, DnsRecordReport};
use crate::dns::cache::Kept;
use crate::dns::forward::message::Origin;
use crate::dns::{Dns, Scope, Verdict, explain};

/// How long an answer from elsewhere is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The routes.
pub fn routes() -> Router<Context> {
    Router::new().route("/v1/dns/query", post(query)).route("/v1/dns/flush", post(flush))
}

/// The way to the DNS thread.
#[derive(Debug, Clone)]
pub struct DnsAccess {
    /// Who answers.
    pub dns: Arc<Dns>,
    /// Where it answers.
    pub thread: tokio::runtime::Handle,
}

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// The whole name, with or without the last dot.
    pub name: String,
    /// `A`, `AAAA`, `TYPE65`: A unless given.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// As if this address asked; somebody who may, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// What to forget.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushRequest {
    /// A name, with everything below it; everything, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

async fn flush(
    State(context): State<Context>,
    body: Result<Json<FlushRequest>, JsonRejection>,
) -> Result<Json<DnsFlushReport>, Failure> {
    let Json(request) = body?;
    let (_, wire) = name_of(request.name.as_deref().unwrap_or("."))?;
    Ok(Json(DnsFlushReport { flushed: context.dns.dns.forwarder.flush(&wire) }))
}

/// The name, and its wire format in lower case.
fn name_of(text: &str) -> Result<(Name, Vec<u8>), Failure> {
    let mut name =
        Name::from_ascii(text).map_err(|error| Failure::bad(format!("{text:?} is no name: {error}")))?;
    name.set_fqdn(true);
    let wire = name.to_lowercase().to_bytes().map_err(|error| Failure::bad(error.to_string()))?;
    Ok((name, wire))
}

async fn query(
    State(context): State<Context>,
    body: Result<Json<QueryRequest>, JsonRejection>,
) -> Result<Json<DnsQueryReport>, Failure> {
    let Json(request) = body?;
    let (name, wire) = name_of(&request.name)?;
    let kind = kind_of(request.kind.as_deref().unwrap_or("A"))?;
    let packet = packet_of(name.clone(), kind)?;
    let (access, from) = (context.dns.clone(), request.from);
    let asked = access.thread.spawn(async move {
        let asked = access.dns.ask(&packet, from);
        tokio::time::timeout(PATIENCE, asked).await.ok()
    });
    let internal = |why: String| Failure(StatusCode::INTERNAL_SERVER_ERROR, why);
    let outcome = asked.await.map_err(|error| internal(error.to_string()))?;
    let verdict = outcome.as_ref().map(|outcome| outcome.verdict);
    let kept = outcome.as_ref().and_then(|outcome| outcome.kept);
    let origin = kept.map_or_else(|| outcome.as_ref().and_then(|outcome| outcome.origin), |kept| kept.origin);
    let reply = outcome.and_then(|outcome| outcome.reply);
    let message = reply.map(|reply| Message::from_vec(&reply)).transpose();
    let message = message.map_err(|error| internal(format!("the reply cannot be read: {error}")))?;
    let snapshot = context.snapshot.load();
    let why = match (verdict, request.from) {
        (Some(Verdict::Forward(_)), _) => {
            [explain(&wire, &snapshot.catalog, &snapshot.answers), source_of(kept, origin)].join("\n")
        }
        (Some(Verdict::Reply(Scope::Refused, _)), Some(from)) if !may_ask(&context, from) => {
            format!("{from} is not in `[dns] allow_from`")
        }
        _ => explain(&wire, &snapshot.catalog, &snapshot.answers),
    };
    let scope = match verdict {
        Some(Verdict::Reply(scope, _)) => scope.label(),
        Some(Verdict::Forward(_)) if kept.is_some() => Scope::Cache.label(),
        Some(Verdict::Forward(_)) | None => "forwarded",
        Some(Verdict::Drop(_)) => "dropped",
    };
    Ok(Json(DnsQueryReport {
        name: name.to_ascii(),
        kind: kind.to_string(),
        scope: scope.to_owned(),
        rcode: message.as_ref().map(rcode_of),
        records: message.as_ref().map(records_of).unwrap_or_default(),
        why,
        upstream: origin.map(|origin| origin.upstream.to_string()),
        rtt_ms: origin.map(|origin| milliseconds(origin.took)),
        kept_seconds: kept.map(|kept| kept.seconds),
    }))
}

/// Where an answer to a forwarded question comes from.
fn source_of(kept: Option<Kept>, origin: Option<Origin>) -> String {
    let upstream = origin.map(|Origin { upstream, took }| (upstream, milliseconds(took)));
    match (kept, upstream) {
        (Some(Kept { seconds, .. }), Some((upstream, took))) => {
            format!("{upstream} answered in {took:.1} ms {seconds} s ago; `teal dns flush` forgets it")
        }
        (Some(Kept { seconds, .. }), None) => {
            format!("no upstream answered {seconds} s ago; `teal dns flush` forgets that")
        }
        (None, Some((upstream, took))) => format!("{upstream} answered in {took:.1} ms"),
        (None, None) => "no upstream answered".to_owned(),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn may_ask(context: &Context, from: IpAddr) -> bool {
    let snapshot = context.snapshot.load();
    let settings = &snapshot.catalog.settings;
    settings.dns.allow_from.permits(from, settings.vip.pool.0, &context.dns.dns.host.load())
}

/// By name, by number or as in RFC 3597 §5.
fn kind_of(text: &str) -> Result<RecordType, Failure> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").unwrap_or(&upper).parse::<u16>();
    match (RecordType::from_str(&upper), number) {
        (_, Ok(number)) => Ok(RecordType::from(number)),
        (Ok(kind), Err(_)) => Ok(kind),
        (Err(_), Err(_)) => Err(Failure::bad(format!("{text:?} is no type: write A, AAAA, SRV or TYPE65"))),
    }
}

fn packet_of(name: Name, kind: RecordType) -> Result<Vec<u8>, Failure> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message.edns = Some(Edns::new());
    message.to_vec().map_err(|error| Failure::bad(error.to_string()))
}

fn rcode_of(message: &Message) -> String {
    let code = u16::from(message.metadata.response_code);
    let known = crate::dns::Rcode::ALL.into_iter().find(|rcode| rcode.code() == code);
    known.map_or_else(|| format!("RCODE{code}"), |rcode| rcode.label().to_owned())
}

fn records_of(message: &Message) -> Vec<DnsRecordReport> {
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    let report = |section: &str, record: &Record| DnsRecordReport {
        section: section.to_owned(),
        name: record.name.to_ascii(),
        ttl: record.ttl,
        kind: record.record_type().to_string(),
        data: record.data.to_string(),
    };
    sections
        .into_iter()
        .flat_map(|(section, records)| records.iter().map(move |record| report(section, record)))
        .collect()
}
