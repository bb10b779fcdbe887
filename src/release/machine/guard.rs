//! What every shift wants of the members' colors.

use super::facts::{Facts, MemberFacts};
use crate::model::release::{Guard, Percent};
use crate::state::release::{Member, Phase, Release};

/// Endpoints of the new color that have to work for a share, where the old color has `old` endpoints.
pub fn working_needed(guard: &Guard, percent: Percent, old: u32) -> u32 {
    let parts = u64::from(percent.get()) * u64::from(old) * u64::from(guard.min_capacity_permille);
    u32::try_from(parts.div_ceil(100 * 1000)).unwrap_or(u32::MAX).max(guard.min_healthy)
}

/// Why a member may not have that share on its new color; nothing where nothing is known of it.
pub(super) fn undersized(
    release: &Release,
    member: &Member,
    percent: Percent,
    facts: &Facts,
) -> Option<String> {
    let known = facts.members.get(&member.service)?;
    short(release, member, percent, known, known.to.working)
}

/// The same, were all endpoints to work of which nothing is known yet.
pub(super) fn surely_undersized(
    release: &Release,
    member: &Member,
    percent: Percent,
    facts: &Facts,
) -> Option<String> {
    let known = facts.members.get(&member.service)?;
    short(release, member, percent, known, known.to.may_work())
}

fn short(
    release: &Release,
    member: &Member,
    percent: Percent,
    known: &MemberFacts,
    working: u32,
) -> Option<String> {
    let needed = working_needed(&release.spec.guard, percent, known.from.all);
    (working < needed).then(|| {
        format!(
            "{} of {}: {} of {} endpoints work, {percent} needs {needed}",
            member.to, member.service, known.to.working, known.to.all
        )
    })
}

/// A member's new color that gets connections and has no endpoint that works, while its old color has one.
pub(super) fn dead(release: &Release, facts: &Facts) -> Option<String> {
    release.members.iter().filter(|member| member.percent > Percent::NONE).find_map(|member| {
        let known = facts.members.get(&member.service)?;
        (known.to.may_work() == 0 && known.from.working > 0)
            .then(|| format!("{} of {}: no endpoint works", member.to, member.service))
    })
}

/// What is wrong with the pools for a release that goes on with `phase`, short of a hard failure.
pub(super) fn unhealthy(release: &Release, phase: &Phase, facts: &Facts) -> Option<String> {
    if !matches!(phase, Phase::Shifting | Phase::Baking | Phase::Judging) {
        return None;
    }
    release.members.iter().find_map(|member| {
        let known = facts.members.get(&member.service)?;
        if known.from.may_work() == 0 && member.percent < Percent::ALL {
            return Some(format!("{} of {}: no endpoint works", member.from, member.service));
        }
        if member.percent > Percent::NONE {
            return surely_undersized(release, member, member.percent, facts);
        }
        None
    })
}
