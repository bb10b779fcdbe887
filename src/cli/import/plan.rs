//! From one template, or an old and a new one, to services with colors: who serves which name, what is shared, who
//! calls whom, and what is a job.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use super::compose::Declared;
use super::label::{self, Labels, Probe};
use crate::model::ServiceName;

/// The colors' names: who serves a name now, and who will.
const COLORS: [&str; 2] = ["blue", "green"];
const WEIGHT: u16 = 100;

/// A service of teal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where clients connect, and where endpoints listen.
    pub ports: BTreeMap<u16, u16>,
    /// How it was reached from outside.
    pub outside: BTreeSet<String>,
    /// Whom it calls.
    pub depends_on: BTreeSet<ServiceName>,
    /// Whether clients stay with a color.
    pub is_sticky: bool,
    /// Its check.
    pub probe: Option<Probe>,
    /// One or two.
    pub colors: Vec<Color>,
}

/// A color of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Color {
    /// What teal calls it.
    pub name: &'static str,
    /// What the template calls it.
    pub from: String,
    /// Its share.
    pub weight: u16,
    /// How many containers the template asks for.
    pub scale: u32,
    /// Where its endpoints listen, when that is not where the service's ports say.
    pub own_port: Option<u16>,
}

/// What the templates mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// By name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Services of the templates that nobody calls.
    pub jobs: BTreeSet<String>,
}

/// A service of the templates, with what its labels say.
struct Part<'a> {
    declared: &'a Declared,
    labels: Labels,
    /// Whether the old template has it.
    is_old: bool,
    /// Names it serves: to each where clients connect and where it listens.
    serves: BTreeMap<ServiceName, BTreeMap<u16, u16>>,
    outside: BTreeMap<ServiceName, BTreeSet<String>>,
}

/// Compares and merges templates: the first is the old one.
pub fn plan(templates: &[BTreeMap<String, Declared>], report: &mut Report) -> Plan {
    let mut parts = BTreeMap::new();
    for (index, template) in templates.iter().enumerate() {
        for (name, declared) in template {
            add(&mut parts, name, declared, index == 0, report);
        }
    }
    let called = called(&parts);
    let mut plan = Plan::default();
    for (name, part) in &mut parts {
        if serve(name, part, called.contains(name), report) == Served::AsJob {
            plan.jobs.insert(name.clone());
        }
    }
    let names: BTreeSet<_> = parts.values().flat_map(|part| part.serves.keys().cloned()).collect();
    for name in names {
        if let Some(service) = merge(&name, &parts, &plan.jobs, report) {
            plan.services.insert(name, service);
        }
    }
    if let [old, new] = templates {
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            let is_replaced = |service: &Service| service.colors.len() == COLORS.len();
            let mut serving =
                plan.services.values().filter(|service| service.colors.iter().any(|c| c.from == *name));
            if !plan.jobs.contains(name) && !serving.all(is_replaced) {
                report.warning(format!("{name}: the new template neither has nor replaces it"));
            }
        }
    }
    plan
}

fn add<'a>(
    parts: &mut BTreeMap<String, Part<'a>>,
    name: &str,
    declared: &'a Declared,
    is_old: bool,
    report: &mut Report,
) {
    if let Some(known) = parts.get(name) {
        let differences = known.declared.differences(declared);
        if !differences.is_empty() {
            report.error(format!(
                "{name}: both templates have it, with another `{}`: a changed service must be renamed, such as to \
                 `{}-v2`",
                differences.join("`, `"),
                base(name)
            ));
        }
        return;
    }
    let labels = label::read(name, declared, report);
    let (serves, outside) = (BTreeMap::new(), BTreeMap::new());
    parts.insert(name.to_owned(), Part { declared, labels, is_old, serves, outside });
}

/// Services of the templates that others name.
fn called(parts: &BTreeMap<String, Part<'_>>) -> BTreeSet<String> {
    let named = parts.values().flat_map(|part| {
        let links = part.declared.links.iter().chain(&part.declared.external_links);
        links.chain(&part.labels.depends)
    });
    named.filter(|name| parts.contains_key(*name)).cloned().collect()
}

#[derive(PartialEq, Eq)]
enum Served {
    ByName,
    AsJob,
    Not,
}

/// Finds out which names a part serves.
fn serve(name: &str, part: &mut Part<'_>, is_called: bool, report: &mut Report) -> Served {
    if part.declared.is_external {
        report.warning(format!(
            "{name}: stands for something outside: write a service with its addresses by hand"
        ));
        return Served::Not;
    }
    for route in part.labels.routes.clone() {
        let service = match ServiceName::parse(&route.name) {
            Ok(service) => service,
            Err(error) => {
                report.error(format!("{name}: {:?} cannot be the name of a service: it {error}", route.name));
                continue;
            }
        };
        let ports = part.serves.entry(service.clone()).or_default();
        let other = ports.insert(route.listen, route.target).filter(|other| *other != route.target);
        if let Some(other) = other {
            let (listen, target) = (route.listen, route.target);
            report.error(format!(
                "{name}: {service} leads to {other} and {target} of the container, both by port {listen}: give one of \
                 them a name of its own"
            ));
        }
        part.outside.entry(service).or_default().extend(route.outside);
    }
    if !part.labels.routes.is_empty() {
        return Served::ByName;
    }
    if !is_called && part.labels.tcp_ports.is_empty() {
        return Served::AsJob;
    }
    let ports = if part.labels.tcp_ports.is_empty() { &part.declared.ports } else { &part.labels.tcp_ports };
    let ports: BTreeMap<_, _> = ports.iter().map(|port| (*port, *port)).collect();
    match ServiceName::parse(&base(name).replace('_', "-")) {
        Ok(service) if !ports.is_empty() => {
            report.note(format!(
                "{name}: has no route; others call it, so it becomes {service} with its own ports"
            ));
            part.serves.insert(service, ports);
            Served::ByName
        }
        Ok(_) => {
            report.warning(format!(
                "{name}: others call it, but no `expose`, `ports` or route says where it listens"
            ));
            Served::Not
        }
        Err(error) => {
            report.error(format!("{name}: {:?} cannot be the name of a service: it {error}", base(name)));
            Served::Not
        }
    }
}

/// A name without its version: `serviceB-v2` is `serviceB`.
fn base(name: &str) -> &str {
    let Some((base, version)) = name.rsplit_once(['-', '_']) else { return name };
    let digits = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let is_version = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_version && !base.is_empty() { base } else { name }
}

fn merge(
    name: &ServiceName,
    parts: &BTreeMap<String, Part<'_>>,
    jobs: &BTreeSet<String>,
    report: &mut Report,
) -> Option<Service> {
    let serving = parts.iter().filter(|(_, part)| part.serves.contains_key(name));
    let (old, new): (Vec<_>, Vec<_>) = serving.partition(|(_, part)| part.is_old);
    let all: Vec<_> = old.iter().chain(&new).copied().collect();
    let froms: Vec<_> = all.iter().map(|(from, _)| from.as_str()).collect();
    if all.len() > COLORS.len() {
        report.error(format!("{name}: {} serve it, and two can be taken over as colors", froms.join(", ")));
        return None;
    }
    say_how_they_share(name, &all, old.len(), report);
    let first = &all.first()?.1.serves[name];
    let mut colors = Vec::new();
    for (index, (from, part)) in all.iter().enumerate() {
        let weight = if part.is_old || old.is_empty() { WEIGHT } else { 0 };
        let own_port = own_port(name, first, &part.serves[name], report);
        let color = COLORS[index];
        colors.push(Color { name: color, from: (*from).clone(), weight, scale: part.labels.scale, own_port });
    }
    let is_sticky = all.iter().any(|(_, part)| part.labels.is_sticky);
    if is_sticky {
        report.warning(format!("{name}: was sticky by cookie; `affinity` is by the client's address"));
    }
    Some(Service {
        ports: first.clone(),
        outside: all.iter().filter_map(|(_, part)| part.outside.get(name)).flatten().cloned().collect(),
        depends_on: all.iter().flat_map(|(from, _)| depends_on(name, from, parts, jobs, report)).collect(),
        is_sticky,
        probe: probe(name, &all, report),
        colors,
    })
}

fn say_how_they_share(name: &ServiceName, all: &[(&String, &Part<'_>)], old: usize, report: &mut Report) {
    let [(first, a), (second, b)] = all else { return };
    if old != 1 {
        report.warning(format!(
            "{name}: {first} and {second} serve it in the same template, with equal shares"
        ));
    }
    if a.labels.may_coexist || b.labels.may_coexist {
        return;
    }
    if base(first) == base(second) {
        report.note(format!(
            "{name}: {first} and {second} are its colors, as they are versions of one service"
        ));
    } else {
        report.warning(format!(
            "{name}: {first} and {second} are its colors, though neither has `aliyun.routing.coexist`: are they versions \
             of one service?"
        ));
    }
}

/// The port of a color's endpoints, if it differs from the service's; a service of several ports has one for all.
fn own_port(
    name: &ServiceName,
    first: &BTreeMap<u16, u16>,
    own: &BTreeMap<u16, u16>,
    report: &mut Report,
) -> Option<u16> {
    if own == first {
        return None;
    }
    match (first.len(), own.iter().next()) {
        (1, Some((listen, target))) if own.len() == 1 && first.contains_key(listen) => Some(*target),
        _ => {
            report.error(format!("{name}: its two colors have different ports, {first:?} and {own:?}"));
            None
        }
    }
}

fn probe(name: &ServiceName, all: &[(&String, &Part<'_>)], report: &mut Report) -> Option<Probe> {
    let mut probes: Vec<_> = all.iter().map(|(_, part)| part.labels.probe.clone()).collect();
    probes.dedup();
    if probes.len() > 1 {
        report.warning(format!("{name}: its colors have different checks; the new one is taken for both"));
    }
    probes.pop().flatten()
}

/// The services that a part of a service calls.
fn depends_on(
    name: &ServiceName,
    from: &str,
    parts: &BTreeMap<String, Part<'_>>,
    jobs: &BTreeSet<String>,
    report: &mut Report,
) -> BTreeSet<ServiceName> {
    let part = &parts[from];
    let mut found = BTreeSet::new();
    let served =
        |service: &str| parts.values().find_map(|part| part.serves.get_key_value(service)).map(|(n, _)| n);
    let named = [&part.declared.external_links, &part.declared.links, &part.labels.depends];
    for link in named.into_iter().flatten().chain(&part.declared.starts_after) {
        let link_name = link.to_ascii_lowercase();
        if let Some(target) = parts.get(link) {
            if jobs.contains(link) {
                report.note(format!("{from}: comes after the job {link}, to which nobody connects"));
            }
            found.extend(target.serves.keys().cloned());
        } else if let Some(service) = served(link_name.strip_suffix(".local").unwrap_or(&link_name)) {
            found.insert(service.clone());
        } else {
            report.warning(format!("{from}: links to {link:?}, which no template here serves"));
        }
    }
    found.remove(name);
    found
}
