//! Source hash: every client has an endpoint of its own, by its address without the port.
//!
//! All hosts agree, also after a restart. Endpoints get clients by weight, however many connections those
//! open. An endpoint that leaves moves only its own clients; see `balance::rendezvous`.

use std::net::{IpAddr, SocketAddr};

use super::hash;
use super::rendezvous::Rendezvous;

/// Each client its own order of the endpoints.
#[derive(Debug)]
pub struct SourceHash {
    endpoints: Rendezvous,
}

impl SourceHash {
    /// Among endpoints with these addresses and weights (each above 0). `None` when there is none.
    pub fn new(endpoints: &[(SocketAddr, u16)]) -> Option<Self> {
        let members = endpoints.iter().map(|(address, weight)| (hash::of_endpoint(*address), *weight));
        (!endpoints.is_empty()).then(|| Self { endpoints: Rendezvous::new(members) })
    }

    /// What the client hashes to.
    pub fn take(&self, client: IpAddr) -> u64 {
        hash::of_client(client)
    }

    /// The first endpoint in the client's order that is not `excluded`; `None` when all are. So a retry
    /// goes where the client would go if the endpoint did not exist. Looks at every endpoint.
    pub fn endpoint(&self, client: u64, excluded: impl Fn(usize) -> bool) -> Option<usize> {
        self.endpoints.first(client, excluded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u16) -> Vec<(SocketAddr, u16)> {
        (0..count).map(|port| (SocketAddr::from(([10, 0, 0, 1], 5000 + port)), 1)).collect()
    }

    /// 10,000 clients, as they come: neighbours in four networks.
    fn clients() -> Vec<IpAddr> {
        (0..10_000u32)
            .map(|client| {
                IpAddr::from((0x0a00_0000 + (client / 2500 * 0x0001_0000) + client % 2500).to_be_bytes())
            })
            .collect()
    }

    fn address(endpoints: &[(SocketAddr, u16)], client: IpAddr) -> SocketAddr {
        let pick = SourceHash::new(endpoints).unwrap();
        endpoints[pick.endpoint(pick.take(client), |_| false).unwrap()].0
    }

    #[test]
    fn an_endpoint_that_leaves_moves_exactly_its_own_of_10000_clients() {
        let all = endpoints(10);
        let gone = all[3].0;
        let left: Vec<_> = all.iter().copied().filter(|(address, _)| *address != gone).collect();
        // The order in which a file names them does not matter.
        let left: Vec<_> = left.into_iter().rev().collect();
        let mut moved = Vec::new();
        for client in clients() {
            let (before, after) = (address(&all, client), address(&left, client));
            assert_eq!(before != after, before == gone, "{client}: {before} -> {after}");
            if before == gone {
                moved.push(after);
            }
        }
        assert_eq!(moved.len(), MOVED);
        for (address, _) in left {
            let share = moved.iter().filter(|to| **to == address).count();
            assert!((60..170).contains(&share), "{address} took {share} of {}", moved.len());
        }
    }

    /// How many clients the endpoint had that leaves; 1,000 is its share, 30 one standard deviation.
    const MOVED: usize = 1010;

    #[test]
    fn clients_spread_by_weight() {
        let weights = [1, 2, 4, 1000, 500];
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        let mut members = endpoints(5);
        members.iter_mut().zip(weights).for_each(|(member, weight)| member.1 = weight);
        let pick = SourceHash::new(&members).unwrap();
        let mut counts = [0u32; 5];
        for client in 0..200_000u32 {
            counts[pick.endpoint(pick.take(IpAddr::from(client.to_be_bytes())), |_| false).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(weight) / f64::from(total);
            let expected = 200_000.0 * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            assert!(
                (f64::from(*count) - expected).abs() < 4.0 * deviation,
                "{weight}: {count} of {expected}"
            );
        }
    }

    #[test]
    fn a_client_goes_to_the_same_endpoint_on_every_host_and_for_ever() {
        let all = endpoints(100);
        let ports: Vec<u16> = (1..=8u8).map(|host| address(&all, [192, 0, 2, host].into()).port()).collect();
        // As an implementation in another language gives them.
        assert_eq!(ports, [5077, 5033, 5033, 5084, 5008, 5093, 5097, 5011]);
    }

    #[test]
    fn a_retry_goes_where_the_client_would_go_without_the_endpoint() {
        let all = endpoints(20);
        let pick = SourceHash::new(&all).unwrap();
        for client in clients().into_iter().step_by(100) {
            let mut left = all.clone();
            let mut tried = Vec::new();
            while !left.is_empty() {
                let index = pick.endpoint(pick.take(client), |index| tried.contains(&index)).unwrap();
                assert_eq!(all[index].0, address(&left, client));
                tried.push(index);
                left.retain(|(address, _)| *address != all[index].0);
            }
        }
    }
}
