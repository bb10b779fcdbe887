//! From a specification and what is, to a release that has moved nothing yet; or everything that is in its way.
//!
//! Pure: the caller passes in the weights in effect, the endpoints that work and the releases that are kept, and
//! records what comes out.

mod obstacle;
mod order;
#[cfg(test)]
mod tests;

pub use obstacle::Obstacle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use super::machine::{PoolFacts, working_needed};
use crate::model::release::{Percent, ReleaseSpec};
use crate::model::{Affinity, AppName, Catalog, ColorName, Service, ServiceName, Weight};
use crate::state::overrides::Cause;
use crate::state::release::{Ending, Member, Phase, Release, ReleaseId, share};

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The configuration.
    pub catalog: &'a Catalog,
    /// The weights in effect of every service.
    pub weights: &'a BTreeMap<ServiceName, BTreeMap<ColorName, Weight>>,
    /// Endpoints of every service and color.
    pub pools: &'a BTreeMap<ServiceName, BTreeMap<ColorName, PoolFacts>>,
    /// Releases that are kept, of all apps.
    pub kept: &'a [Release],
    /// Why shifts are frozen, if they are.
    pub frozen: Option<&'a str>,
}

/// A release that may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// It waits for its first shift; nothing has moved.
    pub release: Release,
    /// What is probably not meant, or will be in the way later.
    pub warnings: Vec<String>,
    /// How long all steps take if nothing is in the way.
    pub expected: Duration,
    /// How long they take if every step waits as long as it may for connections.
    pub longest: Duration,
    /// Confirmed releases that cannot be undone any more once this one starts; see [`super::machine::superseded`].
    pub supersedes: Vec<ReleaseId>,
}

/// Plans a release that `started` begins.
///
/// # Errors
/// Everything that is in its way, at once.
pub fn plan(spec: &ReleaseSpec, world: &World<'_>, started: &Cause) -> Result<Plan, Vec<Obstacle>> {
    let mut obstacles = Vec::new();
    if let Some(why) = world.frozen {
        obstacles.push(Obstacle::Frozen(why.to_owned()));
    }
    let Some(app) = world.catalog.apps.get(&spec.app) else {
        let known = world.catalog.apps.keys().map(ToString::to_string).collect();
        obstacles.push(Obstacle::UnknownApp { app: spec.app.clone(), known });
        return Err(obstacles);
    };
    obstacles.extend(same_version(spec, world));
    let services = app.services.iter().filter_map(|name| world.catalog.services.get(name));
    let services: BTreeMap<_, _> = services.map(|service| (service.name.clone(), &**service)).collect();
    let wanted = wanted(spec, &services, world, &mut obstacles);
    let candidates = wanted.iter().filter_map(|(name, to)| services.get(name).map(|service| (*service, to)));
    let mut members = Vec::new();
    for (service, to) in candidates {
        members.extend(member(spec, service, to, world, &mut obstacles));
    }
    let names: BTreeSet<_> = members.iter().map(|member: &Member| member.service.clone()).collect();
    let stages =
        order::stages(spec, &names, &services).map_err(|path| obstacles.push(Obstacle::Cycle { path }));
    let Ok(stages) = stages else { return Err(obstacles) };
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let warnings = warnings(spec, &members, world, started.at);
    let supersedes =
        world.kept.iter().filter(|kept| kept.phase == Phase::Confirmed && concerns(kept, &names));
    let (expected, longest) = durations(spec, &stages);
    Ok(Plan {
        supersedes: supersedes.map(|kept| kept.id.clone()).collect(),
        warnings,
        expected,
        longest,
        release: Release {
            id: id(&spec.app, world.kept, started.at),
            spec: spec.clone(),
            shared: services.keys().filter(|name| !names.contains(*name)).cloned().collect(),
            members,
            stages,
            applied: 0,
            phase: Phase::Shifting,
            since: started.at,
            started: started.clone(),
            ended: None,
            ending: None,
            entered: 0,
            epoch: 0,
            decided: String::new(),
        },
    })
}

/// Who is to move where, by the specification alone.
fn wanted(
    spec: &ReleaseSpec,
    services: &BTreeMap<ServiceName, &Service>,
    world: &World<'_>,
    obstacles: &mut Vec<Obstacle>,
) -> BTreeMap<ServiceName, ColorName> {
    let names = || services.keys().map(ToString::to_string).collect();
    for service in spec.members.keys().filter(|name| !services.contains_key(*name)) {
        let service = service.clone();
        obstacles.push(Obstacle::NotInApp { service, app: spec.app.clone(), known: names() });
    }
    let Some(to) = spec.to.as_ref().filter(|_| spec.members.is_empty()) else { return spec.members.clone() };
    let having: Vec<_> = services.values().filter(|service| service.color(to).is_some()).collect();
    if having.is_empty() {
        obstacles.push(Obstacle::UnknownColor { app: spec.app.clone(), color: to.clone() });
        return BTreeMap::new();
    }
    let moves = having.into_iter().filter(|service| !has_everything(&effective(service, world), to));
    let moves: BTreeMap<_, _> = moves.map(|service| (service.name.clone(), to.clone())).collect();
    if moves.is_empty() {
        obstacles.push(Obstacle::NothingToMove { app: spec.app.clone(), color: to.clone() });
    }
    moves
}

fn effective(service: &Service, world: &World<'_>) -> BTreeMap<ColorName, Weight> {
    let of = world.weights.get(&service.name);
    let weight = |color: &crate::model::Color| {
        of.and_then(|weights| weights.get(&color.name)).copied().unwrap_or(color.weight)
    };
    service.colors.iter().map(|color| (color.name.clone(), weight(color))).collect()
}

fn has_everything(weights: &BTreeMap<ColorName, Weight>, to: &ColorName) -> bool {
    weights.iter().all(|(color, weight)| weight.is_zero() != (color == to))
}

/// One member, if it can move; what keeps it from moving is an obstacle.
fn member(
    spec: &ReleaseSpec,
    service: &Service,
    to: &ColorName,
    world: &World<'_>,
    obstacles: &mut Vec<Obstacle>,
) -> Option<Member> {
    let name = service.name.clone();
    obstacles.extend(overlaps(&name, world));
    if service.color(to).is_none() {
        let known = service.colors.iter().map(|color| color.name.to_string()).collect();
        obstacles.push(Obstacle::NoColor { service: name, color: to.clone(), known });
        return None;
    }
    let before = effective(service, world);
    if has_everything(&before, to) {
        obstacles.push(Obstacle::HasEverything { service: name, color: to.clone() });
        return None;
    }
    let others: Vec<_> = before.iter().filter(|(color, weight)| *color != to && !weight.is_zero()).collect();
    let from = match others[..] {
        [] => {
            obstacles.push(Obstacle::NoWeight { service: name });
            return None;
        }
        [(from, _)] => from.clone(),
        _ => {
            let colors = others.iter().map(|(color, _)| color.to_string()).collect();
            obstacles.push(Obstacle::ThirdColor { service: name, colors });
            return None;
        }
    };
    let percent = share(&before, to);
    let member = Member { service: name, from, to: to.clone(), weights: before.clone(), before, percent };
    if let Some(first) = spec.steps.first() {
        obstacles.extend(beyond(&member, first.percent));
        obstacles.extend(too_few(spec, &member, first.percent, world));
    }
    Some(member)
}

fn beyond(member: &Member, first: Percent) -> Option<Obstacle> {
    let Member { service, to, percent, .. } = member;
    (*percent > first).then(|| Obstacle::BeyondFirstStep {
        service: service.clone(),
        color: to.clone(),
        has: *percent,
        first,
    })
}

fn pool(member: &Member, color: &ColorName, world: &World<'_>) -> PoolFacts {
    let of = world.pools.get(&member.service).and_then(|pools| pools.get(color));
    of.copied().unwrap_or_default()
}

fn too_few(spec: &ReleaseSpec, member: &Member, first: Percent, world: &World<'_>) -> Option<Obstacle> {
    let PoolFacts { working, all, .. } = pool(member, &member.to, world);
    let needed = working_needed(&spec.guard, first, pool(member, &member.from, world).all);
    (working < needed).then(|| Obstacle::TooFewEndpoints {
        service: member.service.clone(),
        color: member.to.clone(),
        working,
        all,
        needed,
    })
}

fn overlaps(service: &ServiceName, world: &World<'_>) -> Option<Obstacle> {
    let other = world.kept.iter().find(|kept| kept.keeps_members() && kept.member(service).is_some())?;
    Some(Obstacle::Overlaps {
        service: service.clone(),
        other: other.id.clone(),
        phase: other.phase.word(),
        open: other.is_open(),
    })
}

fn concerns(kept: &Release, members: &BTreeSet<ServiceName>) -> bool {
    kept.members.iter().any(|member| members.contains(&member.service))
}

/// A version that has no name is never the same.
fn same_version(spec: &ReleaseSpec, world: &World<'_>) -> Option<Obstacle> {
    let of_app = world.kept.iter().filter(|kept| *kept.app() == spec.app);
    let last = of_app.filter(|kept| kept.ending == Some(Ending::Confirmed)).max_by_key(|kept| kept.ended)?;
    (!spec.version.is_empty() && last.spec.version == spec.version).then(|| Obstacle::SameVersion {
        app: spec.app.clone(),
        version: spec.version.clone(),
        by: last.id.clone(),
    })
}

fn warnings(spec: &ReleaseSpec, members: &[Member], world: &World<'_>, at: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    for member in members {
        let Member { service, from, to, .. } = member;
        let (old, new) = (pool(member, from, world), pool(member, to, world));
        let short =
            spec.steps.iter().find(|step| new.working < working_needed(&spec.guard, step.percent, old.all));
        if let Some(step) = short {
            let needed = working_needed(&spec.guard, step.percent, old.all);
            let PoolFacts { working, all, .. } = new;
            warnings.push(format!(
                "{to} of {service}: {working} of {all} endpoints work, the step to {} will hold unless {needed} do",
                step.percent
            ));
        }
        let config = world.catalog.services.get(service);
        if config.is_some_and(|service| service.policy.affinity == Affinity::SourceIp) {
            warnings.push(format!(
                "{service} is split by client (affinity): a share is of clients, and not exact"
            ));
        }
        let returns = config.and_then(|service| service.color(to)).and_then(|color| color.fallback.as_ref());
        if returns == Some(from) {
            warnings
                .push(format!("{to} of {service} falls back to {from}: keep {from} until that is changed"));
        }
    }
    if let Some(step) = spec.steps.iter().find(|step| step.point_of_no_return) {
        warnings.push(format!("after the step to {} a rollback needs --force", step.percent));
    }
    if spec.activate_at.is_some_and(|second| second <= at) {
        warnings.push("`activate_at` is over: the first shift comes at once".to_owned());
    }
    let names = members.iter().map(|member| member.service.clone()).collect();
    for kept in world.kept.iter().filter(|kept| kept.phase == Phase::Confirmed && concerns(kept, &names)) {
        warnings
            .push(format!("{} cannot be undone any more, and its `on_confirmed` hooks do not run", kept.id));
    }
    warnings
}

/// Every stage bakes, and may wait for connections as long as its step says.
fn durations(spec: &ReleaseSpec, stages: &[crate::state::release::Stage]) -> (Duration, Duration) {
    let steps = stages.iter().filter_map(|stage| spec.steps.get(stage.step));
    steps.fold((Duration::ZERO, Duration::ZERO), |(expected, longest), step| {
        let waits = spec.judgement.enabled && step.percent > Percent::NONE;
        let wait = if waits { step.max_wait } else { Duration::ZERO };
        (expected.saturating_add(step.bake), longest.saturating_add(step.bake).saturating_add(wait))
    })
}

/// `APP-YYYYMMDD-N`, the day in UTC and N the first number that is free.
fn id(app: &AppName, kept: &[Release], at: u64) -> ReleaseId {
    // Beyond the year 9999 there is no such text.
    const LAST_SECOND: u64 = 253_402_300_799;
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at.min(LAST_SECOND)));
    let day: String = time.to_string().chars().take(10).filter(|c| *c != '-').collect();
    let prefix = format!("{app}-{day}-");
    let numbers = kept.iter().filter_map(|kept| kept.id.0.strip_prefix(&prefix)?.parse::<u64>().ok());
    ReleaseId(format!("{prefix}{}", numbers.max().unwrap_or(0) + 1))
}
