//! Who holds a port, where the kernel tells: the process behind a listening socket.
//!
//! Best effort, for messages to the operator only: other users' processes show their name but not
//! their sockets.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Name and pid of a process whose listening socket keeps `address` from being bound.
pub fn holder_of(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<u64> = tables.iter().flat_map(|table| listening_inodes(table, address)).collect();
    if inodes.is_empty() { None } else { owner_of(&inodes) }
}

/// Inodes of the sockets in a table of `/proc/net/tcp`'s form that listen at `address` or overlap it.
fn listening_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let bound = parse_address(local)?;
        (*state == LISTEN && overlaps(bound, address)).then(|| inode.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn overlaps(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let any = bound.ip().is_unspecified() || wanted.ip().is_unspecified();
    bound.port() == wanted.port() && (any || bound.ip().to_canonical() == wanted.ip().to_canonical())
}

/// `0100007F:1F90` is 127.0.0.1:8080: words of 32 bits in the host's byte order, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u32>> =
        (0..ip.len() / 8).map(|word| u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok()).collect();
    let ip = match *words? {
        [word] => IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes())),
        [a, b, c, d] => {
            let mut octets = [0; 16];
            for (place, word) in octets.chunks_exact_mut(4).zip([a, b, c, d]) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The first process found that has one of these sockets open.
fn owner_of(inodes: &[u64]) -> Option<String> {
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.parse::<u32>().ok()
    });
    for pid in pids {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let holds =
            descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
                target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target))
            });
        if holds {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_listening_port_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = holder_of(listener.local_addr().unwrap()).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listening_sockets_that_overlap_count() {
        let table = "  sl  local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 11 1\n\
            1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12 1\n\
            2: 0100007F:0050 0100007F:1111 01 00000000:00000000 00:00000000 00000000 0 0 13 1\n";
        let inodes = |address: &str| listening_inodes(table, address.parse().unwrap());
        assert_eq!(inodes("127.0.0.1:8080"), [11]);
        assert_eq!(inodes("127.0.0.2:8080"), [0u64; 0]);
        assert_eq!(inodes("127.80.0.9:80"), [12]);
        let v6 = "h\n0: 00000000000000000000000001000000:0050 0:0 0A 0:0 0:0 0 0 0 14 1\n";
        assert_eq!(listening_inodes(v6, "[::1]:80".parse().unwrap()), [14]);
    }
}
