//! The source ports that the kernel has for outgoing connections.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Which ports there are, and whether those in `TIME_WAIT` count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePorts {
    range: RangeInclusive<u16>,
    /// How many of the range may be used.
    count: u32,
    reuse: Reuse,
}

/// `net.ipv4.tcp_tw_reuse`: whether a port whose connection ended may be taken after a second already, instead of
/// a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Never,
    Always,
    Loopback,
}

/// What the kernel has unless somebody says otherwise (ip(7)).
const DEFAULT: (u16, u16) = (32_768, 60_999);

impl SourcePorts {
    /// As the kernel says now; its defaults where it does not.
    pub fn read() -> Self {
        let read = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        Self::parse(&read("ip_local_port_range"), &read("ip_local_reserved_ports"), &read("tcp_tw_reuse"))
    }

    /// From what the kernel's files say.
    pub fn parse(range: &str, reserved: &str, reuse: &str) -> Self {
        let mut bounds = range.split_ascii_whitespace().map_while(|bound| bound.parse::<u16>().ok());
        let known = bounds.next().zip(bounds.next());
        let (first, last) = known.unwrap_or(DEFAULT);
        let is_reserved = |port: u16| {
            reserved.trim().split(',').any(|part| {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                low.parse().is_ok_and(|low| port >= low) && high.parse().is_ok_and(|high| port <= high)
            })
        };
        let count = (first..=last).filter(|port| !is_reserved(*port)).count();
        let reuse = match reuse.trim() {
            "0" => Reuse::Never,
            "1" => Reuse::Always,
            _ => Reuse::Loopback,
        };
        // Where nothing is known, any port may be one.
        let range = known.map_or(1..=u16::MAX, |(first, last)| first..=last);
        Self { range, count: u32::try_from(count).unwrap_or_default(), reuse }
    }

    /// How many a source address has towards one endpoint.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the kernel may give this port to an outgoing connection.
    pub fn contains(&self, port: u16) -> bool {
        self.range.contains(&port)
    }

    /// Whether a port stays taken for a minute once its connection to this address has ended.
    pub fn keeps_waiting(&self, to: IpAddr) -> bool {
        match self.reuse {
            Reuse::Never => true,
            Reuse::Always => false,
            Reuse::Loopback => !to.is_loopback(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_none_and_reuse_is_as_the_kernel_says() {
        let ports = SourcePorts::parse("40000\t40099\n", "8080,40010-40019,40050\n", "2\n");
        assert_eq!((ports.count(), ports.contains(40_099), ports.contains(40_100)), (89, true, false));
        let (near, far): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [10, 0, 0, 1].into());
        assert_eq!((ports.keeps_waiting(near), ports.keeps_waiting(far)), (false, true));
        let defaults = SourcePorts::parse("", "", "");
        assert_eq!(defaults.count(), 28_232);
        for (text, waits) in [("0", true), ("1", false)] {
            assert_eq!(SourcePorts::parse("", "\n", text).keeps_waiting(far), waits);
        }
    }
}
