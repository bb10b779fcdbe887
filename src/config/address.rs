//! Addresses as written: sockets to listen at, endpoints, networks, who may enter.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::diagnostic::{Diagnostic, Findings, quote};
use super::keys;
use super::walk::{Placed, Value};
use crate::model::{AllowFrom, Source};

/// Sources in one `allow_from` at most.
const SOURCES_MAX: usize = 256;
/// Addresses to connect from at most.
const SOURCE_ADDRESSES_MAX: usize = 64;
/// The words of `allow_from`.
const SOURCE_WORDS: [(&str, Source); 4] = [
    ("loopback", Source::Loopback),
    ("host", Source::Host),
    ("bridges", Source::Bridges),
    ("private", Source::Private),
];

/// An address to listen at: `ip:port`. Port 0 means that the kernel chooses one.
pub(super) fn listener(text: Placed<&str>, findings: &mut Findings) -> Option<Placed<SocketAddr>> {
    let refused = match text.value.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_multicast() || is_broadcast(address.ip()) => {
            ("not an address of a host", format!("Write for example `127.0.0.1:{}`.", address.port()))
        }
        Ok(address) => return Some(text.map(|_| address)),
        Err(_) => listener_help(text.value),
    };
    let title = format!("{} is not an address to listen at", quote(text.value));
    findings.push(Diagnostic::error(title, text.place, refused.0).help(refused.1));
    None
}

fn listener_help(text: &str) -> (&'static str, String) {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let example = SocketAddr::new(ip, 8080);
        return ("the port is missing", format!("Write the address with its port, for example `{example}`."));
    }
    match text.rsplit_once(':') {
        Some(("", port)) if is_port(port) => {
            ("the address is missing", format!("Write `0.0.0.0:{port}` for every address of the host."))
        }
        Some(("localhost", port)) if is_port(port) => {
            ("a name, not an address", format!("Write `127.0.0.1:{port}`."))
        }
        Some(("*", port)) if is_port(port) => ("not an address", format!("Write `0.0.0.0:{port}`.")),
        Some((host, port)) if is_port(port) && is_hostname(host) => {
            ("a name, not an address", format!("Write the address itself, for example `127.0.0.1:{port}`."))
        }
        _ if names_a_port_out_of_range(text) => {
            ("the port is out of range", String::from("Ports are 0 to 65535; 0 lets the kernel choose one."))
        }
        _ => (
            "not an address with a port",
            String::from("Write for example `127.0.0.1:8080` or `[::1]:8080`."),
        ),
    }
}

/// Addresses of this host to connect from.
pub(super) fn sources(value: &Value<'_>, findings: &mut Findings) -> Option<Vec<IpAddr>> {
    let items = value.strings(SOURCE_ADDRESSES_MAX, findings)?;
    let mut seen: Vec<IpAddr> = Vec::new();
    for text in items {
        let label = match text.value.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() || is_broadcast(ip) => {
                "not an address of a host"
            }
            Ok(ip) if seen.contains(&ip) => "listed twice",
            Ok(ip) => {
                seen.push(ip);
                continue;
            }
            Err(_) => "not an IP address",
        };
        let title = format!("{} cannot be a source address", quote(text.value));
        let help = "List addresses that this host has, without ports, each once: for example `192.0.2.10`.";
        findings.push(Diagnostic::error(title, text.place, label).help(help));
    }
    Some(seen)
}

/// An endpoint: `ip`, or `ip:port`.
pub(super) fn endpoint(text: Placed<&str>, findings: &mut Findings) -> Option<(IpAddr, Option<u16>)> {
    let parsed = text
        .value
        .parse::<SocketAddr>()
        .map(|address| (address.ip(), Some(address.port())))
        .or_else(|_| text.value.parse::<IpAddr>().map(|ip| (ip, None)));
    let (label, help) = match parsed {
        Ok((ip, port)) => match refuse_endpoint(ip, port) {
            None => return Some((ip.to_canonical(), port)),
            Some(refused) => refused,
        },
        Err(_) => endpoint_help(text.value),
    };
    let title = format!("{} is not the address of an endpoint", quote(text.value));
    findings.push(Diagnostic::error(title, text.place, label).help(help));
    None
}

fn refuse_endpoint(ip: IpAddr, port: Option<u16>) -> Option<(&'static str, String)> {
    let help = "Write the address where the backend listens, for example `10.0.0.11`.";
    if port == Some(0) {
        return Some(("port 0 cannot be connected to", String::from("Ports are 1 to 65535.")));
    }
    if ip.is_unspecified() {
        return Some(("an address to listen at, not to connect to", help.into()));
    }
    (ip.is_multicast() || is_broadcast(ip)).then(|| ("not an address of a single host", help.into()))
}

fn endpoint_help(text: &str) -> (&'static str, String) {
    if let Some((_, path)) = text.split_once("://") {
        let path = path.trim_end_matches('/');
        return (
            "a URL, not an address",
            format!("Write the address alone, for example `{path}` if that is one."),
        );
    }
    if names_a_port_out_of_range(text) {
        return ("the port is out of range", "Ports are 1 to 65535.".into());
    }
    let host = text.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(text, |(host, _)| host);
    if is_hostname(host) && host.chars().any(|c| c.is_ascii_alphabetic()) {
        let help = "Endpoints are addresses; hostnames are out of scope. \
             Write the address, for example `10.0.0.11`.";
        return ("a hostname, not an address", help.into());
    }
    if host.contains(':') {
        return (
            "not a valid address",
            "IPv6 addresses look like `fd00::1`, with a port `[fd00::1]:80`.".into(),
        );
    }
    (
        "not a valid address",
        "Write for example `10.0.0.11`, or `10.0.0.11:8080` in a service of one port.".into(),
    )
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// An address and a number that is too large for a port.
fn names_a_port_out_of_range(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        number && !is_port(port) && format!("{host}:1").parse::<SocketAddr>().is_ok()
    })
}

fn is_hostname(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

pub(super) fn is_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Who may enter: words and networks.
pub(super) fn allow_from(value: &Value<'_>, findings: &mut Findings) -> Option<AllowFrom> {
    let items = value.strings(SOURCES_MAX, findings)?;
    let sources: Vec<_> = items.iter().filter_map(|item| source(*item, findings)).collect();
    (sources.len() == items.len()).then_some(AllowFrom(sources))
}

fn source(text: Placed<&str>, findings: &mut Findings) -> Option<Source> {
    if let Some((_, source)) = SOURCE_WORDS.iter().find(|(word, _)| *word == text.value) {
        return Some(*source);
    }
    if let Ok(ip) = text.value.parse::<IpAddr>() {
        return Some(Source::Network(IpNet::from(ip)));
    }
    let Ok(network) = text.value.parse::<IpNet>() else {
        let title = format!("{} is no group of sources", quote(text.value));
        let meant = keys::nearest(text.value, SOURCE_WORDS.iter().map(|(word, _)| *word));
        let label = meant.map_or_else(
            || "neither a known word nor a network".into(),
            |word| format!("did you mean `{word}`?"),
        );
        let help = "Write `loopback`, `host`, `bridges`, `private`, or a network such as `192.0.2.0/24`.";
        findings.push(Diagnostic::error(title, text.place, label).help(help));
        return None;
    };
    if network.addr() != network.network() {
        findings.push(host_bits(text, &network.trunc()));
        return None;
    }
    Some(Source::Network(network))
}

fn host_bits(text: Placed<&str>, network: &IpNet) -> Diagnostic {
    let title = format!("{} is an address inside a network, not a network", quote(text.value));
    Diagnostic::error(title, text.place, "has bits set after the prefix").help(format!("Write `{network}`."))
}

/// An IPv4 network.
pub(super) fn ipv4_network(text: Placed<&str>, findings: &mut Findings) -> Option<Placed<Ipv4Net>> {
    const HELP: &str = "Write for example `127.80.0.0/16` or `198.18.0.0/16`.";
    let refused = match text.value.parse::<IpNet>() {
        Ok(IpNet::V4(network)) if network.addr() == network.network() => return Some(text.map(|_| network)),
        Ok(IpNet::V4(network)) => host_bits(text, &IpNet::V4(network.trunc())),
        Ok(IpNet::V6(_)) => {
            let title = format!("{} is an IPv6 network", quote(text.value));
            Diagnostic::error(title, text.place, "VIPs are IPv4").help(HELP)
        }
        Err(_) => {
            let title = format!("{} is not a network", quote(text.value));
            Diagnostic::error(title, text.place, "not an address with a prefix length").help(HELP)
        }
    };
    findings.push(refused);
    None
}
