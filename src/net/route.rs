//! The local route that makes a pool of VIPs outside 127.0.0.0/8 addresses of this host.
//!
//! What `ip route add local POOL dev lo` does: the kernel then takes packets for every address of the
//! pool itself, and programs may listen there. The route is left in place when the daemon ends, so that
//! during a restart packets for VIPs do not follow the default route out of the host.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rustix::io::Errno;

use super::host::own_address;
use super::overlap::{Conflict, Known, KnownRoute, TABLE_LOCAL};
use super::rtnl::{self, RtnlError};
use crate::model::VipPool;

/// How the route came to be, or that none is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// It was added.
    Added,
    /// It was there before.
    AlreadyThere,
    /// The pool lies in 127.0.0.0/8.
    NotNeeded,
}

/// What came of taking the route away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It has been removed.
    Removed,
    /// There was none.
    NotThere,
}

/// Why there is no route. The operator can help in each case.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Some of the pool's addresses are in use.
    #[error(
        "the pool {pool} overlaps {conflict}: choose another [vip] pool, such as one inside 198.18.0.0/15 \
         or 127.0.0.0/8"
    )]
    Overlap {
        /// The pool.
        pool: Ipv4Net,
        /// What is in its way.
        conflict: Conflict,
    },
    /// The process may not change routes.
    #[error(
        "the capability CAP_NET_ADMIN is missing to {what} the local route of the pool {pool}. Three ways out: \
         run teal with that capability (systemd: AmbientCapabilities=CAP_NET_ADMIN); or let root do \
         `ip route {what} local {pool} dev lo`, as the packaged route unit does{more}"
    )]
    NotPermitted {
        /// The pool.
        pool: Ipv4Net,
        /// `add` or `del`.
        what: &'static str,
        /// The third way, where there is one.
        more: &'static str,
    },
    /// There is no loopback interface.
    #[error("no loopback interface is there to route the pool {pool} to")]
    NoLoopback {
        /// The pool.
        pool: Ipv4Net,
    },
    /// The kernel did not do as it was told.
    #[error("the local route of the pool {pool} is not set: {source}")]
    Kernel {
        /// The pool.
        pool: Ipv4Net,
        /// What it said.
        source: RtnlError,
    },
}

/// Sees to it that `pool` has its route. Needs no privilege if the route is there.
///
/// # Errors
/// The pool overlaps what is in use, or the kernel refuses.
pub async fn ensure(pool: VipPool) -> Result<RouteState, RouteError> {
    if pool.is_loopback() {
        return Ok(RouteState::NotNeeded);
    }
    let pool = pool.0.trunc();
    let failed = |source| RouteError::Kernel { pool, source };
    let (known, _) = look().await.map_err(failed)?;
    if known.has_route(pool) {
        return Ok(RouteState::AlreadyThere);
    }
    if let Some(conflict) = known.conflict(pool) {
        return Err(RouteError::Overlap { pool, conflict });
    }
    let loopback = known.loopback.ok_or(RouteError::NoLoopback { pool })?;
    let route = local_route(pool, loopback);
    match rtnl::ask(async |handle| handle.route().add(route).execute().await).await {
        Ok(()) => Ok(RouteState::Added),
        // Somebody was faster.
        Err(error) if error.errno() == Some(Errno::EXIST) => Ok(RouteState::AlreadyThere),
        Err(error) => Err(explain(pool, "add", error)),
    }
}

/// Takes the route of `pool` away, if it is there; not one that the kernel made for an address.
///
/// # Errors
/// The kernel refuses.
pub async fn remove(pool: VipPool) -> Result<Removal, RouteError> {
    if pool.is_loopback() {
        return Ok(Removal::NotThere);
    }
    let pool = pool.0.trunc();
    let failed = |source| RouteError::Kernel { pool, source };
    let (known, messages) = look().await.map_err(failed)?;
    let mut removal = Removal::NotThere;
    for message in messages {
        let Some(route) = known_route(&message) else { continue };
        let only = Known { routes: vec![route], loopback: known.loopback, ..Known::default() };
        if !only.has_route(pool) || message.header.protocol == RouteProtocol::Kernel {
            continue;
        }
        match rtnl::ask(async |handle| handle.route().del(message).execute().await).await {
            Ok(()) => removal = Removal::Removed,
            // Somebody was faster.
            Err(error) if error.errno() == Some(Errno::SRCH) => {}
            Err(error) => return Err(explain(pool, "del", error)),
        }
    }
    Ok(removal)
}

fn explain(pool: Ipv4Net, what: &'static str, source: RtnlError) -> RouteError {
    if source.errno() != Some(Errno::PERM) {
        return RouteError::Kernel { pool, source };
    }
    let more =
        if what == "add" { "; or choose a [vip] pool inside 127.0.0.0/8, which needs no route" } else { "" };
    RouteError::NotPermitted { pool, what, more }
}

fn local_route(pool: Ipv4Net, loopback: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(pool.network(), pool.prefix_len())
        .table_id(TABLE_LOCAL)
        .kind(RouteType::Local)
        .scope(RouteScope::Host)
        .protocol(RouteProtocol::Boot)
        .output_interface(loopback)
        .build()
}

async fn look() -> Result<(Known, Vec<RouteMessage>), RtnlError> {
    let (links, addresses, routes) = rtnl::ask(async |handle| {
        let links = rtnl::links(&handle).await?;
        Ok((links, rtnl::addresses(&handle).await?, rtnl::routes(&handle).await?))
    })
    .await?;
    let addresses = addresses.iter().filter_map(own_address).filter_map(|address| match address.net {
        IpNet::V4(net) => Some((address.interface, net)),
        IpNet::V6(_) => None,
    });
    let known = Known {
        routes: routes.iter().filter_map(known_route).collect(),
        addresses: addresses.collect(),
        devices: links.iter().filter_map(device_name).collect(),
        loopback: links.iter().find(|link| is_loopback(link)).map(|link| link.header.index),
    };
    Ok((known, routes))
}

fn is_loopback(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Loopback)
}

fn device_name(link: &LinkMessage) -> Option<(u32, String)> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some((link.header.index, name.clone())),
        _ => None,
    })
}

fn known_route(message: &RouteMessage) -> Option<KnownRoute> {
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let mut table = u32::from(message.header.table);
    let mut device = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = *ip,
            RouteAttribute::Destination(_) => return None,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    Some(KnownRoute { net, table, device, kind: message.header.kind })
}
