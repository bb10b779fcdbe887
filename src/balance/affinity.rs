//! Affinity: every client has a color of its own, by its address without the port, instead of a turn of
//! the split.
//!
//! Colors get clients by weight, so the split is as exact as clients open equally many connections, and no
//! more. What it gives instead: while one color's weight grows, clients move to that color only, and never
//! back; a client of a color that loses its weight moves, nobody else does. See `balance::rendezvous`.
//!
//! The hash knows colors by name and nothing of services: a client is on the same side in all services
//! whose colors have the same names and weights, on every host.

use std::net::IpAddr;

use super::hash;
use super::rendezvous::Rendezvous;

/// The color of each client.
#[derive(Debug)]
pub struct SourceAffinity {
    colors: Rendezvous,
}

impl SourceAffinity {
    /// Between colors with these names and weights.
    pub fn new<'a>(colors: impl Iterator<Item = (&'a str, u16)>) -> Self {
        Self { colors: Rendezvous::new(colors.map(|(name, weight)| (hash::of_color(name), weight))) }
    }

    /// The client's color, as an index in the order given. `None` when all weights are 0.
    pub fn color(&self, client: IpAddr) -> Option<usize> {
        self.colors.first(hash::of_client(client), |_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 6] = ["amber", "blue", "cyan", "green", "red", "violet"];

    fn affinity(weights: &[u16]) -> SourceAffinity {
        SourceAffinity::new(NAMES.into_iter().zip(weights.iter().copied()))
    }

    /// 2,000 neighbours and their colors.
    fn colors(weights: &[u16]) -> Vec<Option<usize>> {
        let affinity = affinity(weights);
        (0..2000u32)
            .map(|client| affinity.color(IpAddr::from((0x0a01_0000 + client).to_be_bytes())))
            .collect()
    }

    #[test]
    fn a_client_has_the_same_color_on_every_host_and_for_ever() {
        let affinity = SourceAffinity::new([("blue", 50), ("green", 30), ("red", 20)].into_iter());
        let colors: Vec<_> =
            (1..=16u8).map(|host| affinity.color([192, 0, 2, host].into()).unwrap()).collect();
        // As an implementation in another language gives them.
        assert_eq!(colors, [0, 1, 0, 0, 0, 0, 0, 2, 1, 2, 2, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn clients_only_move_from_blue_to_green_as_green_grows() {
        let mut green = std::collections::BTreeSet::new();
        for step in 0..=100u16 {
            let colors = colors(&[0, 100 - step, 0, step]);
            let now: std::collections::BTreeSet<_> =
                (0..colors.len()).filter(|client| colors[*client] == Some(3)).collect();
            assert!(green.is_subset(&now), "somebody moved back at {step}");
            let expected = colors.len() * usize::from(step) / 100;
            // Four standard deviations of the worst case.
            assert!(now.len().abs_diff(expected) <= 90, "{step}: {} clients of {expected}", now.len());
            green = now;
        }
        assert_eq!(green.len(), 2000);
    }

    #[test]
    fn all_weights_zero_are_no_color() {
        assert_eq!(affinity(&[0, 0]).color([192, 0, 2, 1].into()), None);
    }

    #[test]
    fn a_color_says_nothing_about_the_endpoint() {
        let affinity = affinity(&[0, 1, 0, 1]);
        let endpoint = |port| (std::net::SocketAddr::from(([10, 0, 0, 1], port)), 1);
        let pick = super::super::SourceHash::new(&[endpoint(1), endpoint(2)]).unwrap();
        let mut counts = [0u32; 2];
        for client in (0..4000u32).map(|client| IpAddr::from(client.to_be_bytes())) {
            if affinity.color(client) == Some(1) {
                counts[pick.endpoint(pick.take(client), |_| false).unwrap()] += 1;
            }
        }
        assert!(counts[0].abs_diff(counts[1]) < 4 * 45, "{counts:?}");
    }

    proptest! {
        #[test]
        fn raising_a_weight_moves_clients_to_that_color_only(
            weights in prop::collection::vec(0u16..=1000, 2..=6),
            color in 0usize..6,
            more in 1u16..=1000,
        ) {
            let color = color % weights.len();
            let mut raised = weights.clone();
            raised[color] = (raised[color] + more).min(1000);
            for (before, after) in colors(&weights).into_iter().zip(colors(&raised)) {
                prop_assert!(before == after || after == Some(color));
                prop_assert!(after.is_none_or(|color| raised[color] > 0), "zero is zero");
            }
        }

        #[test]
        fn taking_a_weight_away_moves_the_clients_of_that_color_only(
            weights in prop::collection::vec(1u16..=1000, 2..=6),
            color in 0usize..6,
        ) {
            let color = color % weights.len();
            let mut less = weights.clone();
            less[color] = 0;
            for (before, after) in colors(&weights).into_iter().zip(colors(&less)) {
                prop_assert_eq!(before == after, before != Some(color));
            }
        }
    }
}
