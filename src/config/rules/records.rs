//! Records of the operator's own against zones, services and each other.

use std::collections::HashMap;

use super::super::diagnostic::{Diagnostic, Findings, quote};
use super::super::draft::{Draft, RecordDraft};
use super::super::source::Place;
use super::super::walk::Placed;
use crate::model::{Domain, RecordData, RecordName, Zone};

/// Records that are a few.
const RECORDS_MAX: usize = 1000;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let records = &draft.settings.records;
    if let Some(record) = records.get(RECORDS_MAX) {
        let title = format!("there are more than {RECORDS_MAX} names in `[dns.records]`");
        findings.push(
            Diagnostic::error(title, record.name.place, "the first one too many")
                .help("Leave some out: `[dns.forward]` is for zones that somebody else has."),
        );
    }
    let names = Names::of(draft);
    for (index, record) in records.iter().enumerate() {
        let first = names.records[record.name.value.as_str()];
        if first != index {
            findings.push(twice(record, &records[first]));
            continue;
        }
        findings.push_some(names.refuse(record));
        findings.push_some(in_pool(draft, record));
        if let RecordData::Alias(target) = &record.data {
            findings.push_some(names.check_alias(record, target));
        }
    }
}

fn twice(record: &RecordDraft, first: &RecordDraft) -> Diagnostic {
    let title = format!("{} is defined twice", quote(record.name.value.as_str()));
    Diagnostic::error(title, record.name.place, "defined again here")
        .also(first.name.place, "first defined here")
        .help("Keep one of the two; upper and lower case and a dot at the end make no difference.")
}

/// Addresses of the pool belong to services.
fn in_pool(draft: &Draft, record: &RecordDraft) -> Option<Diagnostic> {
    let pool = draft.settings.pool?;
    let (address, place) = record.v4.iter().find(|(address, _)| pool.contains(*address))?;
    let title = format!("{address} lies in the VIP pool {}", pool.0);
    Some(
        Diagnostic::error(title, *place, "an address that teal gives to services")
            .also_if_known(draft.settings.pool_place, "the pool")
            .help("Write `cname = \"SERVICE.ZONE\"` for another name of a service."),
    )
}

/// What answers a name of the zones.
#[derive(Clone, Copy)]
enum Owner {
    /// A service, and where it is defined.
    Service(Place),
    /// teal itself.
    Teal,
}

struct Names<'d> {
    zones: &'d [Zone],
    forwarded: &'d [Placed<Domain>],
    services: HashMap<String, Owner>,
    /// The first record of each name.
    records: HashMap<&'d str, usize>,
    drafts: &'d [RecordDraft],
}

impl<'d> Names<'d> {
    fn of(draft: &'d Draft) -> Self {
        let drafts = &draft.settings.records[..];
        let zones = &draft.settings.settings.dns.zones[..];
        let mut records = HashMap::new();
        for (index, record) in drafts.iter().enumerate() {
            records.entry(record.name.value.as_str()).or_insert(index);
        }
        let mut services = HashMap::new();
        if !drafts.is_empty() {
            for zone in zones {
                services.insert(format!("ns.{zone}"), Owner::Teal);
                for (name, place) in service_names(draft) {
                    services.insert(format!("{name}.{zone}"), Owner::Service(place));
                }
            }
        }
        Self { zones, forwarded: &draft.settings.forwarded, services, records, drafts }
    }

    fn is_inside(&self, name: &RecordName) -> bool {
        self.zones.iter().any(|zone| name.is_below(zone))
    }

    /// Why there can be no such name.
    fn refuse(&self, record: &RecordDraft) -> Option<Diagnostic> {
        let (name, place) = (&record.name.value, record.name.place);
        let shown = quote(name.as_str());
        if let Some(owner) = self.services.get(name.as_str()) {
            let finding = match owner {
                Owner::Service(service) => {
                    Diagnostic::error(format!("{shown} is the name of a service"), place, "answered already")
                        .also(*service, "this service")
                }
                Owner::Teal => {
                    let title = format!("{shown} is the name server of the zone");
                    Diagnostic::error(title, place, "answered by teal itself")
                }
            };
            return Some(finding.help("Choose another name."));
        }
        if let Some(domain) = self.forwarded.iter().find(|domain| name.is_in(&domain.value)) {
            let title = format!("{shown} lies in {}, which is asked elsewhere", quote(domain.value.as_str()));
            return Some(
                Diagnostic::error(title, place, "never answered here")
                    .also(domain.place, "forwarded here")
                    .help("Choose another name, or forward another domain."),
            );
        }
        if self.is_inside(name) {
            return None;
        }
        let finding = if self.zones.iter().any(|zone| zone.as_str() == name.as_str()) {
            let title = format!("{shown} is a zone: its own name has no further records");
            Diagnostic::error(title, place, "the zone itself")
        } else {
            let zones: Vec<&str> = self.zones.iter().map(Zone::as_str).collect();
            let title = format!("{shown} is in none of the zones ({})", zones.join(", "));
            Diagnostic::error(title, place, "not in a zone")
        };
        let zone = &self.zones[0];
        Some(finding.help(format!(
            "Write the whole name, with its zone and in quotes: for example `[dns.records.\"printer.{zone}\"]`."
        )))
    }

    /// A circle, or an alias of nothing.
    fn check_alias(&self, record: &RecordDraft, target: &'d RecordName) -> Option<Diagnostic> {
        let mut seen = vec![record.name.value.as_str()];
        let mut target = target.as_str();
        loop {
            let circle = seen.contains(&target);
            seen.push(target);
            if circle || seen.len() > RecordName::ALIASES_MAX + 1 {
                break;
            }
            match self.records.get(target).map(|index| &self.drafts[*index].data) {
                Some(RecordData::Alias(next)) => target = next.as_str(),
                _ => return self.dangling(record, target),
            }
        }
        let (title, label) = if seen.last() == seen.first() || seen.len() <= RecordName::ALIASES_MAX + 1 {
            ("`cname` goes in a circle", "leads back to a name that it went through")
        } else {
            ("`cname` leads through too many names", "too far from its target")
        };
        let title = format!("{title}: {}", seen.join(" -> "));
        Some(
            Diagnostic::error(title, record.place, label)
                .help("Write the name that it should lead to in the end."),
        )
    }

    fn dangling(&self, record: &RecordDraft, target: &str) -> Option<Diagnostic> {
        let name = RecordName::parse(target).ok()?;
        let exists = self.services.contains_key(target) || self.records.contains_key(target);
        let elsewhere = self.forwarded.iter().any(|domain| name.is_in(&domain.value));
        if exists || elsewhere || !self.is_inside(&name) {
            return None;
        }
        let title = format!(
            "{} is an alias of {}, which does not exist",
            quote(record.name.value.as_str()),
            quote(target)
        );
        Some(
            Diagnostic::warning(title, record.place, "answered as a name that does not exist")
                .help("Write the name of a service with its zone, or of another record."),
        )
    }
}

/// The names that a service has, without the zone.
fn service_names(draft: &Draft) -> impl Iterator<Item = (String, Place)> {
    draft.services.iter().flat_map(|service| {
        let place = service.name.place;
        let own = service.name.value.to_string();
        let previews = service.colors.iter().map(|color| format!("{}.{own}", color.name.value));
        let hosts: Vec<String> = std::iter::once(own.clone()).chain(previews).collect();
        let servers: Vec<String> = service
            .ports
            .iter()
            .filter_map(|port| port.port.name.as_ref())
            .flat_map(|port| hosts.iter().map(move |host| format!("_{port}._tcp.{host}")))
            .collect();
        hosts.into_iter().chain(servers).map(move |name| (name, place)).collect::<Vec<_>>()
    })
}
