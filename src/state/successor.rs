//! The snapshot that follows from a catalog: its addresses, its name table, and what is shared with the last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::answers::Answers;
use super::build::{Addresses, Parts, build_with};
use super::overrides::Overrides;
use super::releases::Releases;
use super::snapshot::Snapshot;
use super::vip::{Bounds, VipTable, Wanted};
use super::writer::{Base, Now};
use crate::model::{Catalog, Service, ServiceName};

/// The successor of `before`; its name table is the same where no name changed. `serial` is that of the
/// zones if one did.
pub(super) fn next_snapshot(
    catalog: Catalog,
    vips: &VipTable,
    base: &Base,
    ((overrides, releases), serial): ((&Overrides, &Arc<Releases>), u32),
    before: Option<&Snapshot>,
) -> Snapshot {
    let addresses = addresses(&catalog, vips);
    let same = before.filter(|before| same_names(before, &catalog, &addresses));
    let answers = match same {
        Some(before) => Arc::clone(&before.answers),
        None => Answers::build(&catalog, &addresses, serial),
    };
    let parts = Parts {
        catalog: Arc::new(catalog),
        addresses: &addresses,
        answers,
        releases: Arc::clone(releases),
        live: &base.live,
        rotation: base.rotation,
    };
    build_with(&parts, overrides, before)
}

/// Whether DNS answers the same for both.
fn same_names(before: &Snapshot, catalog: &Catalog, addresses: &BTreeMap<ServiceName, Addresses>) -> bool {
    let (old, new) = (&before.catalog.settings, &catalog.settings);
    let same_service = |(name, addresses): (&ServiceName, &Addresses)| {
        let (Some(old), Some(new)) = (before.services.get(name), catalog.services.get(name)) else {
            return false;
        };
        let colors =
            |service: &Service| service.colors.iter().map(|color| color.name.clone()).collect::<Vec<_>>();
        old.vip == addresses.vip
            && old.previews == addresses.previews
            && old.service.ports == new.ports
            && colors(&old.service) == colors(new)
    };
    old.dns == new.dns
        && old.vip.pool == new.vip.pool
        && before.services.len() == addresses.len()
        && addresses.iter().all(same_service)
}

/// The preview name of a color without the zone.
fn preview_name(service: &Service, color: usize) -> String {
    format!("{}.{}", service.colors[color].name, service.name)
}

/// Serial of the zones: seconds since 1970 grow with every change and over restarts, as resolvers that
/// compare them expect (RFC 1982), until 2106.
pub(super) fn serial(now: Now) -> u32 {
    u32::try_from(now.unix_seconds & u64::from(u32::MAX)).unwrap_or_default()
}

pub(super) fn wanted(catalog: &Catalog) -> Vec<Wanted> {
    let of_service = |service: &Arc<Service>| {
        let own = Wanted { name: service.name.to_string(), explicit: service.vip };
        let previews = (0..service.colors.len()).map(|color| preview_name(service, color));
        let previews = previews.map(|name| Wanted { name, explicit: None });
        std::iter::once(own).chain(previews).collect::<Vec<_>>()
    };
    catalog.services.values().flat_map(of_service).collect()
}

pub(super) fn bounds(catalog: &Catalog, now: Now) -> Bounds {
    let listen = catalog.settings.dns.listen.iter().filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let reserved: BTreeSet<Ipv4Addr> = listen.collect();
    Bounds { pool: catalog.settings.vip.pool, reserved, now: now.unix_seconds }
}

fn addresses(catalog: &Catalog, vips: &VipTable) -> BTreeMap<ServiceName, Addresses> {
    let given = vips.addresses();
    let of_service = |service: &Arc<Service>| {
        let vip = *given.get(service.name.as_str())?;
        let previews =
            (0..service.colors.len()).map(|color| given.get(preview_name(service, color).as_str()).copied());
        Some((service.name.clone(), Addresses { vip, previews: previews.collect::<Option<_>>()? }))
    };
    catalog.services.values().filter_map(of_service).collect()
}
