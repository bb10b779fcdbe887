//! The API under `/v1` on the control socket.

use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::context::{Context, ReloadRequest};
use super::status::status;
use super::{dns, drains, endpoints, journal, releases, weights};
use crate::state::Removal;

/// Bytes that a request's body may have.
const BODY_OCTETS_MAX: usize = 64 * 1024;

/// The routes of `[admin] socket`.
pub fn routes(context: Context) -> Router {
    Router::new()
        .route(
            "/v1/status",
            get(|State(context): State<Context>| async move { Json(status(&context, Instant::now())) }),
        )
        .route("/v1/reload", post(reload))
        .merge(weights::routes())
        .merge(endpoints::routes())
        .merge(drains::routes())
        .merge(journal::routes())
        .merge(releases::routes())
        .merge(dns::routes())
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .with_state(context)
}

#[derive(Deserialize)]
struct ReloadQuery {
    #[serde(default)]
    allow_removal: bool,
}

async fn reload(State(context): State<Context>, Query(query): Query<ReloadQuery>) -> Response {
    let removal = if query.allow_removal { Removal::Allowed } else { Removal::Guarded };
    let (reply, result) = oneshot::channel();
    let stopping = (StatusCode::SERVICE_UNAVAILABLE, "teal is stopping\n");
    if context.reload.send(ReloadRequest { removal, reply }).await.is_err() {
        return stopping.into_response();
    }
    result.await.map_or_else(|_| stopping.into_response(), |report| Json(report).into_response())
}
