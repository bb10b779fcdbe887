//! This host's own addresses and the subnets of its bridges, followed as they come and go.
//!
//! `daemon` runs [`follow`]; DNS and proxy read the result where `allow_from` says `host` or `bridges`.
//! Nothing here decides who may enter: that is [`AllowFrom`](crate::model::AllowFrom)'s.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use ipnet::IpNet;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use tokio_util::sync::CancellationToken;

use super::rtnl::{self, RtnlError};
use crate::model::HostNetworks;

/// Events that arrive within this time are answered by one look: starting a container makes dozens.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Before netlink is tried again after it failed.
const RETRY: Duration = Duration::from_secs(30);

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    /// The interface, as the kernel numbers them.
    pub interface: u32,
    /// The address and its subnet.
    pub net: IpNet,
}

/// What follows from the interfaces' addresses, and the numbers of those that are bridges.
///
/// Link-local subnets of IPv6 are left out: every link has the same one, so that a bridge's would let
/// in whoever is on any link.
pub fn networks(bridges: &BTreeSet<u32>, addresses: &[HostAddress]) -> HostNetworks {
    let subnets: BTreeSet<IpNet> = addresses
        .iter()
        .filter(|address| bridges.contains(&address.interface))
        .map(|address| address.net.trunc())
        .filter(|net| net.prefix_len() > 0 && !is_link_local_v6(net))
        .collect();
    HostNetworks {
        own: addresses.iter().map(|address| address.net.addr()).collect(),
        bridges: subnets.into_iter().collect(),
    }
}

fn is_link_local_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.network().is_unicast_link_local())
}

/// Asks the kernel once.
///
/// # Errors
/// Netlink is not permitted or failed.
pub async fn look() -> Result<HostNetworks, RtnlError> {
    let (links, addresses) =
        rtnl::ask(async |handle| Ok((rtnl::links(&handle).await?, rtnl::addresses(&handle).await?))).await?;
    let bridges = links.iter().filter(|link| is_bridge(link)).map(|link| link.header.index).collect();
    let addresses: Vec<_> = addresses.iter().filter_map(own_address).collect();
    Ok(networks(&bridges, &addresses))
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)))
        }
        _ => false,
    })
}

/// The address of this host in a message: on a point-to-point link `Address` is the peer's.
pub(super) fn own_address(message: &AddressMessage) -> Option<HostAddress> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let address = find(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(HostAddress { interface: message.header.index, net })
}

/// Keeps `networks` up to date until `stop` is cancelled. Where netlink is not permitted or fails, this
/// is logged once, `networks` stays as it is (only `loopback`, the pool and CIDRs then let anybody in),
/// and netlink is tried again every 30 s.
pub async fn follow(networks: Arc<ArcSwap<HostNetworks>>, stop: CancellationToken) {
    let mut told = Told::No;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            failure = follow_until_failure(&networks, &mut told) => warn(&failure, &mut told),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Whether the operator knows of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

fn warn(failure: &RtnlError, told: &mut Told) {
    if *told == Told::No {
        tracing::warn!(
            error = %failure,
            "addresses and bridges of this host cannot be followed: `host` and `bridges` in allow_from \
             cover only what was known before; `loopback` and networks in CIDR form work"
        );
    }
    *told = Told::Yes;
}

async fn follow_until_failure(networks: &ArcSwap<HostNetworks>, told: &mut Told) -> RtnlError {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _handle, mut events) = match rtnetlink::new_multicast_connection(&groups) {
        Ok(opened) => opened,
        Err(error) => return RtnlError::Socket(error),
    };
    let looking = pin!(async {
        loop {
            match look().await {
                Ok(seen) => store(networks, seen),
                Err(error) => return error,
            }
            *told = Told::No;
            // Whatever the event is, also that some were lost (ENOBUFS), we look again.
            if events.next().await.is_none() {
                return RtnlError::Ended;
            }
            tokio::time::sleep(DEBOUNCE).await;
            while let Ok(_event) = events.try_recv() {}
        }
    });
    match select(looking, pin!(connection)).await {
        Either::Left((error, _)) => error,
        Either::Right(((), _)) => RtnlError::Ended,
    }
}

fn store(networks: &ArcSwap<HostNetworks>, seen: HostNetworks) {
    if **networks.load() == seen {
        return;
    }
    tracing::debug!(own = seen.own.len(), bridges = ?seen.bridges, "this host's networks have changed");
    networks.store(Arc::new(seen));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: u32, net: &str) -> HostAddress {
        HostAddress { interface, net: net.parse().unwrap() }
    }

    #[test]
    fn own_addresses_are_all_and_subnets_only_those_of_bridges() {
        let addresses = [
            address(1, "127.0.0.1/8"),
            address(2, "192.0.2.7/24"),
            address(3, "172.17.0.1/16"),
            address(3, "fd00:1::1/64"),
            address(3, "fe80::1/64"),
        ];
        let seen = networks(&BTreeSet::from([3]), &addresses);
        assert_eq!(seen.own.len(), 5);
        let subnets: Vec<_> = seen.bridges.iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["172.17.0.0/16", "fd00:1::/64"]);
    }

    #[test]
    fn two_addresses_of_one_subnet_make_one_and_no_bridge_lets_everybody_in() {
        let addresses = [address(3, "10.0.0.1/24"), address(3, "10.0.0.2/24"), address(4, "10.9.0.1/0")];
        let seen = networks(&BTreeSet::from([3, 4]), &addresses);
        assert_eq!(seen.bridges, ["10.0.0.0/24".parse::<IpNet>().unwrap()]);
    }

    #[test]
    fn of_a_point_to_point_link_the_own_end_counts() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Address("10.0.0.2".parse().unwrap()),
            AddressAttribute::Local("10.0.0.1".parse().unwrap()),
        ];
        assert_eq!(own_address(&message), Some(address(0, "10.0.0.1/32")));
        assert_eq!(own_address(&AddressMessage::default()), None);
    }
}
