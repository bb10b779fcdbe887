//! What every route that changes something needs: who asks, why, and the answer.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::context::Context;
use super::report::{ChangeReport, ErrorReport};
use crate::model::{Catalog, ColorName, ServiceName};
use crate::net::unix::Peer;
use crate::state::journal::JournalError;
use crate::state::requests::ChangeRequest;
use crate::state::{Actor, Address, Cause, ChangeError, Journaling, Order, Outcome, Wish, order};

/// Characters that a reason may have.
const WHY_CHARACTERS_MAX: usize = 500;
/// Characters that a client may say about whom it acts for.
const HINT_CHARACTERS_MAX: usize = 64;

/// A request that is answered with an error: its status code and why.
#[derive(Debug)]
pub struct Failure(pub StatusCode, pub String);

impl Failure {
    /// The request makes no sense.
    pub fn bad(why: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, why.into())
    }

    /// The daemon is about to end.
    pub fn stopping() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "teal is stopping: nothing is changed any more".to_owned())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<order::Unknown> for Failure {
    fn from(unknown: order::Unknown) -> Self {
        Self(StatusCode::NOT_FOUND, unknown.to_string())
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let status = match &error {
            ChangeError::Unknown(_) => StatusCode::NOT_FOUND,
            ChangeError::InRelease { .. } | ChangeError::Unrecorded(JournalError::Damaged(_)) => {
                StatusCode::CONFLICT
            }
            ChangeError::Unrecorded(_) | ChangeError::TooMany(_) => StatusCode::INSUFFICIENT_STORAGE,
            ChangeError::Task(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorReport { error: self.1 })).into_response()
    }
}

/// Whether text is a line that may be printed to a terminal, of so many characters at most.
fn is_plain(text: &str, characters_max: usize) -> bool {
    text.chars().count() <= characters_max && !text.chars().any(char::is_control)
}

/// Who, when and why; nobody changes anything without a reason.
///
/// # Errors
/// The reason is missing, too long or no plain line.
pub async fn cause(peer: Peer, why: &str, hint: Option<String>) -> Result<Cause, Failure> {
    let why = why.trim().to_owned();
    if why.is_empty() {
        return Err(Failure::bad("say why: `why` is empty"));
    }
    if !is_plain(&why, WHY_CHARACTERS_MAX) {
        return Err(Failure::bad(format!(
            "`why` must be one line of at most {WHY_CHARACTERS_MAX} characters"
        )));
    }
    let hint = hint.filter(|hint| !hint.is_empty());
    if hint.as_ref().is_some_and(|hint| !is_plain(hint, HINT_CHARACTERS_MAX)) {
        return Err(Failure::bad(format!("`hint` must be at most {HINT_CHARACTERS_MAX} characters")));
    }
    // The user's name may come from a directory service.
    let actor = tokio::task::spawn_blocking(move || Actor {
        name: peer.user().unwrap_or_else(|| format!("uid {}", peer.uid)),
        uid: Some(peer.uid),
        pid: Some(peer.pid),
        command: peer.command(),
        login: peer.login(),
        hint,
    });
    let actor = actor.await.map_err(|_| Failure::stopping())?;
    Ok(Cause { actor, at: now_unix_seconds(), why })
}

fn now_unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The service that a path names, with or without one of the zones.
///
/// # Errors
/// There is none of that name.
pub fn service(catalog: &Catalog, name: &str) -> Result<ServiceName, Failure> {
    Ok(order::find(catalog, &without_zone(catalog, name))?.name.clone())
}

/// A service's name without one of the zones.
pub fn without_zone(catalog: &Catalog, name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let zones = &catalog.settings.dns.zones;
    let stripped = zones.iter().find_map(|zone| name.strip_suffix(zone.as_str())?.strip_suffix('.'));
    stripped.unwrap_or(&name).to_owned()
}

/// A color as somebody wrote it.
///
/// # Errors
/// It can be no color's name.
pub fn color(text: &str) -> Result<ColorName, Failure> {
    ColorName::parse(text).map_err(|error| Failure::bad(format!("color {text:?} {error}")))
}

/// An endpoint as somebody wrote it.
///
/// # Errors
/// It is no address.
pub fn address(text: &str) -> Result<Address, Failure> {
    let no_address = |_| format!("{text:?} is no address: write it as 10.0.0.11:5000, or 10.0.0.11");
    text.parse().map_err(no_address).map_err(Failure::bad)
}

/// Hands a wish to the one writer, waits for what becomes of it, and says it.
///
/// # Errors
/// Why nothing was changed.
pub async fn carry_out(
    context: &Context,
    wish: Wish,
    cause: Cause,
    journaling: Journaling,
) -> Result<Json<ChangeReport>, Failure> {
    let (reply, result) = oneshot::channel();
    let order = Order { wishes: vec![wish], release: None, cause, journaling };
    ask(context, ChangeRequest::Order(order, reply)).await?;
    let outcome = result.await.map_err(|_| Failure::stopping())??;
    Ok(Json(report(outcome)))
}

/// Sends a request to the task of the one writer.
///
/// # Errors
/// It has ended.
pub async fn ask(context: &Context, request: ChangeRequest) -> Result<(), Failure> {
    context.changes.send(request).await.map_err(|_| Failure::stopping())
}

fn report(outcome: Outcome) -> ChangeReport {
    let weights = outcome.weights.into_values().flatten();
    ChangeReport {
        changes: outcome.edits.iter().map(ToString::to_string).collect(),
        warnings: outcome.warnings,
        unrecorded: outcome.unrecorded,
        weights: weights.map(|(color, weight)| (color.to_string(), weight.get())).collect(),
    }
}
