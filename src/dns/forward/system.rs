//! What the host's resolv.conf says (resolv.conf(5)). Pure: its text is an argument.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// The stubs of systemd-resolved (systemd-resolved.service(8)): whoever asks them asks through its rules,
/// which may well lead back to teal.
const STUBS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
const PORT: u16 = 53;
/// More are never asked.
const SERVERS_MAX: usize = super::policy::CANDIDATES_MAX;

/// The servers that `main`, the text of /etc/resolv.conf, names; in place of systemd-resolved's stub, those
/// of `uplink`, the file in which it keeps its own servers. Each once, in order. `index_of` knows the numbers
/// of interfaces.
pub fn servers(main: &str, uplink: &str, index_of: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for server in nameservers(main, &index_of) {
        if STUBS.contains(&server.ip()) {
            servers.extend(nameservers(uplink, &index_of).filter(|server| !STUBS.contains(&server.ip())));
        } else {
            servers.push(server);
        }
    }
    let mut seen = Vec::with_capacity(servers.len());
    for server in servers {
        if !seen.contains(&server) && seen.len() < SERVERS_MAX {
            seen.push(server);
        }
    }
    seen
}

/// Addresses after `nameserver`; what is no address of a host is left out, as resolvers do.
fn nameservers(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> impl Iterator<Item = SocketAddr> {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let addresses = values.filter_map(move |value| address(value, &index_of));
    addresses.filter(|address| !address.ip().is_unspecified())
}

/// An address, of IPv6 perhaps with a zone index (RFC 4007 §11).
fn address(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), PORT));
    }
    let (ip, interface) = text.split_once('%')?;
    let index = interface.parse().ok().or_else(|| index_of(interface))?;
    Some(SocketAddr::V6(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(main: &str, uplink: &str) -> Vec<String> {
        let index_of = |name: &str| (name == "eth0").then_some(2);
        servers(main, uplink, index_of).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nameservers_are_taken_in_order_and_once() {
        let main = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1 # first\n  nameserver\t2001:db8::1\n\
                    nameserver 192.0.2.1\nnameserver dns.example\nnameserver\nnameserver 0.0.0.0\nnameservers 192.0.2.8\n\
                    nameserver fe80::1%eth0\nnameserver fe80::1%7\nnameserver fe80::1%gone\noptions edns0\n";
        let expected = ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%2]:53", "[fe80::1%7]:53"];
        assert_eq!(text_of(main, "nameserver 192.0.2.7"), expected);
    }

    #[test]
    fn behind_the_stub_of_systemd_resolved_its_own_servers_count() {
        let uplink = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 127.0.0.53\n";
        assert_eq!(
            text_of("nameserver 127.0.0.53\noptions trust-ad\n", uplink),
            ["192.0.2.1:53", "192.0.2.2:53"]
        );
        assert_eq!(text_of("nameserver 127.0.0.54\nnameserver 192.0.2.3\n", ""), ["192.0.2.3:53"]);
        assert_eq!(text_of("", uplink), Vec::<String>::new());
    }

    #[test]
    fn a_flood_of_lines_gives_no_more_than_can_be_asked() {
        let many: Vec<_> = (0..100).map(|n| format!("nameserver 192.0.2.{n}")).collect();
        assert_eq!(text_of(&many.join("\n"), "").len(), SERVERS_MAX);
    }
}
