//! `/v1/journal`: what was changed, by whom and why.

use std::collections::BTreeMap;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::change::{Failure, ask, cause};
use super::context::Context;
use super::report::{ChangeReport, JournalReport};
use crate::net::unix::Peer;
use crate::state::journal::files::{read_files, verify};
use crate::state::requests::ChangeRequest;

/// Records that are shown unless the client says how many.
const LIMIT: usize = 20;
/// Records that are shown at most.
const LIMIT_MAX: usize = 10_000;

/// The routes.
pub fn routes() -> Router<Context> {
    Router::new().route("/v1/journal", get(show)).route("/v1/journal/accept", post(accept))
}

#[derive(Deserialize)]
struct ShowQuery {
    limit: Option<usize>,
}

async fn show(
    State(context): State<Context>,
    Query(query): Query<ShowQuery>,
) -> Result<Json<JournalReport>, Failure> {
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let folder = context.state.clone();
    let read = tokio::task::spawn_blocking(move || {
        let (replayed, damage) = verify(&folder)?;
        let files = read_files(&folder)?;
        let lines = files.iter().rev().flat_map(|(_, bytes)| bytes.rsplit(|byte| *byte == b'\n'));
        let records = lines.filter(|line| !line.is_empty());
        let mut records: Vec<_> =
            records.filter_map(|line| serde_json::from_slice(line).ok()).take(limit).collect();
        records.reverse();
        Ok::<_, std::io::Error>(JournalReport {
            records,
            sequence: replayed.chain.sequence(),
            hash: replayed.chain.hash().to_owned(),
            verified: replayed.records,
            damage,
        })
    });
    let failed = |why: String| Failure(StatusCode::INTERNAL_SERVER_ERROR, why);
    match read.await {
        Ok(Ok(report)) => Ok(Json(report)),
        Ok(Err(error)) => Err(failed(format!("the journal cannot be read: {error}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Trusts the journal again after damage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// Why.
    #[serde(default)]
    pub why: String,
    /// Whom the client says it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

async fn accept(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<AcceptRequest>, JsonRejection>,
) -> Result<Json<ChangeReport>, Failure> {
    let Json(request) = body?;
    let cause = cause(peer, &request.why, request.hint).await?;
    let (reply, result) = oneshot::channel();
    ask(&context, ChangeRequest::Accept(cause, reply)).await?;
    let was_damaged = result.await.map_err(|_| Failure::stopping())??;
    let changes =
        if was_damaged { vec!["the damage of the journal is accepted".to_owned()] } else { Vec::new() };
    Ok(Json(ChangeReport { changes, warnings: Vec::new(), unrecorded: None, weights: BTreeMap::new() }))
}
