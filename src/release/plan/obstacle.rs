//! What can be in the way of a release, in words.

use crate::model::release::Percent;
use crate::model::{AppName, ColorName, ServiceName};
use crate::state::release::ReleaseId;

/// What is in the way of a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// There is no such app.
    #[error("there is no app {app}{}", list(" (apps: ", known, ")"))]
    UnknownApp {
        /// What was asked for.
        app: AppName,
        /// What there is.
        known: Vec<String>,
    },
    /// A service is not in the app.
    #[error("{service} is no service of {app}{}", list(" (services: ", known, ")"))]
    NotInApp {
        /// What was asked for.
        service: ServiceName,
        /// The app.
        app: AppName,
        /// What it has.
        known: Vec<String>,
    },
    /// No service has the new color.
    #[error("no service of {app} has a color {color}")]
    UnknownColor {
        /// The app.
        app: AppName,
        /// What was asked for.
        color: ColorName,
    },
    /// A member has no such color.
    #[error("{service} has no color {color}{}", list(" (colors: ", known, ")"))]
    NoColor {
        /// The member.
        service: ServiceName,
        /// What was asked for.
        color: ColorName,
        /// What it has.
        known: Vec<String>,
    },
    /// A member has moved already.
    #[error("{color} of {service} has everything already")]
    HasEverything {
        /// The member.
        service: ServiceName,
        /// Its new color.
        color: ColorName,
    },
    /// Nothing has to move.
    #[error("nothing to move: {color} has everything already in every service of {app} that has it")]
    NothingToMove {
        /// The app.
        app: AppName,
        /// The new color.
        color: ColorName,
    },
    /// A member gets no connections at all.
    #[error("no color of {service} has weight: give its old color some first")]
    NoWeight {
        /// The member.
        service: ServiceName,
    },
    /// A member is split between more than two colors.
    #[error(
        "{service} has weight on {}: a release moves from one color to another, set one of them to 0",
        list("", colors, "")
    )]
    ThirdColor {
        /// The member.
        service: ServiceName,
        /// Its colors with weight other than the new one.
        colors: Vec<String>,
    },
    /// The new color has more than the first step gives it.
    #[error(
        "{color} of {service} has {has} already, the first step would take it back to {first}: set it to 0 or begin higher"
    )]
    BeyondFirstStep {
        /// The member.
        service: ServiceName,
        /// Its new color.
        color: ColorName,
        /// What it has.
        has: Percent,
        /// The first step.
        first: Percent,
    },
    /// A member is in another release that has not ended.
    #[error("{service} is in {other} ({phase}){}", if *open { ": confirm it or roll it back" } else { ": wait until that is over" })]
    Overlaps {
        /// The member.
        service: ServiceName,
        /// The other release.
        other: ReleaseId,
        /// What that does.
        phase: &'static str,
        /// Whether somebody has to end it.
        open: bool,
    },
    /// The version is the one that is in use.
    #[error("version {version} of {app} was confirmed last, by {by}: name another version")]
    SameVersion {
        /// The app.
        app: AppName,
        /// The version.
        version: String,
        /// The release.
        by: ReleaseId,
    },
    /// Too few endpoints work.
    #[error("{color} of {service}: {working} of {all} endpoints work, the first step needs {needed}")]
    TooFewEndpoints {
        /// The member.
        service: ServiceName,
        /// Its new color.
        color: ColorName,
        /// Endpoints that work.
        working: u32,
        /// Endpoints there are.
        all: u32,
        /// Endpoints that have to work.
        needed: u32,
    },
    /// Shifts are frozen.
    #[error("shifts are frozen: {0}")]
    Frozen(String),
    /// Who calls whom is a circle.
    #[error("`depends_on` goes round in a circle ({}): an ordered release needs an end, use order = \"lockstep\"", path.join(" -> "))]
    Cycle {
        /// Along the calls, the first service again at the end.
        path: Vec<String>,
    },
}

fn list(before: &str, names: &[String], after: &str) -> String {
    if names.is_empty() { String::new() } else { format!("{before}{}{after}", names.join(", ")) }
}
