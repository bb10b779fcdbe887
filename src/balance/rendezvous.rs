//! Weighted rendezvous hashing: each client has its own order of the members, and goes to the first one.
//!
//! A client's score of a member is −ln(u)/w, where u in (0, 1) is a hash of both and w the member's weight;
//! the lowest score wins. −ln(u)/w is exponentially distributed with rate w, and of independent exponentials
//! each is the lowest with probability w/W, so clients spread by weight. A score depends on nothing but its
//! own member, hence:
//!
//! - a member that leaves moves its own clients only, and they spread over the others by weight;
//! - a member that comes, or whose weight rises, takes clients from others and moves none between them.
//!
//! D. G. Thaler, C. V. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions
//! on Networking 6 (1998); with weights: J. Resch, "New hashing algorithms for data storage", SNIA Storage
//! Developer Conference 2015; draft-ietf-bess-weighted-hrw.

use std::f64::consts::{LN_2, SQRT_2};

use super::hash::spread;

/// Members of which each client has its own order.
#[derive(Debug)]
pub(super) struct Rendezvous {
    members: Box<[Member]>,
}

#[derive(Debug)]
struct Member {
    hash: u64,
    /// 0: never chosen.
    weight: f64,
}

impl Rendezvous {
    /// Of members with these hashes and weights. Equal scores go to the one named first.
    pub(super) fn new(members: impl Iterator<Item = (u64, u16)>) -> Self {
        let members = members.map(|(hash, weight)| Member { hash, weight: f64::from(weight) });
        Self { members: members.collect() }
    }

    /// The member that is first in the client's order, of those with weight that are not `excluded`.
    /// Looks at all of them.
    pub(super) fn first(&self, client: u64, excluded: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = (f64::INFINITY, None);
        for (index, member) in self.members.iter().enumerate() {
            let uniform = uniform(spread(client ^ member.hash));
            // −ln(u) ≥ 1 − u, so most members need no logarithm; the factor outweighs all rounding.
            let beaten = (1.0 - uniform) * (1.0 - 1e-9) >= best.0 * member.weight;
            if beaten || member.weight <= 0.0 || excluded(index) {
                continue;
            }
            let score = minus_ln(uniform) / member.weight;
            if score < best.0 {
                best = (score, Some(index));
            }
        }
        best.1
    }
}

/// 52 of the bits as a number in (0, 1), without rounding.
fn uniform(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// −ln(u) for u in (0, 1), from additions, multiplications and divisions alone: IEEE 754 rounds those the
/// same way on every processor, while a library's logarithm may differ in its last bit between hosts.
/// Within 10⁻¹³ of the true value, relatively.
fn minus_ln(u: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = u.to_bits();
    let exponent = f64::from(u16::try_from(bits >> 52).expect("no sign: at most 11 bits")) - 1023.0;
    let mantissa = f64::from_bits(bits & MANTISSA | 1023 << 52);
    let (mantissa, exponent) =
        if mantissa > SQRT_2 { (mantissa / 2.0, exponent + 1.0) } else { (mantissa, exponent) };
    // ln m = 2·artanh(s), s = (m − 1)/(m + 1); |s| < 0.172, so nine terms do.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..9).rev().fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    -(exponent * LN_2 + 2.0 * s * series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_logarithm_is_one() {
        for step in 1..100_000u64 {
            for bits in [step << 12, !(step << 12), spread(step)] {
                let u = uniform(bits);
                assert!(u > 0.0 && u < 1.0);
                let (ours, exact) = (minus_ln(u), -u.ln());
                assert!((ours - exact).abs() <= exact * 1e-13, "-ln({u}) is {exact}, not {ours}");
                assert!(ours >= (1.0 - u) * (1.0 - 1e-9));
            }
        }
    }

    #[test]
    fn weight_zero_is_never_first() {
        let rendezvous = Rendezvous::new([(1, 0), (2, 1), (3, 0)].into_iter());
        assert!((0..1000).all(|client| rendezvous.first(spread(client), |_| false) == Some(1)));
        assert_eq!(rendezvous.first(7, |index| index == 1), None);
    }

    proptest! {
        /// Leaving moves only one's own, raising a weight moves only to oneself.
        #[test]
        fn nobody_else_moves(
            weights in prop::collection::vec(0u16..=1000, 2..=8),
            member in 0usize..8,
            raised in 0u16..=1000,
        ) {
            let member = member % weights.len();
            let hash = |index: usize| spread(index as u64 + 1);
            let of = |weights: &[u16]| {
                Rendezvous::new(weights.iter().enumerate().map(|(index, weight)| (hash(index), *weight)))
            };
            let before = of(&weights);
            let mut heavier = weights.clone();
            heavier[member] = heavier[member].saturating_add(raised).min(1000);
            let after = of(&heavier);
            for client in (0..500).map(|client| spread(client << 20)) {
                let first = before.first(client, |_| false);
                let without = before.first(client, |index| index == member);
                prop_assert!(first == Some(member) || first == without);
                let risen = after.first(client, |_| false);
                prop_assert!(risen == first || risen == Some(member), "{first:?} -> {risen:?}");
            }
        }
    }
}
