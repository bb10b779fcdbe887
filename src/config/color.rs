//! `[services.*.colors.*]`: weights, endpoints and fallback.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address;
use super::diagnostic::{Diagnostic, Findings, quote};
use super::draft::{ColorDraft, PortSummary};
use super::keys;
use super::limits;
use super::scalar::{self, NameKind, Words};
use super::walk::{Placed, Value};
use crate::model::{ColorName, Endpoint, EndpointWeight, ProxyProtocol, Weight};

/// What a color looks like.
const EXAMPLE: &str = "{ weight = 100, endpoints = [\"10.0.0.11\"] }";
const COLORS_MAX: usize = 16;
const ENDPOINTS_MAX: usize = 4096;
/// Turns in one round of a color's endpoints at most, after division by what the weights have in common.
const TURNS_MAX: u64 = 65_536;

const COLOR_NAME: NameKind<ColorName> = NameKind { of: "the color", parse: ColorName::parse };

/// Reads the colors of a service with such ports.
pub(super) fn read_all(
    service: Placed<&str>,
    value: &Value<'_>,
    ports: PortSummary,
    findings: &mut Findings,
) -> Vec<ColorDraft> {
    let Some(table) = value.table(findings) else { return Vec::new() };
    let entries = table.entries(EXAMPLE);
    if entries.is_empty() {
        findings.push(no_colors(service));
    }
    if let Some((first_too_many, _)) = entries.get(COLORS_MAX) {
        let title = format!(
            "service {} has {} colors, at most {COLORS_MAX} are allowed",
            quote(service.value),
            entries.len()
        );
        findings.push(
            Diagnostic::error(title, first_too_many.place, "one too many").help("Leave some colors out."),
        );
    }
    let colors: Vec<_> =
        entries.into_iter().filter_map(|(name, value)| read(name, &value, ports, findings)).collect();
    check_names(&colors, findings);
    check_fallbacks(&colors, findings);
    colors
}

pub(super) fn no_colors(service: Placed<&str>) -> Diagnostic {
    let title = format!("service {} has no colors", quote(service.value));
    Diagnostic::missing(title, service.place, "needs at least one color").help(format!(
        "Write for example `[services.{}.colors.blue]` with `weight = 100` and `endpoints = [\"10.0.0.11\"]`.",
        service.value.escape_debug()
    ))
}

fn read(
    name: Placed<&str>,
    value: &Value<'_>,
    ports: PortSummary,
    findings: &mut Findings,
) -> Option<ColorDraft> {
    let parsed = scalar::name(name, &COLOR_NAME, findings);
    let table = value.table(findings)?;
    table.check_keys(&keys::COLOR, findings);
    let get = |key| table.get(&keys::COLOR, key);
    let weight = match get("weight") {
        Some(value) => color_weight(&value, findings),
        None if !table.lacks(&keys::COLOR, "weight") => None,
        None => findings.report(
            Diagnostic::missing(
                format!("color {} has no `weight`", quote(name.value)),
                name.place,
                "needs a weight",
            )
            .help("Write `weight = 100`, or `weight = 0` for a color that gets no new connection."),
        ),
    };
    let endpoints = match get("endpoints") {
        Some(value) => endpoints(name, &value, ports, findings),
        None if !table.lacks(&keys::COLOR, "endpoints") => Vec::new(),
        None => findings.report(no_endpoints(name, name.place)).unwrap_or_default(),
    };
    let fallback = get("fallback")
        .and_then(|value| value.string(findings))
        .and_then(|text| scalar::name(text, &COLOR_NAME, findings));
    let max_connections = get("max_connections").and_then(|value| limits::of_color(&value, findings));
    let proxy_protocol = get("proxy_protocol").and_then(|value| proxy_protocol(&value, findings));
    Some(ColorDraft { name: parsed?, weight, endpoints, fallback, max_connections, proxy_protocol })
}

fn proxy_protocol(value: &Value<'_>, findings: &mut Findings) -> Option<ProxyProtocol> {
    let now = &[("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2)), ("off", None)];
    scalar::word(value, &Words { now, later: &[] }, findings).flatten()
}

fn no_endpoints(color: Placed<&str>, place: super::source::Place) -> Diagnostic {
    let title = format!("color {} has no endpoints", quote(color.value));
    Diagnostic::missing(title, place, "needs at least one endpoint")
        .help("Write for example `endpoints = [\"10.0.0.11\"]`, or remove the color.")
}

fn color_weight(value: &Value<'_>, findings: &mut Findings) -> Option<Weight> {
    let number = value.integer(findings)?;
    Weight::new(number.value)
        .map_err(|error| {
            let title = format!("the weight of a color is out of range: {error}");
            findings.push(
                Diagnostic::error(title, number.place, format!("allowed: 0 to {}", Weight::MAX)).help(
                    "Weights are relative: 100 and 100 means half and half, 0 means no new connection.",
                ),
            );
        })
        .ok()
}

fn endpoint_weight(value: &Value<'_>, findings: &mut Findings) -> Option<EndpointWeight> {
    let number = value.integer(findings)?;
    EndpointWeight::new(number.value)
        .map_err(|error| {
            let title = format!("the weight of an endpoint is out of range: {error}");
            let help = if number.value == 0 {
                "To send an endpoint nothing, leave it out of the list."
            } else {
                "Weights are relative: an endpoint of weight 2 gets twice as much as one of weight 1."
            };
            findings.push(
                Diagnostic::error(title, number.place, format!("allowed: 1 to {}", EndpointWeight::MAX))
                    .help(help),
            );
        })
        .ok()
}

fn endpoints(
    color: Placed<&str>,
    value: &Value<'_>,
    ports: PortSummary,
    findings: &mut Findings,
) -> Vec<Placed<Endpoint>> {
    let Some(items) = value.list(ENDPOINTS_MAX, findings) else { return Vec::new() };
    if items.is_empty() {
        findings.push(no_endpoints(color, value.place()));
    }
    let endpoints: Vec<_> = items.iter().filter_map(|item| endpoint(item, ports, findings)).collect();
    check_endpoints_unique(&endpoints, ports, findings);
    let turns = turns(&endpoints);
    if turns > TURNS_MAX {
        let title = format!("the endpoint weights of color {} are too uneven", quote(color.value));
        findings.push(
            Diagnostic::error(
                title,
                value.place(),
                format!("{turns} turns in one round, at most {TURNS_MAX} are allowed"),
            )
            .help("Use smaller weights: 1, 2 and 4 instead of 250, 499 and 1000."),
        );
    }
    endpoints
}

fn endpoint(item: &Value<'_>, ports: PortSummary, findings: &mut Findings) -> Option<Placed<Endpoint>> {
    let (text, weight) = if item.node().is_table() {
        let table = item.table(findings)?;
        table.check_keys(&keys::ENDPOINT, findings);
        let weight = match table.get(&keys::ENDPOINT, "weight") {
            Some(value) => endpoint_weight(&value, findings),
            None => Some(EndpointWeight::ONE),
        };
        let Some(address) = table.get(&keys::ENDPOINT, "address") else {
            if !table.lacks(&keys::ENDPOINT, "address") {
                return None;
            }
            return findings.report(
                Diagnostic::missing("an endpoint has no `address`", table.place, "where does it listen?")
                    .help("Write for example `{ address = \"10.0.0.13\", weight = 2 }`."),
            );
        };
        (address.string(findings)?, weight)
    } else if item.node().is_str() {
        (item.string(findings)?, Some(EndpointWeight::ONE))
    } else {
        return item.wrong_type("an address or a table", findings);
    };
    let (ip, port) = address::endpoint(text, findings)?;
    if let (Some(port), Some(count @ 2..)) = (port, ports.count) {
        findings.push(port_of_several(text, ip, port, count));
        return None;
    }
    Some(text.map(|_| Endpoint { ip, port, weight: weight.unwrap_or(EndpointWeight::ONE) }))
}

fn port_of_several(text: Placed<&str>, ip: IpAddr, port: u16, count: usize) -> Diagnostic {
    let title = format!("endpoint {} has a port, but the service has {count} ports", quote(text.value));
    Diagnostic::error(title, text.place, "for which of the ports?").help(format!(
        "Write `\"{ip}\"` and say in `ports` where the backend listens, \
         for example `{{ listen = 80, target = {port} }}`."
    ))
}

fn check_endpoints_unique(endpoints: &[Placed<Endpoint>], ports: PortSummary, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for endpoint in endpoints {
        let address = (endpoint.value.ip, endpoint.value.port.or(ports.only_target));
        if let Some(first) = seen.insert(address, endpoint.place) {
            seen.insert(address, first);
            findings.push(
                Diagnostic::error(
                    "an endpoint is listed twice in a color",
                    endpoint.place,
                    "listed again here",
                )
                .also(first, "first listed here")
                .help(format!(
                    "List it once; for a larger share write `{{ address = \"{}\", weight = 2 }}`.",
                    shown(endpoint.value.ip, endpoint.value.port)
                )),
            );
        }
    }
}

fn shown(ip: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| ip.to_string(), |port| std::net::SocketAddr::new(ip, port).to_string())
}

/// Turns in one round: the sum of the weights, divided by what they have in common.
fn turns(endpoints: &[Placed<Endpoint>]) -> u64 {
    let weights = || endpoints.iter().map(|endpoint| u64::from(endpoint.value.weight.get()));
    let common = weights().fold(0, greatest_common_divisor);
    weights().sum::<u64>() / common.max(1)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn check_names(colors: &[ColorDraft], findings: &mut Findings) {
    let mut seen = HashMap::new();
    for color in colors {
        if let Some(first) = seen.insert(&color.name.value, color.name.place) {
            seen.insert(&color.name.value, first);
            let title = format!("color {} is defined twice", quote(color.name.value.as_str()));
            findings.push(
                Diagnostic::error(title, color.name.place, "differs only by upper and lower case")
                    .also(first, "first defined here")
                    .help("DNS compares names without case: keep one of the two."),
            );
        }
    }
}

fn check_fallbacks(colors: &[ColorDraft], findings: &mut Findings) {
    for color in colors {
        let Some(fallback) = &color.fallback else { continue };
        if fallback.value == color.name.value {
            let title = format!("color {} is its own fallback", quote(color.name.value.as_str()));
            findings.push(
                Diagnostic::error(title, fallback.place, "names itself")
                    .help("Name another color of the service, or leave `fallback` out."),
            );
        } else if !colors.iter().any(|other| other.name.value == fallback.value) {
            let names: Vec<_> = colors.iter().map(|other| other.name.value.as_str()).collect();
            let title = format!("fallback {} is not a color of this service", quote(fallback.value.as_str()));
            let label = keys::nearest(fallback.value.as_str(), names.iter().copied())
                .map_or_else(|| String::from("unknown color"), |name| format!("did you mean `{name}`?"));
            let others: Vec<_> = names
                .iter()
                .filter(|name| **name != color.name.value.as_str())
                .map(|name| format!("`{name}`"))
                .collect();
            let help = if others.is_empty() {
                String::from("The service has no other color: leave `fallback` out.")
            } else {
                format!("The other colors are: {}.", others.join(", "))
            };
            findings.push(Diagnostic::error(title, fallback.place, label).help(help));
        }
    }
}
