//! From the snapshot and live facts to what a plan and the machine ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::run::Depth;
use crate::model::{ColorName, ServiceName, Weight};
use crate::release::machine::PoolFacts;
use crate::state::draining::{DrainCause, draining};
use crate::state::release::{Phase, Release};
use crate::state::{ColorState, EndpointState, HealthState, Live, ServiceState, Snapshot};

/// Endpoints of every service and color.
pub type Pools = BTreeMap<ServiceName, BTreeMap<ColorName, PoolFacts>>;

fn works(endpoint: &EndpointState) -> bool {
    endpoint.is_enabled()
        && !endpoint.live.outlier.is_ejected()
        && matches!(endpoint.health(), HealthState::Healthy | HealthState::Unchecked)
}

/// What is known of one color: the port where the fewest endpoints work counts. Open connections only at
/// [`Depth::Everything`].
pub fn pool(service: &ServiceState, name: &ColorName, depth: Depth) -> Option<PoolFacts> {
    let on_ports = || service.ports.iter().filter_map(|port| port.color(name));
    let working = |color: &ColorState| color.endpoints.iter().filter(|endpoint| works(endpoint)).count();
    let is_pending =
        |endpoint: &&EndpointState| endpoint.is_enabled() && endpoint.health() == HealthState::Pending;
    let pending = |color: &ColorState| color.endpoints.iter().filter(is_pending).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let working = count(on_ports().map(working).min()?);
    let pending = count(on_ports().map(pending).max()?);
    let all = count(on_ports().map(|color| color.endpoints.len()).max()?);
    let (open, oldest) = match depth {
        Depth::Counters => (0, Duration::ZERO),
        Depth::Everything(now) => opened(on_ports().flat_map(|color| &color.endpoints), now),
    };
    Some(PoolFacts { working, pending, all, open, oldest })
}

/// Open connections, and the age of the oldest.
fn opened<'a>(endpoints: impl Iterator<Item = &'a EndpointState>, now: Instant) -> (u64, Duration) {
    let (mut open, mut oldest) = (0, None::<Instant>);
    for endpoint in endpoints {
        let (count, since) = endpoint.live.open.summary(|_| true);
        open += count as u64;
        oldest = oldest.into_iter().chain(since).min();
    }
    (open, oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)))
}

/// The pools of every service, without open connections.
pub fn pools(snapshot: &Snapshot) -> Pools {
    let of_service = |state: &ServiceState| {
        let colors = state.service.colors.iter();
        let known = |name: &ColorName| Some((name.clone(), pool(state, name, Depth::Counters)?));
        colors.filter_map(|color| known(&color.name)).collect()
    };
    snapshot.services.iter().map(|(name, state)| (name.clone(), of_service(state))).collect()
}

/// The weights in effect of every service.
pub fn weights(snapshot: &Snapshot) -> BTreeMap<ServiceName, BTreeMap<ColorName, Weight>> {
    let of_service = |state: &ServiceState| {
        let colors = state.service.colors.iter();
        colors.map(|color| (color.name.clone(), state.overrides.weight(color))).collect()
    };
    snapshot.services.iter().map(|(name, state)| (name.clone(), of_service(state))).collect()
}

/// The file's weights of members where they changed since the release last took them.
pub fn edits(snapshot: &Snapshot, release: &Release) -> BTreeMap<ServiceName, BTreeMap<ColorName, Weight>> {
    if !release.is_open() {
        return BTreeMap::new();
    }
    let edited = |name: &ServiceName| {
        let state = snapshot.services.get(name)?;
        let set = state.overrides.weights.as_ref()?;
        set.is_outdated(Some(&state.service)).then(|| {
            let colors = state.service.colors.iter();
            colors.map(|color| (color.name.clone(), color.weight)).collect()
        })
    };
    release
        .members
        .iter()
        .filter_map(|member| Some((member.service.clone(), edited(&member.service)?)))
        .collect()
}

/// Connections that a rollback or a confirm has still to end, and the age of the oldest.
pub fn draining_left(snapshot: &Snapshot, live: &Live, release: &Release, now: Instant) -> (u64, Duration) {
    if !matches!(release.phase, Phase::RollingBack | Phase::Confirming) {
        return (0, Duration::ZERO);
    }
    let members: BTreeSet<&ServiceName> = release.members.iter().map(|member| &member.service).collect();
    let (mut left, mut oldest) = (0, Duration::ZERO);
    for drain in draining(snapshot, live) {
        let is_ours = matches!(drain.cause, DrainCause::RolledBack | DrainCause::Confirmed);
        if is_ours && members.contains(&drain.service) {
            left += drain.left as u64;
            let age = drain.oldest.map(|since| now.saturating_duration_since(since));
            oldest = oldest.max(age.unwrap_or_default());
        }
    }
    (left, oldest)
}
