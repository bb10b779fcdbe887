//! Names across tables and files: each defined once, and what is named exists.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use super::super::diagnostic::{Diagnostic, Findings, quote};
use super::super::draft::Draft;
use super::super::keys;
use super::super::source::Place;
use super::super::walk::Placed;
use crate::model::{AppName, ServiceName};

const SERVICES_MAX: usize = 20_000;
const APPS_MAX: usize = 20_000;
const SUGGESTIONS_MAX: usize = 50;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let services: Vec<_> = draft.services.iter().map(|service| &service.name).collect();
    let apps: Vec<_> = draft.apps.iter().map(|app| &app.name).collect();
    check_unique("service", &services, findings);
    check_unique("app", &apps, findings);
    check_count("services", services.get(SERVICES_MAX), SERVICES_MAX, findings);
    check_count::<AppName>("apps", apps.get(APPS_MAX), APPS_MAX, findings);
    let mut known = Known::of(&services);
    check_dependencies(draft, &mut known, findings);
    check_members(draft, &mut known, findings);
}

/// The services that exist, by name.
struct Known<'d> {
    places: HashMap<&'d str, Place>,
    /// Looking for a similar name looks at all of them, so it is not done for every unknown one.
    suggestions_left: usize,
}

impl<'d> Known<'d> {
    fn of(services: &[&'d Placed<ServiceName>]) -> Self {
        let places = services.iter().map(|name| (name.value.as_str(), name.place)).collect();
        Self { places, suggestions_left: SUGGESTIONS_MAX }
    }

    fn has(&self, name: &ServiceName) -> bool {
        self.places.contains_key(name.as_str())
    }

    fn nearest(&mut self, name: &ServiceName) -> Option<&'d str> {
        self.suggestions_left = self.suggestions_left.checked_sub(1)?;
        let mut candidates: Vec<&str> = self.places.keys().copied().collect();
        candidates.sort_unstable();
        keys::nearest(name.as_str(), candidates.into_iter())
    }
}

fn check_unique<N>(what: &str, names: &[&Placed<N>], findings: &mut Findings)
where
    N: Display + Eq + Hash + Borrow<str>,
{
    let mut seen: HashMap<&N, Place> = HashMap::new();
    for name in names {
        let Some(first) = seen.get(&name.value) else {
            seen.insert(&name.value, name.place);
            continue;
        };
        let title = format!("{what} {} is defined twice", quote(name.value.borrow()));
        let help = if first.file == name.place.file {
            "The two differ only by upper and lower case, which DNS does not see: rename one of them."
        } else {
            "Keep one of the two, or give one of them another name; case makes no difference."
        };
        findings.push(
            Diagnostic::error(title, name.place, "defined again here")
                .also(*first, "first defined here")
                .help(help),
        );
    }
}

fn check_count<N>(what: &str, first_too_many: Option<&&Placed<N>>, max: usize, findings: &mut Findings) {
    if let Some(name) = first_too_many {
        let title = format!("there are more than {max} {what}");
        findings.push(Diagnostic::error(title, name.place, "the first one too many").help("Leave some out."));
    }
}

fn check_dependencies(draft: &Draft, known: &mut Known<'_>, findings: &mut Findings) {
    for service in &draft.services {
        let mut seen: HashMap<&ServiceName, Place> = HashMap::new();
        for dependency in &service.depends_on {
            if dependency.value == service.name.value {
                let title = format!("service {} depends on itself", quote(service.name.value.as_str()));
                findings.push(
                    Diagnostic::error(title, dependency.place, "names its own service")
                        .help("Leave it out: `depends_on` lists the other services that this one calls."),
                );
            } else if !known.has(&dependency.value) {
                findings.push(unknown_service("`depends_on`", dependency, known));
            }
            if let Some(first) = seen.insert(&dependency.value, dependency.place) {
                findings.push(listed_twice(dependency, first));
            }
        }
    }
}

fn check_members(draft: &Draft, known: &mut Known<'_>, findings: &mut Findings) {
    let mut member_of: HashMap<&ServiceName, (&AppName, Place)> = HashMap::new();
    for app in &draft.apps {
        for member in &app.services {
            if !known.has(&member.value) {
                findings.push(unknown_service("an app", member, known));
            }
            let Some((other, first)) = member_of.insert(&member.value, (&app.name.value, member.place))
            else {
                continue;
            };
            if *other == app.name.value {
                findings.push(listed_twice(member, first));
                continue;
            }
            let title = format!(
                "service {} is in two apps, {} and {}",
                quote(member.value.as_str()),
                quote(other.as_str()),
                quote(app.name.value.as_str())
            );
            findings.push(
                Diagnostic::error(title, member.place, "listed again here")
                    .also(first, "first listed here")
                    .help("A service is released with one app: leave it out of the other."),
            );
        }
    }
}

fn listed_twice(name: &Placed<ServiceName>, first: Place) -> Diagnostic {
    let title = format!("service {} is listed twice", quote(name.value.as_str()));
    Diagnostic::error(title, name.place, "listed again here")
        .also(first, "first listed here")
        .help("Leave one of the two out.")
}

fn unknown_service(whose: &str, name: &Placed<ServiceName>, known: &mut Known<'_>) -> Diagnostic {
    let title = format!("{whose} names {}, which is not a service", quote(name.value.as_str()));
    match known.nearest(&name.value) {
        Some(meant) => Diagnostic::error(title, name.place, format!("did you mean `{meant}`?"))
            .also_if_known(known.places.get(meant).copied(), "this service exists")
            .help(format!("Define `[services.{}]`, or correct the name.", name.value)),
        None => Diagnostic::error(title, name.place, "unknown service")
            .help(format!("Define `[services.{}]`, or leave the name out.", name.value)),
    }
}
