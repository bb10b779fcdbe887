//! Who holds a port, where the kernel tells: the process behind a listening socket.
//!
//! Best effort, for messages to the operator only: other users' processes show their name but not
//! their sockets.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The state LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Name and pid of a process whose listening socket keeps `address` from being bound.
pub fn holder_of(address: SocketAddr) -> Option<String> {
    holders_of(&[address]).pop().flatten()
}

/// The same of several addresses, in their order: the kernel's tables and the processes are gone through once.
pub fn holders_of(addresses: &[SocketAddr]) -> Vec<Option<String>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let listening: Vec<_> = tables.iter().flat_map(|table| listening(table)).collect();
    let inodes: Vec<Vec<u64>> = addresses.iter().map(|address| in_the_way(&listening, *address)).collect();
    let owners = owners_of(inodes.iter().flatten().copied().collect());
    let owner = |inodes: Vec<u64>| inodes.iter().find_map(|inode| owners.get(inode).cloned());
    inodes.into_iter().map(owner).collect()
}

/// Addresses listened at and their sockets' inodes, of a table of `/proc/net/tcp`'s form.
fn listening(table: &str) -> Vec<(SocketAddr, u64)> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let bound = parse_address(local)?;
        (*state == LISTEN).then(|| Some((bound, inode.parse().ok()?))).flatten()
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Inodes of the sockets that overlap an address.
fn in_the_way(listening: &[(SocketAddr, u64)], address: SocketAddr) -> Vec<u64> {
    let overlapping = listening.iter().filter(|(bound, _)| overlaps(*bound, address));
    overlapping.map(|(_, inode)| *inode).collect()
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

/// Of each socket the first process found that has it open, by inode.
fn owners_of(mut wanted: HashSet<u64>) -> HashMap<u64, String> {
    let mut owners = HashMap::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.parse::<u32>().ok()
    });
    for pid in pids {
        if wanted.is_empty() {
            break;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let held: Vec<u64> = targets.filter_map(|target| wanted.take(&socket_inode(&target)?)).collect();
        if !held.is_empty() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let owner = format!("{} (pid {pid})", name.trim());
            owners.extend(held.into_iter().map(|inode| (inode, owner.clone())));
        }
    }
    owners
}

/// `socket:[11]` is the socket with inode 11.
fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_listening_port_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held = listener.local_addr().unwrap();
        let us = format!("(pid {})", std::process::id());
        let is_us = |holder: &Option<String>| holder.as_ref().is_some_and(|holder| holder.ends_with(&us));
        assert!(is_us(&holder_of(held)));
        // 127.0.0.1 is in nobody's way but its own.
        let other = SocketAddr::from(([127, 0, 0, 9], held.port()));
        let second = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holders = holders_of(&[held, other, second.local_addr().unwrap(), held]);
        assert!(is_us(&holders[0]) && is_us(&holders[2]) && is_us(&holders[3]), "{holders:?}");
        assert_eq!((holders.len(), &holders[1]), (4, &None));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listening_sockets_that_overlap_count() {
        let table = "  sl  local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 11 1\n\
            1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12 1\n\
            2: 0100007F:0050 0100007F:1111 01 00000000:00000000 00:00000000 00000000 0 0 13 1\n";
        let inodes = |address: &str| in_the_way(&listening(table), address.parse().unwrap());
        assert_eq!(inodes("127.0.0.1:8080"), [11]);
        assert_eq!(inodes("127.0.0.2:8080"), [0u64; 0]);
        assert_eq!(inodes("127.80.0.9:80"), [12]);
        let v6 = "h\n0: 00000000000000000000000001000000:0050 0:0 0A 0:0 0:0 0 0 0 14 1\n";
        assert_eq!(in_the_way(&listening(v6), "[::1]:80".parse().unwrap()), [14]);
    }
}
