//! Whose connections have a lane, by means of its own: the files and the open release, looked through each time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use teal::model::{ColorName, LaneMode, ServiceName};
use teal::state::release::Release;

use crate::oracle::ServiceOracle;

type Services = BTreeMap<ServiceName, ServiceOracle>;

/// The app's lanes and its release.
#[derive(Debug)]
pub struct LaneOracle {
    pub mode: LaneMode,
    pub open: Option<Release>,
}

impl LaneOracle {
    /// The color that a connection to `called` belongs to, because `client` is who it is.
    pub fn color(&self, services: &Services, client: IpAddr, called: &ServiceName) -> Option<ColorName> {
        let open = self.open.as_ref().filter(|_| self.mode != LaneMode::Off)?;
        let mut owners = BTreeSet::new();
        for (name, service) in services {
            for color in &service.config.colors {
                if color.endpoints.iter().any(|endpoint| endpoint.ip == client) {
                    owners.insert((name, &color.name));
                }
            }
        }
        let [(caller, color)] = Vec::from_iter(owners)[..] else { return None };
        let (from, to) = (open.member(caller)?, open.member(called)?);
        if !services[caller].config.depends_on.contains(called) {
            return None;
        }
        let color = match (*color == from.from, *color == from.to) {
            (true, _) => &to.from,
            (_, true) => &to.to,
            _ => return None,
        };
        services[called].color(color).map(|color| color.name.clone())
    }
}
