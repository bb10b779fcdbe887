//! `/v1/services/SERVICE/weights`: overrides.

use std::collections::BTreeMap;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::change::{Failure, ask, carry_out, cause, color, service};
use super::context::Context;
use super::report::{ChangeReport, SourceReport};
use crate::config;
use crate::model::{ColorName, Weight};
use crate::net::unix::Peer;
use crate::state::requests::ChangeRequest;
use crate::state::{Journaling, Wish};

/// The routes.
pub fn routes() -> Router<Context> {
    Router::new()
        .route("/v1/services/{service}/weights", post(set).delete(reset))
        .route("/v1/services/{service}/source", get(source))
}

/// What is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRequest {
    /// By color; the others keep theirs. Empty to reset.
    #[serde(default)]
    pub colors: BTreeMap<String, i64>,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// Whom the client says it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Also when it cannot be recorded.
    #[serde(default)]
    pub emergency: bool,
}

impl WeightsRequest {
    fn journaling(&self) -> Journaling {
        if self.emergency { Journaling::Emergency } else { Journaling::Required }
    }

    fn colors(&self) -> Result<BTreeMap<ColorName, Weight>, Failure> {
        let colors = self.colors.iter().map(|(name, weight)| {
            let name = color(name)?;
            let weight =
                Weight::new(*weight).map_err(|error| Failure::bad(format!("weight of {name}: {error}")))?;
            Ok((name, weight))
        });
        colors.collect()
    }
}

type Body = Result<Json<WeightsRequest>, JsonRejection>;

async fn set(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<ChangeReport>, Failure> {
    let Json(request) = body?;
    let colors = request.colors()?;
    if colors.is_empty() {
        return Err(Failure::bad("`colors` is empty: name at least one, or use DELETE to reset"));
    }
    let service = service(&context.snapshot.load_full().catalog, &name)?;
    let journaling = request.journaling();
    let cause = cause(peer, &request.why, request.hint).await?;
    carry_out(&context, Wish::Weights { service, colors }, cause, journaling).await
}

async fn reset(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<ChangeReport>, Failure> {
    let Json(request) = body?;
    if !request.colors.is_empty() {
        return Err(Failure::bad("a reset takes no `colors`: the file's weights of all colors come back"));
    }
    let service = service(&context.snapshot.load_full().catalog, &name)?;
    let journaling = request.journaling();
    let cause = cause(peer, &request.why, request.hint).await?;
    carry_out(&context, Wish::Reset { service }, cause, journaling).await
}

/// Where the weights of a service are written, for a client that wants to change them there. Refused while
/// the text on disk is not the one in effect: the client would make other changes take effect with its own.
async fn source(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<SourceReport>, Failure> {
    let snapshot = context.snapshot.load_full();
    let service = service(&snapshot.catalog, &name)?;
    let (reply, result) = oneshot::channel();
    ask(&context, ChangeRequest::Read(reply)).await?;
    let conflict = |why: String| Failure(StatusCode::CONFLICT, why);
    let sources = result.await.map_err(|_| Failure::stopping())?.map_err(conflict)?;
    if sources.hash() != snapshot.catalog.hash {
        return Err(conflict(format!(
            "{} is not what is in effect: `teal reload` first, and see what it says",
            context.facts.config.display()
        )));
    }
    let state = snapshot.services.get(&service);
    let found = config::weights_of(&sources, service.as_str());
    let (Some(state), Some((path, lines))) = (state, found) else {
        return Err(conflict(format!("the weights of {service} were not found in the configuration")));
    };
    let weights = state.service.colors.iter();
    let weights =
        weights.map(|color| (color.name.to_string(), state.overrides.weight(color).get())).collect();
    Ok(Json(SourceReport { service: service.to_string(), path, lines, weights }))
}
