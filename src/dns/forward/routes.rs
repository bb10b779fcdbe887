//! Which upstreams a name is asked of. Which domain it is in is found by the name table.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::health;
use super::policy::CANDIDATES_MAX;
use super::upstream::Upstream;
use crate::model::{self, DnsSettings, Domain, HostNetworks};
use crate::telemetry::Series;

/// Upstreams that may answer the same names, in the order of the configuration.
#[derive(Debug)]
pub struct Group {
    /// [`CANDIDATES_MAX`] at most.
    pub upstreams: Vec<Arc<Upstream>>,
}

impl Group {
    /// The numbers of those that may be asked, the best first.
    pub fn order(&self, now: Instant) -> Vec<u8> {
        let healths: Vec<_> = self.upstreams.iter().map(|upstream| upstream.health()).collect();
        health::order(healths.iter(), now)
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct Routes {
    /// For names in none of the domains.
    pub default: Option<Arc<Group>>,
    /// For names below each domain.
    pub domains: BTreeMap<Domain, Arc<Group>>,
    upstreams: HashMap<SocketAddr, Arc<Upstream>>,
}

/// What routes are made of.
pub struct Material<'a> {
    /// `[dns]`
    pub settings: &'a DnsSettings,
    /// The servers of the host's resolv.conf.
    pub system: &'a [SocketAddr],
    /// The host's own addresses.
    pub host: &'a HostNetworks,
    /// Where series of new upstreams go.
    pub series: &'a Arc<Series>,
}

/// An upstream that is teal itself, which is never asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own(pub SocketAddr);

impl Routes {
    /// Routes made anew. Upstreams that were there before are the same ones, with what is known about them.
    pub fn build(&self, material: &Material<'_>) -> (Self, Vec<Own>) {
        let mut next = Self::default();
        let mut own = Vec::new();
        let forward = &material.settings.forward;
        if !forward.upstreams.is_empty() {
            next.default = Some(self.group(&forward.upstreams, material, &mut next.upstreams, &mut own));
        }
        for (domain, upstreams) in &forward.domains {
            let group = self.group(upstreams, material, &mut next.upstreams, &mut own);
            next.domains.insert(domain.clone(), group);
        }
        for (address, upstream) in &self.upstreams {
            if !next.upstreams.contains_key(address) {
                upstream.retire();
            }
        }
        (next, own)
    }

    fn group(
        &self,
        choices: &[model::Upstream],
        material: &Material<'_>,
        upstreams: &mut HashMap<SocketAddr, Arc<Upstream>>,
        own: &mut Vec<Own>,
    ) -> Arc<Group> {
        let mut group: Vec<Arc<Upstream>> = Vec::new();
        let addresses = choices.iter().flat_map(|choice| match choice {
            model::Upstream::System => material.system.iter().map(|address| (*address, false)).collect(),
            model::Upstream::At(address) => vec![(*address, true)],
        });
        for (address, is_named) in addresses {
            if is_own(address, &material.settings.listen, material.host) {
                // A host that asks teal names it in its resolv.conf, as it should.
                own.extend(is_named.then_some(Own(address)));
            } else if group.len() < CANDIDATES_MAX && !group.iter().any(|known| known.address == address) {
                let upstream =
                    upstreams.entry(address).or_insert_with(|| match self.upstreams.get(&address) {
                        Some(known) => Arc::clone(known),
                        None => Upstream::new(address, material.series),
                    });
                group.push(Arc::clone(upstream));
            }
        }
        Arc::new(Group { upstreams: group })
    }

    /// The group for names of this domain, or of none.
    pub fn find(&self, domain: Option<&Domain>) -> Option<&Arc<Group>> {
        match domain {
            Some(domain) => self.domains.get(domain),
            None => self.default.as_ref(),
        }
    }

    /// All groups, with their domain where they have one.
    pub fn groups(&self) -> impl Iterator<Item = (Option<&Domain>, &Arc<Group>)> {
        let default = self.default.iter().map(|group| (None, group));
        default.chain(self.domains.iter().map(|(domain, group)| (Some(domain), group)))
    }

    /// The upstream at this address.
    pub fn upstream(&self, address: SocketAddr) -> Option<&Arc<Upstream>> {
        self.upstreams.get(&address)
    }
}

/// Whether teal listens at an address, by itself or by a wildcard.
fn is_own(address: SocketAddr, listen: &[SocketAddr], host: &HostNetworks) -> bool {
    let of_host = |ip: IpAddr| ip.is_loopback() || host.own.contains(&ip);
    listen.iter().any(|own| {
        own.port() == address.port()
            && (own.ip() == address.ip()
                || (own.ip().is_unspecified() && own.is_ipv4() == address.is_ipv4() && of_host(address.ip())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::settings;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The default group's upstreams, and who of those that were named is teal.
    fn built(
        upstreams: Vec<model::Upstream>,
        system: &[&str],
        listen: &[&str],
    ) -> (Vec<SocketAddr>, Vec<Own>) {
        let mut dns = settings().dns;
        dns.forward.upstreams = upstreams;
        dns.listen = listen.iter().map(|text| address(text)).collect();
        let system: Vec<SocketAddr> = system.iter().map(|text| address(text)).collect();
        let mut host = HostNetworks::default();
        host.own.insert([192, 0, 2, 1].into());
        let material =
            Material { settings: &dns, system: &system, host: &host, series: &Arc::new(Series::default()) };
        let (routes, own) = Routes::build(&Routes::default(), &material);
        let group = routes.find(None).unwrap();
        (group.upstreams.iter().map(|upstream| upstream.address).collect(), own)
    }

    #[test]
    fn teal_in_the_host_s_own_resolv_conf_is_left_out_and_is_no_mistake() {
        for listen in ["127.0.0.1:53", "0.0.0.0:53"] {
            let system = ["127.0.0.1:53", "192.0.2.53:53"];
            let (upstreams, own) = built(vec![model::Upstream::System], &system, &[listen]);
            assert_eq!(upstreams, [address("192.0.2.53:53")], "{listen}");
            assert!(own.is_empty(), "a host that asks teal names it there: {own:?}");
        }
    }

    #[test]
    fn teal_that_the_configuration_names_as_upstream_is_left_out_and_told() {
        let named = address("192.0.2.1:53");
        let (upstreams, own) = built(vec![model::Upstream::At(named)], &[], &["0.0.0.0:53"]);
        assert!(upstreams.is_empty());
        assert!(matches!(own[..], [Own(address)] if address == named), "{own:?}");
        // Another port is somebody else.
        let other = address("192.0.2.1:5353");
        let (upstreams, own) = built(vec![model::Upstream::At(other)], &[], &["0.0.0.0:53"]);
        assert_eq!((upstreams, own.len()), (vec![other], 0));
    }
}
