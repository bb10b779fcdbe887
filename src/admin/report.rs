//! What the API answers, as JSON. The command line reads the same types.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `GET /v1/status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Whole seconds since it started.
    pub uptime_seconds: u64,
    /// `starting`, `ready` or `stopping`.
    pub phase: String,
    /// What it runs with.
    pub configuration: ConfigurationReport,
    /// Where it answers names.
    pub dns: DnsReport,
    /// Where it serves `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// Where VIPs come from.
    pub vip_pool: String,
    /// All of the process.
    pub connections: ConnectionsReport,
    /// What needs the operator.
    pub problems: Vec<ProblemReport>,
    /// In order of name.
    pub services: Vec<ServiceReport>,
    /// What drains, in order of service, color and endpoint; also of what is no longer configured.
    #[serde(default)]
    pub drains: Vec<DrainReport>,
}

/// The configuration in effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// The file or folder.
    pub path: PathBuf,
    /// Hash of the text in effect.
    pub hash: String,
    /// Hash of that and of the baseline: equal on hosts that would do the same without overrides.
    pub baseline_hash: String,
    /// Whether this is the last good configuration because the one on disk was broken at start.
    pub degraded: bool,
    /// Counts snapshots, from 1.
    pub generation: u64,
    /// The last reload, if there was one.
    pub last_reload: Option<ReloadReport>,
}

/// DNS addresses and zones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsReport {
    /// Over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The first is primary.
    pub zones: Vec<String>,
    /// Who is asked for names of others, in the order of the configuration.
    #[serde(default)]
    pub upstreams: Vec<UpstreamReport>,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamReport {
    /// Where it is.
    pub address: SocketAddr,
    /// The domain that it is asked for; absent for all names that have no upstreams of their own.
    pub domain: Option<String>,
    /// `up`, `down` after failures in a row, or `looping` when it sends questions back to teal.
    pub state: String,
    /// The smoothed time of its answers, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What went wrong last, and when.
    pub last_error: Option<String>,
}

/// Connections of the whole process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionsReport {
    /// Open now, those that wait for a backend included.
    pub open: usize,
    /// The limit.
    pub max: usize,
}

/// Something that needs the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemReport {
    /// With what.
    pub subject: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// What its name answers with.
    pub vip: Ipv4Addr,
    /// The app that it is a member of.
    pub app: Option<String>,
    /// What chooses the color of a client instead of the split: `source_ip`. The split is then by client,
    /// and exact no more.
    pub affinity: Option<String>,
    /// What came by lanes; absent while none leads here.
    #[serde(default)]
    pub lanes: Option<LanesReport>,
    /// Its ports.
    pub ports: Vec<PortReport>,
    /// Its colors, in order of name.
    pub colors: Vec<ColorReport>,
}

/// Connections to a service while a release is open whose members call it, over all ports and colors. Numbers count
/// since the daemon started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanesReport {
    /// `prefer` or `require`.
    pub mode: String,
    /// Served on the caller's side.
    pub served: u64,
    /// Split, as nothing worked there.
    pub fallbacks: u64,
    /// Refused, as nothing worked there.
    pub refused: u64,
    /// Split, as nobody can say who called.
    pub ambiguous: u64,
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortReport {
    /// On the VIP.
    pub listen: u16,
    /// In SRV records.
    pub name: Option<String>,
    /// Further addresses.
    pub expose: Vec<SocketAddr>,
    /// Decisions of the split since the weights last changed; affinity's do not count.
    pub decided: u64,
}

/// One color of a service, all ports together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColorReport {
    /// Its name.
    pub name: String,
    /// In effect.
    pub weight: u16,
    /// What holds while nobody sets another: as configured, or as a confirmed release left it.
    pub baseline: u16,
    /// As configured.
    pub configured: u16,
    /// Where the weight in effect comes from: `file`, `baseline by WHO at WHEN because WHY`, or `override by ...`.
    pub origin: String,
    /// What `COLOR.SERVICE.ZONE` answers with.
    pub preview: Ipv4Addr,
    /// The color that takes over when all colors with weight are down.
    pub fallback: Option<String>,
    /// Decisions of the split or of affinity since the daemon started.
    pub decisions: u64,
    /// Connections served since the daemon started.
    pub served: u64,
    /// Open now.
    pub open: usize,
    /// Open now, with none to follow.
    pub draining: usize,
    /// Age of the oldest draining one.
    pub oldest_draining_seconds: Option<u64>,
    /// Where it is served.
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint of a color on one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// The listening port that it serves.
    pub port: u16,
    /// Its address.
    pub address: SocketAddr,
    /// Its share in the color.
    pub weight: u16,
    /// Connections open now.
    pub open: usize,
    /// `healthy`, `unhealthy`, `pending` until its first check, or `unchecked`.
    pub health: String,
    /// Who disabled it, when and why, if somebody did.
    #[serde(default)]
    pub disabled: Option<String>,
    /// Whether it is left out for a while, as connections to it failed.
    pub ejected: bool,
    /// Percent of its share that it gets, while that grows after it came into use.
    #[serde(default)]
    pub slow_start_percent: Option<u32>,
}

/// Connections of one endpoint on one port that no others follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainReport {
    /// The service, without the zone.
    pub service: String,
    /// The listening port.
    pub port: u16,
    /// The color.
    pub color: String,
    /// Where they are.
    pub endpoint: SocketAddr,
    /// `removed`, `disabled`, or `weight 0`, which ends no connection.
    pub why: String,
    /// How many are left; those that still connect count.
    pub left: usize,
    /// Age of the oldest one; absent while all of them connect.
    pub oldest_seconds: Option<u64>,
    /// When the rest is closed; absent when nobody does that.
    pub closed_in_seconds: Option<u64>,
}

/// `GET /v1/drains?service=SERVICE&color=COLOR&endpoint=ENDPOINT`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainsReport {
    /// What drains, in order of service, color and endpoint.
    pub drains: Vec<DrainReport>,
    /// Why nothing may drain although somebody expects it to: it is in use, or not configured.
    pub warning: Option<String>,
}

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// It is in effect.
    Applied,
    /// The text is the one in effect.
    Unchanged,
    /// It has errors; nothing changed.
    Rejected,
    /// It is valid, but this daemon will not do it; nothing changed.
    Refused,
}

impl ReloadResult {
    /// The value of the label `result`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
        }
    }
}

/// `POST /v1/reload`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What became of it.
    pub result: ReloadResult,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Hash of the text that was read; absent when it could not be read.
    pub hash: Option<String>,
    /// What changed, a line each.
    pub changes: Vec<String>,
    /// Warnings, a line each.
    pub warnings: Vec<String>,
    /// Why it was rejected or refused: the whole report.
    pub message: Option<String>,
}

/// `POST` and `DELETE /v1/services/SERVICE/weights`, `POST /v1/services/SERVICE/endpoints`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// What changed, a line each; nothing when everything was so already.
    pub changes: Vec<String>,
    /// What the operator probably does not want, a line each.
    pub warnings: Vec<String>,
    /// Why the journal does not say so yet, if it does not.
    pub unrecorded: Option<String>,
    /// Weights in effect now, by color.
    pub weights: BTreeMap<String, u16>,
}

/// `GET /v1/services/SERVICE/source`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The service, without the zone.
    pub service: String,
    /// The file that says the service's weights.
    pub path: PathBuf,
    /// The line of each color's weight, from 1.
    pub lines: BTreeMap<String, usize>,
    /// Weights in effect now, by color.
    pub weights: BTreeMap<String, u16>,
}

/// `GET /v1/journal`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalReport {
    /// The last records, the oldest first, as they are in the file.
    pub records: Vec<serde_json::Value>,
    /// Sequence number of the last verified record; 0 when there is none.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
    /// Records that were verified.
    pub verified: usize,
    /// What is wrong with the journal, if anything is.
    pub damage: Option<String>,
}

/// `GET /v1/releases`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleasesReport {
    /// In the order of their start.
    pub releases: Vec<crate::release::report::ReleaseReport>,
    /// What is frozen.
    pub freezes: Vec<FreezeReport>,
    /// Hash of the configuration and its baseline, to compare hosts by.
    pub baseline_hash: String,
}

/// Shifts that are frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FreezeReport {
    /// Of this app; of every one when absent.
    pub app: Option<String>,
    /// By whom.
    pub by: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why.
    pub why: String,
}

/// What was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// Why, and what to do.
    pub error: String,
}

/// `POST /v1/dns/flush`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsFlushReport {
    /// Answers that were forgotten.
    pub flushed: usize,
}

/// `POST /v1/dns/query`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsQueryReport {
    /// The name, with its last dot.
    pub name: String,
    /// The type that was asked for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the answer comes from: the label `scope` of `teal_dns_queries_total`.
    pub scope: String,
    /// Absent where there was no answer.
    pub rcode: Option<String>,
    /// Of all sections, without the OPT.
    pub records: Vec<DnsRecordReport>,
    /// Why it is answered so.
    pub why: String,
    /// Who gave the answer, where an upstream did.
    pub upstream: Option<String>,
    /// How long that upstream took.
    pub rtt_ms: Option<f64>,
    /// How many seconds ago the answer was kept, where it comes out of the cache.
    pub kept_seconds: Option<u32>,
}

/// A record of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecordReport {
    /// `answer`, `authority` or `additional`.
    pub section: String,
    /// The owner.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The data, as in a zone file.
    pub data: String,
}
