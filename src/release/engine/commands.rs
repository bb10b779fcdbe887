//! What people ask for.

use std::sync::Arc;
use std::time::Instant;

use super::facts::{pools, weights};
use super::look::frozen;
use super::requests::named;
use super::run::Depth;
use super::{Engine, Refused, RefusedKind, Request, SpecText, by_itself};
use crate::config::{self, ReportStyle};
use crate::model::release::ReleaseSpec;
use crate::release::machine::{Verb, command, superseded};
use crate::release::plan::{Plan, World, plan};
use crate::release::report::ReleaseReport;
use crate::state::release::Release;
use crate::state::{Cause, Journaling, Order, Snapshot, Wish};

/// Stands for the reason in the release file.
pub const REASON_OF_FILE: &str = "(reason of the file)";

impl Engine {
    /// Answers; whoever asked may have gone away meanwhile.
    pub(super) async fn answer(&mut self, request: Request) {
        match request {
            Request::Plan(text, reply) => {
                let _ = reply.send(self.plan(&text));
            }
            Request::Start(text, cause, reply) => {
                let _ = reply.send(self.start(&text, cause).await);
            }
            Request::Command(target, verb, cause, reply) => {
                let _ = reply.send(self.command(&target, verb, cause).await);
            }
            Request::Show(target, reply) => {
                let _ = reply.send(self.show(target.as_deref()));
            }
            Request::Explain(target, reply) => {
                let _ = reply.send(self.explain(&target));
            }
        }
    }

    fn plan(&self, text: &SpecText) -> Result<crate::release::report::PlanReport, Refused> {
        let snapshot = self.parts.snapshot.load_full();
        let plan = planned(&snapshot, &spec(text)?, &by_itself("plan"))?;
        Ok(super::show::plan_report(&plan, &snapshot))
    }

    /// Starting changes no traffic: members keep their weights, by overrides from now on.
    async fn start(&mut self, text: &SpecText, cause: Cause) -> Result<ReleaseReport, Refused> {
        let snapshot = self.parts.snapshot.load_full();
        let spec = spec(text)?;
        let mut cause = cause;
        if cause.why == REASON_OF_FILE && !spec.reason.trim().is_empty() {
            cause.why.clone_from(&spec.reason);
        }
        let plan = planned(&snapshot, &spec, &cause)?;
        let release = plan.release;
        for id in &plan.supersedes {
            let Some(kept) = snapshot.releases.get(id) else { continue };
            if let Some(decision) = superseded(kept, &release.id, self.now()) {
                let cause = by_itself(&decision.why);
                self.carry_out(kept, decision, cause).await?;
            }
        }
        let pinned = |member: &crate::state::release::Member| Wish::Weights {
            service: member.service.clone(),
            colors: member.before.clone(),
        };
        let wishes = release.members.iter().map(pinned).collect();
        let journaling = Journaling::Required;
        self.change(Order { wishes, release: Some(Box::new(release.clone())), cause, journaling }).await?;
        tracing::info!(release = %release.id, version = release.spec.version, "release started");
        let snapshot = self.parts.snapshot.load_full();
        let run = self.runs.entry(release.id.clone()).or_default();
        run.resample(&release, &snapshot, Instant::now());
        Ok(self.report(&release, &snapshot))
    }

    async fn command(&mut self, target: &str, verb: Verb, cause: Cause) -> Result<ReleaseReport, Refused> {
        let snapshot = self.parts.snapshot.load_full();
        let release = self.find(target, &snapshot)?;
        let facts = self.facts(&release, &snapshot, Depth::Everything(Instant::now()));
        let decision = command(&release, &verb, &facts, self.now())?;
        tracing::info!(release = %release.id, who = %cause.actor, why = cause.why, "{verb:?}");
        self.carry_out(&release, decision, cause).await?;
        let snapshot = self.parts.snapshot.load_full();
        let release = self.find(release.id.0.as_str(), &snapshot)?;
        Ok(self.report(&release, &snapshot))
    }

    /// The release of that name, or the last one of that app.
    pub(super) fn find(&self, target: &str, snapshot: &Snapshot) -> Result<Arc<Release>, Refused> {
        let target = target.to_ascii_lowercase();
        let mut last_first = snapshot.releases.all().rev();
        let is_meant = |release: &&Arc<Release>| release.id.0 == target || release.app().as_str() == target;
        let kept = last_first.find(is_meant).ok_or_else(|| Refused::unknown(&target))?;
        Ok(self.current(kept))
    }
}

fn spec(text: &SpecText) -> Result<ReleaseSpec, Refused> {
    let SpecText { name, text } = text;
    config::release::read(name, text).map_err(|rejected| {
        let words = config::release::report(name, text, &rejected, ReportStyle::Plain);
        Refused::new(RefusedKind::Bad, words.trim_end())
    })
}

fn planned(snapshot: &Snapshot, spec: &ReleaseSpec, started: &Cause) -> Result<Plan, Refused> {
    let kept: Vec<Release> = snapshot.releases.all().map(|release| Release::clone(release)).collect();
    let frozen = snapshot.releases.freeze(&spec.app).map(frozen);
    let world = World {
        catalog: &snapshot.catalog,
        weights: &weights(snapshot),
        pools: &pools(snapshot),
        kept: &kept,
        frozen: frozen.as_deref(),
    };
    plan(spec, &world, started).map_err(|obstacles| Refused::obstacles(&obstacles))
}

/// The member that somebody means, with or without a zone.
///
/// # Errors
/// There is none of that name.
pub fn member(
    snapshot: &Snapshot,
    target: &str,
    service: &str,
) -> Result<crate::model::ServiceName, Refused> {
    let zones: Vec<String> = snapshot.catalog.settings.dns.zones.iter().map(ToString::to_string).collect();
    let names: Vec<_> = snapshot.services.keys().cloned().collect();
    named(&names, service, &zones)
        .ok_or_else(|| Refused::new(RefusedKind::Unknown, format!("{service:?} is no member of {target}")))
}
