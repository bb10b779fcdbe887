//! Least connections: of two endpoints the one with fewer open connections for its weight.
//!
//! The power of two choices (M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE
//! Transactions on Parallel and Distributed Systems 12, 2001): close to looking at all of them, at the cost
//! of two, and without all threads and hosts running to the one that was idle when they looked.
//!
//! Which two is decided by the place that the connection took in its color's sequence, hashed with a seed
//! that differs from host to host. Nothing is random: the same places with the same open connections lead
//! to the same endpoints.

use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::spread;

/// The less busy of two.
#[derive(Debug)]
pub struct LeastConnections {
    field: Field,
    seed: u64,
}

/// Endpoints with the running sum of their weights, to draw one by weight.
#[derive(Debug)]
struct Field {
    ends: Box<[u32]>,
}

impl Field {
    fn new(weights: impl Iterator<Item = u32>) -> Self {
        let ends = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { ends: ends.collect() }
    }

    fn total(&self) -> u32 {
        self.ends.last().copied().unwrap_or_default()
    }

    fn start(&self, member: usize) -> u32 {
        member.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn weight(&self, member: usize) -> u32 {
        self.ends[member] - self.start(member)
    }

    /// Two different members, each by weight; the same one twice where there is no other. Not for an
    /// empty field.
    fn two(&self, bits: u64) -> (usize, usize) {
        let at = |point: u32| self.ends.partition_point(|end| *end <= point);
        let first = at(scale(bits >> 32, self.total()));
        let others = self.total() - self.weight(first);
        if others == 0 {
            return (first, first);
        }
        // A point of what is left when the first one is taken out.
        let point = scale(bits & 0xffff_ffff, others);
        let second = if point < self.start(first) { point } else { point + self.weight(first) };
        (first, at(second))
    }
}

/// 32 bits as a whole number below `bound` (D. Lemire, "Fast random integer generation in an interval",
/// 2019). With bounds far below 2³² what it is unfair by cannot be seen.
fn scale(bits: u64, bound: u32) -> u32 {
    u32::try_from((bits * u64::from(bound)) >> 32).expect("bits are below 2^32, so this is below the bound")
}

impl LeastConnections {
    /// Among endpoints with these weights (each above 0; the sum below 2³²). `None` when there is none.
    pub fn new(weights: &[u16], seed: u64) -> Option<Self> {
        let field = Field::new(weights.iter().map(|weight| u32::from(*weight)));
        (field.total() > 0).then_some(Self { field, seed: spread(seed) })
    }

    /// Takes the next place of the sequence that `places` counts.
    pub fn take(&self, places: &AtomicU64) -> u64 {
        places.fetch_add(1, Ordering::Relaxed)
    }

    /// The less busy of the two endpoints that `place` leads to, among those that are not `excluded`; `None`
    /// when all are. Looks at two endpoints, or at all of them when one of the two is excluded.
    ///
    /// `open` counts connections including those that are being connected: else a burst would run to the
    /// endpoint that was idle before it.
    pub fn endpoint(
        &self,
        place: u64,
        excluded: impl Fn(usize) -> bool,
        open: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let bits = spread(place ^ self.seed);
        let (first, second) = self.field.two(bits);
        if !excluded(first) && !excluded(second) {
            return Some(self.less_busy(first, second, open));
        }
        let left: Vec<usize> = (0..self.field.ends.len()).filter(|index| !excluded(*index)).collect();
        if left.is_empty() {
            return None;
        }
        let field = Field::new(left.iter().map(|index| self.field.weight(*index)));
        // Other bits: these ones are known to lead to somebody who is excluded.
        let (first, second) = field.two(spread(bits));
        Some(self.less_busy(left[first], left[second], open))
    }

    /// The one that will have fewer connections for its weight once it has this one; `first` in a tie.
    fn less_busy(&self, first: usize, second: usize, open: impl Fn(usize) -> u32) -> usize {
        let busy = |index| u64::from(open(index)) + 1;
        let weight = |index| u64::from(self.field.weight(index));
        if busy(second) * weight(first) < busy(first) * weight(second) { second } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens `connections` and keeps them; returns the open ones by endpoint.
    fn fill(weights: &[u16], connections: u32) -> Vec<u32> {
        let pick = LeastConnections::new(weights, 3).unwrap();
        let places = AtomicU64::new(0);
        let mut open = vec![0; weights.len()];
        for _ in 0..connections {
            let index = pick.endpoint(pick.take(&places), |_| false, |index| open[index]).unwrap();
            open[index] += 1;
        }
        open
    }

    #[test]
    fn connections_that_stay_spread_evenly() {
        for endpoints in [2usize, 3, 10, 100] {
            let open = fill(&vec![1; endpoints], u32::try_from(endpoints * 100).unwrap());
            let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
            assert!(*least >= 96 && *most <= 104, "{endpoints}: {open:?}");
        }
    }

    #[test]
    fn connections_that_stay_spread_by_weight() {
        let weights = [1, 2, 5, 12, 80];
        let open = fill(&weights, 10_000);
        for (open, weight) in open.iter().zip(weights) {
            let expected = u32::from(weight) * 100;
            assert!(open.abs_diff(expected) <= expected / 10, "weight {weight}: {open}");
        }
    }

    /// Every endpoint ends one connection per turn but one, which ends none.
    #[test]
    fn a_slow_endpoint_gets_less() {
        let pick = LeastConnections::new(&[1; 5], 0).unwrap();
        let places = AtomicU64::new(0);
        let (mut open, mut served) = ([0u32; 5], [0u32; 5]);
        for _ in 0..1000 {
            for _ in 0..4 {
                let index = pick.endpoint(pick.take(&places), |_| false, |index| open[index]).unwrap();
                open[index] += 1;
                served[index] += 1;
            }
            open.iter_mut().skip(1).for_each(|open| *open = open.saturating_sub(1));
        }
        let fast = served[1..].iter().min().unwrap();
        assert!(served[0] * 20 < *fast, "{served:?}");
    }

    #[test]
    fn all_pairs_come() {
        let field = Field::new([1, 2, 1].into_iter());
        let mut pairs = std::collections::BTreeSet::new();
        for place in 0..1000 {
            let (first, second) = field.two(spread(place));
            assert_ne!(first, second);
            pairs.insert((first, second));
        }
        assert_eq!(pairs.len(), 6);
        assert_eq!(Field::new([7].into_iter()).two(spread(1)), (0, 0));
    }

    #[test]
    fn who_is_excluded_leaves_its_share_to_all_others() {
        let pick = LeastConnections::new(&[1; 10], 1).unwrap();
        let places = AtomicU64::new(0);
        let mut open = [0u32; 10];
        for _ in 0..9_000 {
            let index = pick.endpoint(pick.take(&places), |index| index == 4, |index| open[index]).unwrap();
            open[index] += 1;
        }
        assert_eq!(open[4], 0);
        assert!(
            open.iter().enumerate().all(|(index, open)| index == 4 || (990..=1010).contains(open)),
            "{open:?}"
        );
    }

    #[test]
    fn the_same_places_lead_to_the_same_endpoints_and_hosts_differ() {
        let sequence = |seed| {
            let pick = LeastConnections::new(&[1; 50], seed).unwrap();
            (0..50).map(|place| pick.endpoint(place, |_| false, |_| 0).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }
}
