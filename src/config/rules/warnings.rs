//! What is allowed, but probably not meant.

use std::collections::{HashMap, HashSet};

use super::super::diagnostic::{Diagnostic, Findings, quote};
use super::super::draft::{Draft, Owner, ServiceDraft};
use super::super::source::Place;
use crate::model::{LaneMode, Weight};

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    for service in &draft.services {
        findings.push_some(all_weights_zero(service));
    }
    warn_of_unreachable_vips(draft, findings);
    warn_of_cycles(draft, findings);
    warn_of_callers(draft, findings);
}

/// What `depends_on` says nothing for: a service that only callers may reach, lanes between members.
fn warn_of_callers(draft: &Draft, findings: &mut Findings) {
    let called: HashSet<_> =
        draft.services.iter().flat_map(|s| &s.depends_on).map(|name| &name.value).collect();
    for service in &draft.services {
        let restrict = service.restrict_callers.filter(|restrict| restrict.value);
        if let Some(restrict) = restrict.filter(|_| !called.contains(&service.name.value)) {
            let name = service.name.value.as_str();
            let title = format!("nobody may connect to service {}", quote(name));
            findings.push(
                Diagnostic::warning(title, restrict.place, "no service lists it in `depends_on`").help(
                    format!(
                        "Write `depends_on = [\"{name}\"]` in the services that call it, or leave \
                     `restrict_callers` out."
                    ),
                ),
            );
        }
    }
    for app in &draft.apps {
        let Some(lanes) = app.lanes.filter(|lanes| lanes.value != LaneMode::Off) else { continue };
        let members: HashSet<_> = app.services.iter().map(|name| &name.value).collect();
        let mut of_members = draft.services.iter().filter(|service| members.contains(&service.name.value));
        if !of_members.any(|caller| caller.depends_on.iter().any(|called| members.contains(&called.value))) {
            let title = format!(
                "app {} has lanes between services of which none calls another",
                quote(app.name.value.as_str())
            );
            findings.push(
                Diagnostic::warning(title, lanes.place, "no member lists another one in `depends_on`").help(
                    "Write `depends_on` in the members that call others, for example `depends_on = [\"servicea\"]`.",
                ),
            );
        }
    }
}

fn all_weights_zero(service: &ServiceDraft) -> Option<Diagnostic> {
    let all_zero = service.colors.iter().all(|color| color.weight.is_some_and(Weight::is_zero));
    if service.colors.is_empty() || !all_zero {
        return None;
    }
    let title = format!("every color of service {} has weight 0", quote(service.name.value.as_str()));
    Some(
        Diagnostic::warning(title, service.name.place, "every new connection will be refused")
            .help("Give at least one color a weight, for example `weight = 100`."),
    )
}

/// VIPs that are loopback addresses mean another host to whoever asks from another host.
fn warn_of_unreachable_vips(draft: &Draft, findings: &mut Findings) {
    let Some(pool) = draft.settings.pool.filter(|pool| pool.is_loopback()) else { return };
    for listener in draft.settings.listeners.iter().filter(|listener| listener.owner == Owner::Dns) {
        let Some(place) = listener.place.filter(|_| !listener.address.ip().is_loopback()) else { continue };
        let title =
            format!("DNS answers at {}, but VIPs of {} are loopback addresses", listener.address, pool.0);
        findings.push(
            Diagnostic::warning(title, place, "clients in other network namespaces can ask here")
                .also_if_known(draft.settings.pool_place, "what they are told leads nowhere for them")
                .help(
                    "Write a pool outside 127.0.0.0/8, for example `[vip] pool = \"198.18.0.0/16\"`, \
                     or listen at a loopback address.",
                ),
        );
    }
}

/// One cycle is shown for each knot of services that call each other.
fn warn_of_cycles(draft: &Draft, findings: &mut Findings) {
    let graph = Graph::of(draft);
    let mut search = Search { state: vec![State::New; graph.edges.len()], path: Vec::new() };
    let mut shown: HashSet<usize> = HashSet::new();
    for start in 0..graph.edges.len() {
        while let Some(cycle) = search.next_cycle(start, &graph) {
            if cycle.iter().any(|node| shown.contains(node)) {
                continue;
            }
            findings.push(cycle_warning(&cycle, &graph));
            shown.extend(cycle);
        }
    }
}

fn cycle_warning(cycle: &[usize], graph: &Graph<'_>) -> Diagnostic {
    let names: Vec<_> = cycle.iter().chain(cycle.first()).map(|node| graph.names[*node]).collect();
    let shown = if names.len() > 12 {
        format!("{} -> ... -> {}", names[..11].join(" -> "), names[0])
    } else {
        names.join(" -> ")
    };
    let place = |from: usize, to: usize| {
        graph.edges[from].iter().find(|(node, _)| *node == to).map(|(_, place)| *place)
    };
    let steps: Vec<Place> = cycle
        .iter()
        .zip(cycle.iter().skip(1).chain(cycle.first()))
        .filter_map(|(from, to)| place(*from, *to))
        .collect();
    let mut steps = steps.into_iter();
    let first = steps.next().unwrap_or_default();
    let mut finding = Diagnostic::warning(
        format!("`depends_on` goes in a circle: {shown}"),
        first,
        "leads back to its own service",
    );
    for step in steps.take(10) {
        finding = finding.also(step, "by way of this");
    }
    finding.help("Calls may go in a circle, but a release in the order of dependencies is then not possible.")
}

/// Services by number, in the order of the files.
struct Graph<'d> {
    names: Vec<&'d str>,
    edges: Vec<Vec<(usize, Place)>>,
}

impl<'d> Graph<'d> {
    fn of(draft: &'d Draft) -> Self {
        let names: Vec<&str> = draft.services.iter().map(|service| service.name.value.as_str()).collect();
        let numbers: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let edges = draft.services.iter().enumerate().map(|(number, service)| {
            let dependencies = service.depends_on.iter();
            dependencies
                .filter_map(|name| numbers.get(name.value.as_str()).map(|to| (*to, name.place)))
                // Reported as an error of its own.
                .filter(|(to, _)| *to != number)
                .collect()
        });
        let edges = edges.collect();
        Self { names, edges }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    OnPath,
    Done,
}

/// A depth-first search that keeps its path itself: call graphs may be deeper than the stack.
struct Search {
    state: Vec<State>,
    /// Nodes, each with the number of its edge to look at next.
    path: Vec<(usize, usize)>,
}

impl Search {
    /// The next cycle among what can be reached from `start`; `None` when there is no further one.
    fn next_cycle(&mut self, start: usize, graph: &Graph<'_>) -> Option<Vec<usize>> {
        if self.state[start] == State::New {
            self.enter(start);
        }
        while let Some((node, edge)) = self.path.last_mut() {
            let Some((next, _)) = graph.edges[*node].get(*edge) else {
                self.state[*node] = State::Done;
                self.path.pop();
                continue;
            };
            *edge += 1;
            match self.state[*next] {
                State::Done => {}
                State::New => self.enter(*next),
                State::OnPath => return Some(self.path_from(*next)),
            }
        }
        None
    }

    fn enter(&mut self, node: usize) {
        self.state[node] = State::OnPath;
        self.path.push((node, 0));
    }

    fn path_from(&self, node: usize) -> Vec<usize> {
        self.path.iter().map(|(on_path, _)| *on_path).skip_while(|on_path| *on_path != node).collect()
    }
}
