//! Which address leads where: derived from a snapshot alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::model::{ColorName, Port, ServiceName};
use crate::net::ListenOptions;
use crate::state::{ServiceState, Snapshot};

/// Where connections that arrive at one address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The service.
    pub service: ServiceName,
    /// Its port, by listening port.
    pub port: u16,
    /// Which kind of address it is.
    pub via: Via,
}

/// By which kind of address a connection came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// The service's VIP: the split decides, `allow_from` applies.
    Vip,
    /// An `expose` address: the split decides, everybody may come.
    Expose,
    /// A preview VIP: only this color, `allow_from` applies.
    Preview(ColorName),
}

/// What to listen for at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Where its connections go.
    pub route: Route,
    /// What accepted sockets inherit.
    pub options: ListenOptions,
}

/// Every address to listen at.
pub type Wanted = BTreeMap<SocketAddr, Want>;

/// Every address that `snapshot` wants listened at.
pub fn wanted(snapshot: &Snapshot) -> Wanted {
    let services = snapshot.services.values();
    services
        .flat_map(|service| service.ports.iter().flat_map(|port| wanted_by(service, &port.port)))
        .collect()
}

fn wanted_by(service: &ServiceState, port: &Port) -> Vec<(SocketAddr, Want)> {
    let want = |address, via| {
        let route = Route { service: service.service.name.clone(), port: port.listen, via };
        (address, Want { route, options: ListenOptions { keepalive: service.service.policy.keepalive } })
    };
    let at = |ip| SocketAddr::new(IpAddr::V4(ip), port.listen);
    let previews = service.previews.iter().zip(&service.service.colors);
    std::iter::once(want(at(service.vip), Via::Vip))
        .chain(previews.map(|(ip, color)| want(at(*ip), Via::Preview(color.name.clone()))))
        .chain(port.expose.iter().map(|address| want(*address, Via::Expose)))
        .collect()
}
