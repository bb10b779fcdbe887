//! What a release is to do: the release file, valid.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::name::{AppName, ColorName, ServiceName};

/// The share of the members' new connections that goes to the new color: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Percent(u8);

impl Percent {
    /// Everything stays on the old color.
    pub const NONE: Self = Self(0);
    /// Everything goes to the new color.
    pub const ALL: Self = Self(100);

    /// A share of 0 to 100; nothing for any other number.
    pub fn new(given: i64) -> Option<Self> {
        u8::try_from(given).ok().filter(|percent| *percent <= 100).map(Self)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u16> for Percent {
    type Error = String;

    fn try_from(given: u16) -> Result<Self, Self::Error> {
        Self::new(i64::from(given)).ok_or_else(|| format!("{given} is not between 0 and 100"))
    }
}

impl From<Percent> for u16 {
    fn from(percent: Percent) -> Self {
        percent.0.into()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// In which order the members of a step shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseOrder {
    /// All at one instant.
    #[default]
    Lockstep,
    /// Who is called before who calls; each wave bakes.
    BackendsFirst,
    /// Who calls before who is called; each wave bakes.
    FrontendsFirst,
}

/// What follows a failure, or a deadline that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// The release holds and asks.
    #[default]
    Hold,
    /// It rolls back.
    Rollback,
}

/// What becomes of weights of a member that the file changes while its release is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnManualEdit {
    /// The release holds until somebody says `adopt` or `discard`.
    #[default]
    Hold,
    /// The file's weights take effect.
    Adopt,
    /// They do not, as long as the release is open.
    Discard,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStep {
    /// Of the members' new connections.
    pub percent: Percent,
    /// How long it lasts at least, after each wave.
    pub bake: Duration,
    /// Connections that each member's new color must have served in the step before it is judged; none are asked
    /// for at 0 %.
    pub min_connections: u64,
    /// How long after `bake` it may wait for them; then the verdict is inconclusive.
    pub max_wait: Duration,
    /// Names of gates that must pass before this step's shift.
    pub gates: Vec<String>,
    /// Whether a rollback after this step's shift needs `--force`.
    pub point_of_no_return: bool,
}

impl ReleaseStep {
    /// A step that says nothing but its share.
    pub fn at(percent: Percent) -> Self {
        Self {
            percent,
            bake: Duration::from_secs(5 * 60),
            min_connections: 300,
            max_wait: Duration::from_secs(30 * 60),
            gates: Vec::new(),
            point_of_no_return: false,
        }
    }
}

/// What every shift wants of the new color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Endpoints that work, of each member and port.
    pub min_healthy: u32,
    /// Endpoints that work in thousandths of `percent` of the old color's number of endpoints.
    pub min_capacity_permille: u32,
}

impl Default for Guard {
    /// One endpoint, and as many as the old color has for its share.
    fn default() -> Self {
        Self { min_healthy: 1, min_capacity_permille: 1000 }
    }
}

/// What the judgement looks at, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether there is one.
    pub enabled: bool,
    /// What a statistical failure leads to.
    pub on_fail: Reaction,
    /// What too little traffic leads to.
    pub on_inconclusive: Reaction,
    /// Failures in a row of the new color that are a hard failure.
    pub consecutive_failures_max: u32,
    /// Failed connections of the new color of ten thousand that are too many whatever the old color does; no
    /// such limit when absent.
    pub failures_max_per_10000: Option<u32>,
    /// How much slower the first byte may be, in hundredths: 130 allows 1.3 times as long.
    pub first_byte_ratio_max_percent: u32,
    /// Differences below this are never held against the new color.
    pub first_byte_floor: Duration,
}

impl Default for Judgement {
    /// On; whatever it finds, the release holds.
    fn default() -> Self {
        Self {
            enabled: true,
            on_fail: Reaction::Hold,
            on_inconclusive: Reaction::Hold,
            consecutive_failures_max: 10,
            failures_max_per_10000: None,
            first_byte_ratio_max_percent: 130,
            first_byte_floor: Duration::from_millis(20),
        }
    }
}

/// A condition from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub check: GateCheck,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What a gate asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum GateCheck {
    /// A program of the gates folder, by its name there; passes with exit code 0.
    Exec {
        /// File name without a path.
        program: String,
    },
    /// A signed POST; passes with a 2xx answer.
    Webhook {
        /// Where to.
        url: String,
        /// File with the key of the signature.
        secret_file: Option<std::path::PathBuf>,
    },
    /// An instant query; passes while every value is within the bounds.
    Prometheus {
        /// Base address of the server.
        url: String,
        /// With `{{color}}`, `{{service}}` replaced for every member's new color.
        query: String,
        /// The smallest value that passes.
        min: Option<Bound>,
        /// The largest value that passes.
        max: Option<Bound>,
        /// What no value means.
        on_missing: OnMissing,
    },
}

/// A bound of a query's values. Equal where its bits are, so that specifications can be compared.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bound(pub f64);

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Bound {}

/// What a query without a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissing {
    /// Nothing is known.
    #[default]
    Inconclusive,
    /// All is well.
    Pass,
    /// Nothing is well.
    Fail,
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Where to.
    pub url: String,
    /// About what; everything when empty.
    pub on: Vec<Notice>,
    /// File with the key of the signature.
    pub secret_file: Option<std::path::PathBuf>,
}

/// What somebody can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// It holds.
    Hold,
    /// A verdict is fail.
    Fail,
    /// It rolls or rolled back.
    Rollback,
    /// All steps are done, somebody should confirm.
    Awaiting,
    /// It was confirmed.
    Confirmed,
}

/// A whole release file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// The app.
    pub app: AppName,
    /// What the new color is called by people; two releases of one version in a row are refused. May be empty.
    pub version: String,
    /// Why; may be empty.
    pub reason: String,
    /// The new color of every service of the app that has it and gets connections on another.
    pub to: Option<ColorName>,
    /// The new colors of services that are named one by one; only these are members when there are any.
    pub members: BTreeMap<ServiceName, ColorName>,
    /// The order inside each step.
    pub order: ReleaseOrder,
    /// At least one; the percents grow, the last is 100.
    pub steps: Vec<ReleaseStep>,
    /// What every shift wants of the new color.
    pub guard: Guard,
    /// The judgement.
    pub judgement: Judgement,
    /// By name.
    pub gates: BTreeMap<String, Gate>,
    /// Programs of the hooks folder to run once the undo window is over after a confirm.
    pub on_confirmed: Vec<String>,
    /// The same after a rollback.
    pub on_rolled_back: Vec<String>,
    /// Whom to tell.
    pub notify: Vec<Notify>,
    /// What the file's edits of members' weights lead to.
    pub on_manual_edit: OnManualEdit,
    /// What a restart of the daemon leads to: hold, or go on by itself.
    pub resume_after_restart: bool,
    /// How long the release may wait for being confirmed.
    pub confirm_deadline: Duration,
    /// What follows then.
    pub on_confirm_deadline: Reaction,
    /// How long after a rollback connections of the new color are closed.
    pub rollback_close_after: Duration,
    /// How long after a confirm `undo` is possible.
    pub undo_window: Duration,
    /// The first shift waits for this second since 1970.
    pub activate_at: Option<u64>,
}

impl ReleaseSpec {
    /// What holds where a release file says nothing but its app: steps of 10, 50 and 100 %.
    pub fn by_default(app: AppName) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let percents = [10, 50, 100].into_iter().filter_map(Percent::new);
        Self {
            app,
            version: String::new(),
            reason: String::new(),
            to: None,
            members: BTreeMap::new(),
            order: ReleaseOrder::Lockstep,
            steps: percents.map(ReleaseStep::at).collect(),
            guard: Guard::default(),
            judgement: Judgement::default(),
            gates: BTreeMap::new(),
            on_confirmed: Vec::new(),
            on_rolled_back: Vec::new(),
            notify: Vec::new(),
            on_manual_edit: OnManualEdit::Hold,
            resume_after_restart: false,
            confirm_deadline: DAY,
            on_confirm_deadline: Reaction::Hold,
            rollback_close_after: Duration::from_secs(5),
            undo_window: DAY,
            activate_at: None,
        }
    }
}
