//! `[dns] upstreams`, `[dns.forward]` and their bounds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use super::address;
use super::diagnostic::{Diagnostic, Findings, quote};
use super::draft::SettingsDraft;
use super::keys;
use super::limits;
use super::scalar::{self, NameKind};
use super::walk::{Placed, Table, Value};
use crate::model::{AcceptRate, Domain, ForwardSettings, Upstream};

/// More would never be asked within the time that a client waits.
const UPSTREAMS_MAX: usize = 8;
const DOMAINS_MAX: usize = 1024;
const IN_FLIGHT_MAX: u32 = 65_535;
/// Where DNS servers listen (RFC 1035 §4.2).
const PORT: u16 = 53;
const SYSTEM: &str = "system";
const DOMAIN: NameKind<Domain> = NameKind { of: "the forwarded domain", parse: Domain::parse };

/// What holds where a configuration says nothing.
pub(super) fn default_settings() -> ForwardSettings {
    let rate = NonZeroU32::new(1000).map(|count| AcceptRate { count, per: Duration::from_secs(1) });
    ForwardSettings { upstreams: vec![Upstream::System], rate_per_source: rate, ..ForwardSettings::off() }
}

/// Reads the keys about forwarding out of `[dns]`.
pub(super) fn read(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let get = |name| table.get(&keys::DNS, name);
    if let Some(value) = get("upstreams") {
        let upstreams = upstreams(&value, draft, findings);
        draft.settings.dns.forward.upstreams = upstreams;
    }
    if let Some(domains) = get("forward").and_then(|value| value.table(findings)) {
        read_domains(&domains, draft, findings);
    }
    if let Some(max) =
        get("max_forwards").and_then(|value| scalar::bounded(&value, 1, IN_FLIGHT_MAX, findings))
    {
        draft.settings.dns.forward.max_in_flight = usize::try_from(max.value).unwrap_or(usize::MAX);
    }
    if let Some(value) = get("forward_rate_per_source") {
        let rate = &mut draft.settings.dns.forward.rate_per_source;
        *rate = limits::rate_over(*rate, &value, findings);
    }
}

fn read_domains(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let entries = table.entries("{ upstreams = [\"192.0.2.53\"] }");
    if let Some((key, _)) = entries.get(DOMAINS_MAX) {
        let title = format!("more than {DOMAINS_MAX} forwarded domains");
        findings.push(Diagnostic::error(title, key.place, "one too many").help("Leave some out."));
    }
    let mut domains = BTreeMap::new();
    for (key, value) in entries {
        let name = scalar::name(key, &DOMAIN, findings);
        let upstreams = domain(key, &value, draft, findings);
        let (Some(name), Some(upstreams)) = (name, upstreams) else { continue };
        let earlier = draft.forwarded.iter().find(|other| other.value == name.value);
        if let Some(earlier) = earlier {
            let title = format!("forwarded domain {} is defined twice", quote(key.value));
            findings.push(
                Diagnostic::error(title, key.place, "defined again here")
                    .also(earlier.place, "first defined here")
                    .help("Keep one of the two; case makes no difference."),
            );
            continue;
        }
        domains.insert(name.value.clone(), upstreams);
        draft.forwarded.push(name);
    }
    draft.settings.dns.forward.domains = domains;
}

fn domain(
    key: Placed<&str>,
    value: &Value<'_>,
    draft: &mut SettingsDraft,
    findings: &mut Findings,
) -> Option<Vec<Upstream>> {
    let table = value.table(findings)?;
    let inner = table.entries("").into_iter().find(|(_, value)| value.node().as_table().is_some());
    if let Some((inner, _)) = inner.filter(|_| table.get(&keys::FORWARD, "upstreams").is_none()) {
        // `[dns.forward.corp.example]` without quotes.
        let title = format!("the dots of the forwarded domain {} are not quoted", quote(key.value));
        let help = format!("Write `[dns.forward.\"{}.{}\"]`.", key.value, inner.value);
        return findings.report(Diagnostic::error(title, key.place, "only the first label").help(help));
    }
    table.check_keys(&keys::FORWARD, findings);
    let example = "Write for example `upstreams = [\"192.0.2.53\"]`.";
    let title = || format!("forwarded domain {} has no upstreams", quote(key.value));
    let Some(value) = table.get(&keys::FORWARD, "upstreams") else {
        if table.lacks(&keys::FORWARD, "upstreams") {
            findings.push(Diagnostic::missing(title(), key.place, "needs at least one").help(example));
        }
        return None;
    };
    if value.node().as_array().is_some_and(|items| items.is_empty()) {
        findings.push(Diagnostic::error(title(), value.place(), "needs at least one").help(example));
    }
    Some(upstreams(&value, draft, findings))
}

fn upstreams(value: &Value<'_>, draft: &mut SettingsDraft, findings: &mut Findings) -> Vec<Upstream> {
    let items = value.strings(UPSTREAMS_MAX, findings).unwrap_or_default();
    let mut seen = Vec::new();
    for text in items {
        let Some(upstream) = upstream(text, findings) else { continue };
        if seen.contains(&upstream) {
            let title = format!("upstream {} is listed twice", quote(text.value));
            let help = "Leave one of them out: the same server does not answer better twice.";
            findings.push(Diagnostic::error(title, text.place, "listed again here").help(help));
            continue;
        }
        seen.push(upstream);
        if let Upstream::At(address) = upstream {
            draft.upstreams.push(text.map(|_| address));
        }
    }
    seen
}

/// `"system"`, `ip` or `ip:port`.
fn upstream(text: Placed<&str>, findings: &mut Findings) -> Option<Upstream> {
    if text.value == SYSTEM {
        return Some(Upstream::System);
    }
    let parsed = text
        .value
        .parse::<SocketAddr>()
        .or_else(|_| text.value.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)));
    let help = "Write `\"system\"`, or the address of a DNS server: `192.0.2.53`, `192.0.2.53:5353`, \
                `2001:db8::1` or `[2001:db8::1]:5353`.";
    let label = match parsed {
        Ok(address) => match refuse(address) {
            None => return Some(Upstream::At(SocketAddr::new(address.ip().to_canonical(), address.port()))),
            Some(label) => label.to_owned(),
        },
        Err(_) => match keys::nearest(text.value, [SYSTEM].into_iter()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "not an address".to_owned(),
        },
    };
    let title = format!("{} cannot be an upstream", quote(text.value));
    findings.report(Diagnostic::error(title, text.place, label).help(help))
}

fn refuse(address: SocketAddr) -> Option<&'static str> {
    let ip = address.ip();
    if address.port() == 0 {
        Some("port 0 cannot be asked")
    } else if ip.is_unspecified() {
        Some("an address to listen at, not to ask")
    } else if ip.is_multicast() || address::is_broadcast(ip) {
        Some("not an address of a single host")
    } else {
        None
    }
}
