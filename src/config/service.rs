//! `[services.*]`: ports, VIP, dependencies and policy of a service.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::address;
use super::color;
use super::diagnostic::{Diagnostic, Findings, quote};
use super::draft::{PortDraft, PortSummary, ServiceDraft};
use super::keys;
use super::policy;
use super::scalar::{self, NameKind};
use super::source::Place;
use super::walk::{Placed, Table, Value};
use crate::model::{Port, PortName, ServiceName};

/// What a service looks like, in short.
const EXAMPLE: &str =
    "{ ports = [{ listen = 80 }], colors.blue = { weight = 100, endpoints = [\"10.0.0.11\"] } }";
const PORTS_MAX: usize = 64;
const EXPOSES_MAX: usize = 16;
const DEPENDENCIES_MAX: usize = 256;

pub(super) const SERVICE_NAME: NameKind<ServiceName> =
    NameKind { of: "the service", parse: ServiceName::parse };
const PORT_NAME: NameKind<PortName> = NameKind { of: "the port", parse: PortName::parse };

/// Reads `[services]` of one file, in the order of the file.
pub(super) fn read_all(root: &Table<'_>, findings: &mut Findings) -> Vec<ServiceDraft> {
    let Some(services) = root.table(&keys::ROOT, "services", findings) else { return Vec::new() };
    services.entries(EXAMPLE).into_iter().filter_map(|(name, value)| read(name, &value, findings)).collect()
}

fn read(name: Placed<&str>, value: &Value<'_>, findings: &mut Findings) -> Option<ServiceDraft> {
    let parsed = scalar::name(name, &SERVICE_NAME, findings);
    let table = value.table(findings)?;
    table.check_keys(&keys::SERVICE, findings);
    let get = |key| table.get(&keys::SERVICE, key);
    let (ports, summary) = match get("ports") {
        Some(value) => ports(name, &value, findings),
        None if table.lacks(&keys::SERVICE, "ports") => {
            findings.report(no_ports(name, name.place)).unwrap_or_default()
        }
        None => Default::default(),
    };
    let colors = match get("colors") {
        Some(value) => color::read_all(name, &value, summary, findings),
        None if table.lacks(&keys::SERVICE, "colors") => {
            findings.report(color::no_colors(name)).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let vip = get("vip").and_then(|value| vip(&value, findings));
    let depends_on =
        get("depends_on").map_or_else(Vec::new, |value| service_names(&value, DEPENDENCIES_MAX, findings));
    let restrict_callers =
        get("restrict_callers").and_then(|value| Some(value.placed(value.boolean(findings)?)));
    let policy = policy::read(&table, &keys::SERVICE, findings);
    Some(ServiceDraft { name: parsed?, vip, ports, colors, depends_on, restrict_callers, policy })
}

fn no_ports(name: Placed<&str>, place: Place) -> Diagnostic {
    Diagnostic::missing(
        format!("service {} has no ports", quote(name.value)),
        place,
        "needs at least one port",
    )
    .help("Write for example `ports = [{ listen = 80, target = 5000 }]`.")
}

/// Names of services in a list, as `depends_on` and apps have them.
pub(super) fn service_names(
    value: &Value<'_>,
    items_max: usize,
    findings: &mut Findings,
) -> Vec<Placed<ServiceName>> {
    let items = value.strings(items_max, findings).unwrap_or_default();
    items.into_iter().filter_map(|item| scalar::name(item, &SERVICE_NAME, findings)).collect()
}

fn vip(value: &Value<'_>, findings: &mut Findings) -> Option<Placed<Ipv4Addr>> {
    let text = value.string(findings)?;
    if let Ok(address) = text.value.parse::<Ipv4Addr>() {
        return Some(text.map(|_| address));
    }
    let title = format!("{} is not a VIP", quote(text.value));
    findings.report(Diagnostic::error(title, text.place, "not an IPv4 address").help(
        "Write an IPv4 address of the pool, for example `vip = \"127.80.0.10\"`; without one teal chooses.",
    ))
}

/// The ports that could be read, and what the file means to have.
fn ports(service: Placed<&str>, value: &Value<'_>, findings: &mut Findings) -> (Vec<PortDraft>, PortSummary) {
    let Some(items) = value.list(PORTS_MAX, findings) else { return Default::default() };
    if items.is_empty() {
        return findings.report(no_ports(service, value.place())).unwrap_or_default();
    }
    let ports: Vec<_> = items.iter().filter_map(|item| port(item, findings)).collect();
    check_unique(&ports, findings);
    let only_target = ports.first().filter(|_| items.len() == 1).map(|port| port.port.target);
    (ports, PortSummary { count: Some(items.len()), only_target })
}

fn port(item: &Value<'_>, findings: &mut Findings) -> Option<PortDraft> {
    let table = item.table(findings)?;
    table.check_keys(&keys::PORT, findings);
    let get = |key| table.get(&keys::PORT, key);
    let listen = match get("listen") {
        Some(value) => scalar::port(&value, findings),
        None if !table.lacks(&keys::PORT, "listen") => None,
        None => findings.report(
            Diagnostic::missing("a port has no `listen`", table.place, "where do clients connect?")
                .help("Write for example `{ listen = 80, target = 5000 }`."),
        ),
    };
    let target = get("target").and_then(|value| scalar::port(&value, findings));
    let name = get("name")
        .and_then(|value| value.string(findings))
        .and_then(|text| scalar::name(text, &PORT_NAME, findings));
    let expose: Vec<_> = get("expose")
        .and_then(|value| value.strings(EXPOSES_MAX, findings))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| address::listener(item, findings))
        .collect();
    let listen = listen?;
    Some(PortDraft {
        port: Port {
            listen: listen.value,
            target: target.map_or(listen.value, |target| target.value),
            name: name.as_ref().map(|name| name.value.clone()),
            expose: expose.iter().map(|address| address.value).collect(),
        },
        listen_place: listen.place,
        name_place: name.map(|name| name.place),
        expose,
    })
}

fn check_unique(ports: &[PortDraft], findings: &mut Findings) {
    let mut listens = HashMap::new();
    let mut names = HashMap::new();
    for draft in ports {
        let listen = draft.port.listen;
        if let Some(first) = listens.insert(listen, draft.listen_place) {
            listens.insert(listen, first);
            findings.push(
                Diagnostic::error(
                    format!("port {listen} is listed twice in a service"),
                    draft.listen_place,
                    "listed again here",
                )
                .also(first, "first listed here")
                .help("Give each port of a service its own `listen`."),
            );
        }
        let (Some(name), Some(place)) = (&draft.port.name, draft.name_place) else { continue };
        if let Some(first) = names.insert(name, place) {
            names.insert(name, first);
            findings.push(
                Diagnostic::error(
                    format!("two ports of a service are named {}", quote(name.as_str())),
                    place,
                    "named again here",
                )
                .also(first, "first named here")
                .help("Give each port its own name: it is what SRV records are asked by."),
            );
        }
    }
}
