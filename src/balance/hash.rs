//! Hashes that are the same on every host, in every version and after every restart: who is sent where
//! by them must not move when teal is updated.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

/// What is hashed. Each kind has a key of its own, so that a client's color says nothing about its
/// endpoint. Changing a number moves clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client = 1,
    Endpoint = 2,
    Color = 3,
}

/// `SipHash-1-3` with a fixed key (J.-P. Aumasson, D. J. Bernstein, "`SipHash`: a fast short-input PRF", 2012).
/// The key is no secret: a client that may choose its address may choose its endpoint, as with every hash
/// that many hosts agree on.
fn hasher(kind: Kind) -> SipHasher13 {
    SipHasher13::new_with_keys(0x7465_616c_7069_636b, kind as u64)
}

/// IPv4 and IPv4-mapped addresses are the same client.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Of a client, by its whole address without the port.
pub(super) fn of_client(ip: IpAddr) -> u64 {
    let mut hasher = hasher(Kind::Client);
    hasher.write(&octets(ip));
    hasher.finish()
}

/// Of an endpoint, by address and port.
pub(super) fn of_endpoint(address: SocketAddr) -> u64 {
    let mut hasher = hasher(Kind::Endpoint);
    hasher.write(&octets(address.ip()));
    hasher.write(&address.port().to_be_bytes());
    hasher.finish()
}

/// Of a color, by its name.
pub(super) fn of_color(name: &str) -> u64 {
    let mut hasher = hasher(Kind::Color);
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Spreads 64 bits: a bijection in which every bit of what comes in moves every bit of what comes out.
/// The finalizer of `SplitMix64` (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014; constants by D. Stafford, variant 13).
pub(super) fn spread(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers may never change: every host and every version agrees on them.
    #[test]
    fn hashes_are_the_same_everywhere_and_for_ever() {
        assert_eq!(of_client("192.0.2.7".parse().unwrap()), GOLDEN[0]);
        assert_eq!(of_client("::ffff:192.0.2.7".parse().unwrap()), GOLDEN[0]);
        assert_eq!(of_client("2001:db8::7".parse().unwrap()), GOLDEN[1]);
        assert_eq!(of_endpoint("10.0.0.11:5000".parse().unwrap()), GOLDEN[2]);
        assert_eq!(of_color("green"), GOLDEN[3]);
        assert_eq!(spread(1), GOLDEN[4]);
    }

    /// As an implementation in another language gives them.
    const GOLDEN: [u64; 5] = [
        6_227_483_673_373_906_392,
        9_034_249_747_195_191_930,
        6_072_233_515_121_924_613,
        1_392_071_076_249_403_383,
        6_238_072_747_940_578_789,
    ];
}
