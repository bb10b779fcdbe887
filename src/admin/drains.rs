//! `/v1/drains`: connections that no others follow, and how far they are.

use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::change::{Failure, address, color, without_zone};
use super::context::Context;
use super::report::{DrainReport, DrainsReport};
use crate::model::{Catalog, ColorName};
use crate::state::draining::{Draining, draining};
use crate::state::{Address, Live, Snapshot};

/// The routes.
pub fn routes() -> Router<Context> {
    Router::new().route("/v1/drains", get(show))
}

/// Which ones are asked for; all where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainsQuery {
    /// Of this service, with or without the zone.
    pub service: Option<String>,
    /// Of this color.
    pub color: Option<String>,
    /// Of this endpoint: `ip:port`, or `ip`.
    pub endpoint: Option<String>,
}

/// The same, understood.
struct Scope {
    service: Option<String>,
    color: Option<ColorName>,
    endpoint: Option<Address>,
}

impl Scope {
    fn of(query: &DrainsQuery, catalog: &Catalog) -> Result<Self, Failure> {
        Ok(Self {
            service: query.service.as_ref().map(|service| without_zone(catalog, service)),
            color: query.color.as_deref().map(color).transpose()?,
            endpoint: query.endpoint.as_deref().map(address).transpose()?,
        })
    }

    fn has(&self, drain: &Draining) -> bool {
        self.service.as_ref().is_none_or(|service| service == drain.service.as_str())
            && self.color.as_ref().is_none_or(|color| *color == drain.color)
            && self.endpoint.is_none_or(|endpoint| endpoint.matches(drain.address))
    }

    /// Why what it names may not drain although somebody expects it to.
    fn warning(&self, snapshot: &Snapshot) -> Option<String> {
        let unknown =
            || Some("the configuration does not have that: it was removed, or is misspelt".to_owned());
        let service = self.service.as_ref()?;
        let Some(state) = snapshot.services.get(service.as_str()) else { return unknown() };
        let wanted = self.color.as_ref()?;
        let colors = state.ports.iter().flat_map(|port| &port.colors).filter(|color| color.name == *wanted);
        let endpoints =
            colors.flat_map(|color| color.endpoints.iter().map(move |endpoint| (color, endpoint)));
        let is_named = |address| self.endpoint.is_none_or(|endpoint| endpoint.matches(address));
        let mut named = endpoints.filter(|(_, endpoint)| is_named(endpoint.address)).peekable();
        if named.peek().is_none() {
            return unknown();
        }
        let is_used = named.any(|(color, endpoint)| endpoint.is_enabled() && !color.weight.is_zero());
        is_used.then(|| "that is in use, and takes new connections; -m WHY takes it out of use".to_owned())
    }
}

async fn show(
    State(context): State<Context>,
    Query(query): Query<DrainsQuery>,
) -> Result<Json<DrainsReport>, Failure> {
    let snapshot = context.snapshot.load_full();
    let scope = Scope::of(&query, &snapshot.catalog)?;
    let drains = reports(&snapshot, &context.live, Instant::now(), |drain| scope.has(drain));
    Ok(Json(DrainsReport { drains, warning: scope.warning(&snapshot) }))
}

/// Those that are `wanted`, as of now.
pub fn reports(
    snapshot: &Snapshot,
    live: &Live,
    now: Instant,
    wanted: impl Fn(&Draining) -> bool,
) -> Vec<DrainReport> {
    draining(snapshot, live).iter().filter(|drain| wanted(drain)).map(|drain| report(drain, now)).collect()
}

fn report(drain: &Draining, now: Instant) -> DrainReport {
    // Rounded up: 0 only when it is time.
    let closed_in =
        |deadline: Instant| deadline.saturating_duration_since(now) + Duration::from_nanos(999_999_999);
    DrainReport {
        service: drain.service.to_string(),
        port: drain.port,
        color: drain.color.to_string(),
        endpoint: drain.address,
        why: drain.cause.label().to_owned(),
        left: drain.left,
        oldest_seconds: drain.oldest.map(|oldest| now.saturating_duration_since(oldest).as_secs()),
        closed_in_seconds: drain.deadline.map(|deadline| closed_in(deadline).as_secs()),
    }
}
