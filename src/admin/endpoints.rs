//! `/v1/services/SERVICE/endpoints`: endpoints, one or all of a color, that the operator takes out of use.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::change::{Failure, address, carry_out, cause, color, service};
use super::context::Context;
use super::report::ChangeReport;
use crate::net::unix::Peer;
use crate::state::{Admission, Journaling, Wish};

/// The routes.
pub fn routes() -> Router<Context> {
    Router::new().route("/v1/services/{service}/endpoints", post(set))
}

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// The color.
    pub color: String,
    /// `ip:port`, or `ip` for all of its ports; absent for every endpoint of the color.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it is to be.
    pub to: Admission,
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

async fn set(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Result<Json<EndpointRequest>, JsonRejection>,
) -> Result<Json<ChangeReport>, Failure> {
    let Json(request) = body?;
    let color = color(&request.color)?;
    let address = request.address.as_deref().map(address).transpose()?;
    let service = service(&context.snapshot.load_full().catalog, &name)?;
    let journaling = if request.emergency { Journaling::Emergency } else { Journaling::Required };
    let cause = cause(peer, &request.why, request.hint).await?;
    carry_out(&context, Wish::Endpoint { service, color, address, to: request.to }, cause, journaling).await
}
