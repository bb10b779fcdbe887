//! What the engine can be asked for.

use tokio::sync::oneshot;

use crate::model::ServiceName;
use crate::release::machine::{Refusal, Verb};
use crate::release::plan::Obstacle;
use crate::release::report::{ExplainReport, PlanReport, ReleaseReport};
use crate::state::{Cause, ChangeError};

/// A release file as somebody sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecText {
    /// The name that messages show.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// Somebody asks and waits for the answer.
#[derive(Debug)]
pub enum Request {
    /// What a release would do.
    Plan(SpecText, Reply<PlanReport>),
    /// That it begins.
    Start(SpecText, Cause, Reply<ReleaseReport>),
    /// A word about the release of an app, or of that name.
    Command(String, Verb, Cause, Reply<ReleaseReport>),
    /// All releases that are known, of one app or of that name where one is given.
    Show(Option<String>, Reply<Vec<ReleaseReport>>),
    /// The numbers behind the last verdict.
    Explain(String, Reply<ExplainReport>),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refused {
    /// Which kind of no it is.
    pub kind: RefusedKind,
    /// Why, in words.
    pub words: String,
}

/// Kinds of no, which programs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// It makes no sense.
    Bad,
    /// It names what is not there.
    Unknown,
    /// It is not possible now.
    Conflict,
    /// Shifts are frozen.
    Frozen,
    /// It could not be recorded.
    Failed,
}

impl RefusedKind {
    /// Its name in answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Unknown => "unknown",
            Self::Conflict => "conflict",
            Self::Frozen => "frozen",
            Self::Failed => "failed",
        }
    }
}

impl Refused {
    pub(super) fn new(kind: RefusedKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }

    /// Nothing is known by that name.
    pub(super) fn unknown(target: &str) -> Self {
        Self::new(
            RefusedKind::Unknown,
            format!(
                "no release of an app or of the name {target:?} is known on this host: `teal release status` lists them"
            ),
        )
    }

    /// What keeps a release from starting.
    pub(super) fn obstacles(obstacles: &[Obstacle]) -> Self {
        let is_frozen = obstacles.iter().all(|obstacle| matches!(obstacle, Obstacle::Frozen(_)));
        let is_unknown = |obstacle: &Obstacle| {
            matches!(
                obstacle,
                Obstacle::UnknownApp { .. }
                    | Obstacle::NotInApp { .. }
                    | Obstacle::UnknownColor { .. }
                    | Obstacle::NoColor { .. }
            )
        };
        let kind = if is_frozen {
            RefusedKind::Frozen
        } else if obstacles.iter().any(is_unknown) {
            RefusedKind::Unknown
        } else {
            RefusedKind::Conflict
        };
        let words: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        Self::new(kind, words.join("\n"))
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Frozen(_) => RefusedKind::Frozen,
            Refusal::Unknown(_) => RefusedKind::Unknown,
            _ => RefusedKind::Conflict,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let kind = match &error {
            ChangeError::Unknown(_) => RefusedKind::Unknown,
            ChangeError::InRelease { .. } => RefusedKind::Conflict,
            ChangeError::Unrecorded(_) | ChangeError::TooMany(_) | ChangeError::Task(_) => {
                RefusedKind::Failed
            }
        };
        let words = match error {
            // Words about releases know no `--emergency`, and do not need it where it counts.
            ChangeError::Unrecorded(journal) => {
                format!(
                    "nothing was changed, as it could not be recorded: {journal}; a rollback is done all the same"
                )
            }
            error => error.to_string(),
        };
        Self::new(kind, words)
    }
}

/// The service that somebody means, with or without a zone.
pub(super) fn named(services: &[ServiceName], name: &str, zones: &[String]) -> Option<ServiceName> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let bare = zones.iter().find_map(|zone| name.strip_suffix(zone.as_str())?.strip_suffix('.'));
    let bare = bare.unwrap_or(&name);
    services.iter().find(|service| service.as_str() == bare).cloned()
}
