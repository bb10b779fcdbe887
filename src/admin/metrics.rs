//! `/metrics`, `/healthz` and `/readyz`: the only routes that may be open to the network.

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

use super::context::{Context, Phase};
use crate::state::collect::collect;

/// The routes of `[metrics] listen`.
pub fn routes(context: Context) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(context)
}

/// The type of Prometheus' text format (exposition formats, version 0.0.4).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let rendered = tokio::task::spawn_blocking(move || {
        collect(&context.snapshot, &context.live, Instant::now());
        context.ordinary.render(context.live.series())
    });
    match rendered.await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(context): State<Context>) -> impl IntoResponse {
    let phase: watch::Ref<'_, Phase> = context.phase.borrow();
    let code = if *phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", phase.label()))
}
