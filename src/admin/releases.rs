//! `/v1/releases` and `/v1/freezes`: releases.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::change::{Failure, ask, cause};
use super::context::Context;
use super::report::{FreezeReport, ReleasesReport};
use crate::model::AppName;
use crate::model::release::Percent;
use crate::net::unix::Peer;
use crate::release::engine::{self, Refused, RefusedKind, Reply, Request, SpecText};
use crate::release::machine::Verb;
use crate::release::report::{ExplainReport, PlanReport, ReleaseReport};
use crate::state::FreezeOrder;
use crate::state::requests::ChangeRequest;

/// Bytes that a release file may have, in JSON.
const SPEC_OCTETS_MAX: usize = 1024 * 1024;

/// The routes.
pub fn routes() -> Router<Context> {
    let with_file =
        Router::new().route("/v1/releases", get(show).post(start)).route("/v1/releases/plan", post(plan));
    with_file
        .layer(DefaultBodyLimit::max(SPEC_OCTETS_MAX))
        .route("/v1/releases/{target}/explain", get(explain))
        .route("/v1/releases/{target}/{verb}", post(command))
        .route("/v1/freezes", post(freeze))
}

/// A release file, and why it is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecRequest {
    /// The name that messages show.
    pub name: String,
    /// TOML.
    pub text: String,
    /// Why; the file's reason where this is empty.
    #[serde(default)]
    pub why: String,
    /// Whom the client says it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A word about a release.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerbRequest {
    /// Why; wanted for confirm, rollback, undo and skipped checks.
    #[serde(default)]
    pub why: String,
    /// Whom the client says it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For `set`: the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// For `set`: the share of its new color.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// For `next`: without verdict and gates.
    #[serde(default)]
    pub skip_checks: bool,
    /// For `confirm`: at once, without waiting for the old color to drain.
    #[serde(default)]
    pub no_wait: bool,
    /// For `rollback` and `undo`: also past a point of no return.
    #[serde(default)]
    pub force: bool,
}

/// Shifts of an app, or of all, are frozen or not.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// The app; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Whether they are.
    pub frozen: bool,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// Whom the client says it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused.kind {
            RefusedKind::Bad => StatusCode::BAD_REQUEST,
            RefusedKind::Unknown => StatusCode::NOT_FOUND,
            RefusedKind::Conflict => StatusCode::CONFLICT,
            RefusedKind::Frozen => StatusCode::LOCKED,
            RefusedKind::Failed => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self(status, refused.words)
    }
}

/// Hands a request to the engine and waits for its answer.
async fn ask_engine<T>(
    context: &Context,
    request: impl FnOnce(Reply<T>) -> Request,
) -> Result<Json<T>, Failure> {
    let gone = || {
        let words = "the release engine has stopped: traffic goes on with the weights applied last";
        Failure(StatusCode::SERVICE_UNAVAILABLE, words.to_owned())
    };
    let (reply, result) = oneshot::channel();
    context.releases.send(request(reply)).await.map_err(|_| gone())?;
    Ok(Json(result.await.map_err(|_| gone())??))
}

async fn plan(
    State(context): State<Context>,
    body: Result<Json<SpecRequest>, JsonRejection>,
) -> Result<Json<PlanReport>, Failure> {
    let Json(SpecRequest { name, text, .. }) = body?;
    ask_engine(&context, |reply| Request::Plan(SpecText { name, text }, reply)).await
}

async fn start(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<SpecRequest>, JsonRejection>,
) -> Result<Json<ReleaseReport>, Failure> {
    let Json(SpecRequest { name, text, why, hint }) = body?;
    let cause = cause(peer, if why.trim().is_empty() { engine::REASON_OF_FILE } else { &why }, hint).await?;
    ask_engine(&context, |reply| Request::Start(SpecText { name, text }, cause, reply)).await
}

#[derive(Deserialize)]
struct ShowQuery {
    release: Option<String>,
}

async fn show(
    State(context): State<Context>,
    Query(query): Query<ShowQuery>,
) -> Result<Json<ReleasesReport>, Failure> {
    let Json(releases) = ask_engine(&context, |reply| Request::Show(query.release, reply)).await?;
    let snapshot = context.snapshot.load_full();
    let freezes = snapshot.releases.freezes().iter().map(|freeze| FreezeReport {
        app: freeze.app.as_ref().map(ToString::to_string),
        by: freeze.cause.actor.to_string(),
        at: freeze.cause.at,
        why: freeze.cause.why.clone(),
    });
    let (freezes, baseline_hash) = (freezes.collect(), snapshot.baseline_hash());
    Ok(Json(ReleasesReport { releases, freezes, baseline_hash }))
}

async fn explain(
    State(context): State<Context>,
    Path(target): Path<String>,
) -> Result<Json<ExplainReport>, Failure> {
    ask_engine(&context, |reply| Request::Explain(target, reply)).await
}

async fn command(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path((target, verb)): Path<(String, String)>,
    body: Result<Json<VerbRequest>, JsonRejection>,
) -> Result<Json<ReleaseReport>, Failure> {
    let Json(request) = body?;
    let asked = understand(&context, (&target, &verb), &request)?;
    let must_say_why = matches!(
        asked,
        Verb::Confirm { .. } | Verb::Rollback { .. } | Verb::Undo { .. } | Verb::Next { skip_checks: true }
    );
    let why = match request.why.trim() {
        "" if !must_say_why => format!("release {verb}"),
        why => why.to_owned(),
    };
    let cause = cause(peer, &why, request.hint).await?;
    ask_engine(&context, |reply| Request::Command(target, asked, cause, reply)).await
}

fn understand(
    context: &Context,
    (target, verb): (&str, &str),
    request: &VerbRequest,
) -> Result<Verb, Failure> {
    Ok(match verb {
        "next" => Verb::Next { skip_checks: request.skip_checks },
        "hold" => Verb::Hold,
        "resume" => Verb::Resume,
        "confirm" => Verb::Confirm { wait: !request.no_wait },
        "rollback" => Verb::Rollback { force: request.force },
        "undo" => Verb::Undo { force: request.force },
        "adopt" => Verb::Adopt,
        "discard" => Verb::Discard,
        "set" => {
            let name = request.service.as_deref().ok_or_else(|| Failure::bad("`service` is missing"))?;
            let service = engine::member(&context.snapshot.load_full(), target, name)?;
            let percent = request.percent.ok_or_else(|| Failure::bad("`percent` is missing"))?;
            let percent = Percent::new(percent)
                .ok_or_else(|| Failure::bad(format!("percent: {percent} is not between 0 and 100")))?;
            Verb::Set { service, percent }
        }
        _ => {
            let words = format!(
                "{verb:?} is nothing that a release does: next, set, hold, resume, confirm, rollback, undo, adopt, discard"
            );
            return Err(Failure(StatusCode::NOT_FOUND, words));
        }
    })
}

async fn freeze(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<FreezeRequest>, JsonRejection>,
) -> Result<Json<bool>, Failure> {
    let Json(FreezeRequest { app, frozen, why, hint }) = body?;
    let snapshot = context.snapshot.load_full();
    let app = app.map(|name| known_app(&snapshot.catalog, &name, frozen)).transpose()?;
    let cause = cause(peer, &why, hint).await?;
    let (reply, result) = oneshot::channel();
    ask(&context, ChangeRequest::Freeze(FreezeOrder { app, frozen, cause }, reply)).await?;
    Ok(Json(result.await.map_err(|_| Failure::stopping())??))
}

/// The app of that name; one that is gone from the configuration can still be let go.
fn known_app(catalog: &crate::model::Catalog, name: &str, frozen: bool) -> Result<AppName, Failure> {
    let app = AppName::parse(name).map_err(|error| Failure::bad(format!("app {name:?} {error}")))?;
    if frozen && !catalog.apps.contains_key(&app) {
        let known: Vec<&str> = catalog.apps.keys().map(AppName::as_str).collect();
        let words = format!("no app is called {name:?} on this host; it knows {}", known.join(", "));
        return Err(Failure(StatusCode::NOT_FOUND, words));
    }
    Ok(app)
}
