//! Where an answer comes from, in words for the operator.

use super::wire::NAME_OCTETS_MAX;
use crate::model::{Catalog, Domain, Service, Zone};
use crate::state::answers::{Answers, Lookup, Records, ZoneKind};

/// Why `name` (wire format, lower case) is answered as it is.
pub fn explain(name: &[u8], catalog: &Catalog, answers: &Answers) -> String {
    debug_assert!(name.len() <= NAME_OCTETS_MAX, "the parser bounds names");
    let text = text_of(name);
    match answers.lookup(name) {
        Lookup::Name(zone, records) if zone.kind == ZoneKind::Own => of_records(&text, records, catalog),
        Lookup::Missing(zone) if zone.kind == ZoneKind::Own => {
            let apex = text_of(&name[name.len() - usize::from(zone.apex_octets)..]);
            format!("there is no such name in zone {apex}, which is teal's: nobody else is asked")
        }
        Lookup::Name(zone, _) | Lookup::Missing(zone) => {
            let apex = text_of(&name[name.len() - usize::from(zone.apex_octets)..]);
            format!("{apex} is a special name, which teal answers itself and nobody else is asked about")
        }
        Lookup::Forward(Some(domain)) => {
            let domain = answers.forwarded(domain).map_or_else(|| "?".to_owned(), Domain::to_string);
            format!("names below {domain} are asked elsewhere: `[dns.forward.\"{domain}\"]`")
        }
        Lookup::Forward(None) => "names outside the zones are asked of the upstreams".to_owned(),
        Lookup::Outside => outside(&text, catalog),
    }
}

fn outside(name: &str, catalog: &Catalog) -> String {
    let zones: Vec<&str> = catalog.settings.dns.zones.iter().map(Zone::as_str).collect();
    let zones = zones.join(", ");
    match catalog.services.get(name) {
        Some(service) => {
            let zone = &catalog.settings.dns.zones[0];
            format!("not in the zones ({zones}): service {} is {}.{zone}", service.name, service.name)
        }
        None => format!("not in the zones ({zones}), and no upstreams are asked"),
    }
}

fn of_records(name: &str, records: Records<'_>, catalog: &Catalog) -> String {
    match records {
        Records::Empty => "there are no records at this name, but names below it".to_owned(),
        Records::Apex { .. } => format!("{name} is a zone of teal"),
        Records::Own(_) => format!("records of the operator's own: `[dns.records.\"{name}\"]`"),
        Records::Alias(target) => {
            format!("an alias of {}: `[dns.records.\"{name}\"]`", text_of(target))
        }
        Records::Pointer(target) => format!("the address of {}", text_of(target)),
        Records::Address(address) => match host_of(name, catalog) {
            Some(Host::Service(service)) => format!("the virtual IP of service {}", service.name),
            Some(Host::Preview(service, color)) => {
                format!("a preview name: color {color} of service {} alone, at any weight", service.name)
            }
            None => format!("the name server of the zone, {address}"),
        },
        Records::Server(server) => {
            let target: Vec<&str> = name.split('.').skip(2).collect();
            let ports: Vec<String> =
                server.ports.iter().map(|port| u16::from_be_bytes(*port).to_string()).collect();
            format!("the port with that name at {}: {}", target.join("."), ports.join(", "))
        }
        // Answered by who is asked.
        Records::Forward(_) => String::new(),
    }
}

/// What a name with an address stands for.
enum Host<'c> {
    Service(&'c Service),
    Preview(&'c Service, &'c str),
}

fn host_of<'c>(name: &'c str, catalog: &'c Catalog) -> Option<Host<'c>> {
    let zones = &catalog.settings.dns.zones;
    let inner = zones.iter().find_map(|zone| name.strip_suffix(zone.as_str())?.strip_suffix('.'))?;
    match inner.split_once('.') {
        None => Some(Host::Service(catalog.services.get(inner)?)),
        Some((color, service)) => Some(Host::Preview(catalog.services.get(service)?, color)),
    }
}

/// Without the root's dot.
fn text_of(name: &[u8]) -> String {
    let text = super::log::shown_name(name);
    text.strip_suffix('.').map(str::to_owned).unwrap_or(text)
}
