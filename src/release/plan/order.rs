//! Which members shift together.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::release::{ReleaseOrder, ReleaseSpec};
use crate::model::{Service, ServiceName};
use crate::state::release::Stage;

/// Whom each member has to wait for.
type Waits = BTreeMap<ServiceName, BTreeSet<ServiceName>>;

/// The shifts in their order: one a step, or one a wave of each step. Only calls from member to member count.
///
/// # Errors
/// A circle of calls, for an ordered release.
pub(super) fn stages(
    spec: &ReleaseSpec,
    members: &BTreeSet<ServiceName>,
    services: &BTreeMap<ServiceName, &Service>,
) -> Result<Vec<Stage>, Vec<String>> {
    let waves = match spec.order {
        ReleaseOrder::Lockstep => vec![members.iter().cloned().collect()],
        ReleaseOrder::BackendsFirst => waves(waits(members, services, |caller, called| (caller, called)))?,
        ReleaseOrder::FrontendsFirst => waves(waits(members, services, |caller, called| (called, caller)))?,
    };
    let steps = 0..spec.steps.len();
    let stages = steps.flat_map(|step| {
        waves.iter().map(move |services: &Vec<_>| Stage { step, services: services.clone() })
    });
    Ok(stages.collect())
}

fn waits(
    members: &BTreeSet<ServiceName>,
    services: &BTreeMap<ServiceName, &Service>,
    who_waits_for_whom: impl Fn(ServiceName, ServiceName) -> (ServiceName, ServiceName),
) -> Waits {
    let mut waits: Waits = members.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for caller in members {
        let called = services.get(caller).map_or(&[][..], |service| &service.depends_on);
        for called in called.iter().filter(|called| members.contains(*called) && *called != caller) {
            let (waiting, first) = who_waits_for_whom(caller.clone(), called.clone());
            waits.entry(waiting).or_default().insert(first);
        }
    }
    waits
}

/// Each wave has those that wait for nobody who is left.
fn waves(mut waits: Waits) -> Result<Vec<Vec<ServiceName>>, Vec<String>> {
    let mut waves = Vec::new();
    while !waits.is_empty() {
        let free = waits.iter().filter(|(_, firsts)| firsts.is_empty()).map(|(name, _)| name.clone());
        let wave: Vec<_> = free.collect();
        if wave.is_empty() {
            return Err(circle(&waits));
        }
        waits.retain(|name, _| !wave.contains(name));
        for firsts in waits.values_mut() {
            firsts.retain(|first| !wave.contains(first));
        }
        waves.push(wave);
    }
    Ok(waves)
}

/// Everybody waits for somebody who is left, so following anybody leads into a circle.
fn circle(waits: &Waits) -> Vec<String> {
    let mut path: Vec<&ServiceName> = waits.keys().take(1).collect();
    while let Some(next) = path.last().and_then(|last| waits.get(*last)?.first()) {
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            let circle = path[start..].iter().chain([&next]);
            return circle.map(ToString::to_string).collect();
        }
        path.push(next);
    }
    Vec::new()
}
