//! Arguments of `teal release`, `teal freeze` and `teal unfreeze` as written.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::args::DaemonArguments;

/// `teal release`
#[derive(Debug, Args)]
#[command(after_help = "\
A release moves services of an app from one color to another in steps, on this host:
  teal release start shop --to green --steps 10,50,100 --bake 5m -m \"welcome text\"
  teal release status shop -w
  teal release confirm shop -m \"all is well\" --save
Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon, 14 not possible now, 15 frozen;
  of `wait`, and of `status --exit-code`: 10 awaits confirm, 11 holds, 12 rolled back,
  13 holds as its verdict is inconclusive, 124 deadline passed.")]
pub struct ReleaseArguments {
    /// What to do
    #[command(subcommand)]
    pub verb: ReleaseVerb,
}

/// What to do about releases.
#[derive(Debug, Subcommand)]
pub enum ReleaseVerb {
    /// Show what a release would do: who moves, in which steps, and what is in the way
    Plan(PlanArguments),
    /// Begin a release; no traffic moves before its first step
    Start(StartArguments),
    /// Show releases: where they are, shares, endpoints, failures, verdicts
    Status(StatusArguments),
    /// Skip the rest of the bake, but not the checks
    Next(NextArguments),
    /// Give the new color of one member another share
    Set(SetArguments),
    /// Stay where it is until `resume`
    Hold(VerbArguments),
    /// Go on; bake time and samples begin anew
    Resume(VerbArguments),
    /// Keep the new color: it is the baseline from now on, and the old one drains
    Confirm(ConfirmArguments),
    /// Back to the weights from before, at one instant; connections of the new color are closed
    Rollback(BackArguments),
    /// Back to the weights from before, after a confirm
    Undo(BackArguments),
    /// Let weights that the file changed meanwhile take effect
    Adopt(VerbArguments),
    /// Keep the release's weights, whatever the file says meanwhile
    Discard(VerbArguments),
    /// Wait until a release is so far
    Wait(WaitArguments),
    /// Show the numbers behind the last verdict
    Explain(ExplainArguments),
    /// Show what was done to releases, by whom and why
    Log(LogArguments),
    /// Judge again what was recorded of a release; nothing shifts
    Simulate(SimulateArguments),
    /// Not a word of teal
    #[command(hide = true)]
    Abort(HintArguments),
    /// Not a word of teal
    #[command(hide = true)]
    Promote(HintArguments),
}

/// Words of other systems.
#[derive(Debug, Args)]
pub struct HintArguments {
    /// Whatever follows
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// What is to be released: a file, or an app with flags.
#[derive(Debug, Args)]
pub struct SpecArguments {
    /// A release file, or the name of an app
    #[arg(value_name = "FILE_OR_APP")]
    pub what: String,
    /// The new color, where an app is named
    #[arg(long, value_name = "COLOR")]
    pub to: Option<String>,
    /// Shares of the new color, in per cent [default: 10,50,100]
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', requires = "to")]
    pub steps: Vec<u32>,
    /// How long each step lasts at least, such as 5m
    #[arg(long, value_name = "DURATION", requires = "to")]
    pub bake: Option<String>,
    /// Connections that each new color must have served before a step is judged
    #[arg(long, value_name = "N", requires = "to")]
    pub min_connections: Option<u32>,
    /// lockstep, backends-first or frontends-first
    #[arg(long, value_name = "ORDER", requires = "to")]
    pub order: Option<String>,
    /// What people call the new color
    #[arg(long, value_name = "VERSION", requires = "to")]
    pub version: Option<String>,
}

/// `teal release plan`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release plan release-shop.toml
          teal release plan shop --to green --steps 10,50,100")]
pub struct PlanArguments {
    /// What is to be released
    #[command(flatten)]
    pub spec: SpecArguments,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release start`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release start release-shop.toml
          teal release start shop --to green --steps 10,50,100 --bake 5m -m \"welcome text\"")]
pub struct StartArguments {
    /// What is to be released
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Why: kept in the journal [default: the file's reason]
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release status`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal release status shop -w")]
pub struct StatusArguments {
    /// The app, or the name of a release [default: all]
    pub app: Option<String>,
    /// Show it again every second
    #[arg(short, long, conflicts_with = "json")]
    pub watch: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Tell the state by the exit code, as `wait` does
    #[arg(long, requires = "app", conflicts_with = "watch")]
    pub exit_code: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// A word without more to say.
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release hold shop -m \"lunch\"
          teal release resume shop
          teal release adopt shop -m \"the file is right\"
          teal release discard shop -m \"the release is right\"")]
pub struct VerbArguments {
    /// The app, or the name of the release
    pub app: String,
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release next`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release next shop
          teal release next shop --skip-checks -m \"no traffic at night\"")]
pub struct NextArguments {
    /// The word
    #[command(flatten)]
    pub common: VerbArguments,
    /// Also without verdict and gates; needs -m
    #[arg(long, requires = "why")]
    pub skip_checks: bool,
}

/// `teal release set`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal release set shop servicea=25 -m \"a little more\"")]
pub struct SetArguments {
    /// The app, or the name of the release
    pub app: String,
    /// The member, and the share of its new color
    #[arg(value_name = "SERVICE=PERCENT", value_parser = share)]
    pub share: (String, i64),
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

fn share(text: &str) -> Result<(String, i64), String> {
    let (service, percent) =
        text.split_once('=').ok_or("write it as SERVICE=PERCENT, such as servicea=25")?;
    let number =
        percent.trim_end_matches('%').parse::<i64>().ok().filter(|number| (0..=100).contains(number));
    let number = number.ok_or_else(|| format!("{percent:?} is no share: a number from 0 to 100"))?;
    Ok((service.to_owned(), number))
}

/// `teal release confirm`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("saving").required(true).args(["save", "no_save"])))]
#[allow(clippy::struct_excessive_bools, reason = "flags as written")]
#[command(after_help = "Examples: teal release confirm shop -m \"all is well\" --save
          teal release confirm shop -m \"all is well\" --no-save
Without --save the file goes on saying the old weights: status and the metric teal_config_drift show it.")]
pub struct ConfirmArguments {
    /// The app, or the name of the release
    pub app: String,
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: String,
    /// Write the new weights into the configuration's file, as the user who runs this
    #[arg(long)]
    pub save: bool,
    /// Leave the file as it is; the baseline is kept in the state directory
    #[arg(long)]
    pub no_save: bool,
    /// It counts as confirmed at once, although the old color still drains
    #[arg(long)]
    pub no_wait: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release rollback` and `undo`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release rollback shop -m \"errors in the log\"
          teal release undo shop -m \"a customer complains\"
A rollback is always possible: also while it holds, while shifts are frozen, and with a full disk.")]
pub struct BackArguments {
    /// The app, or the name of the release
    pub app: String,
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: String,
    /// Also past a point of no return
    #[arg(long)]
    pub force: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// How far a release is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// Its first step is applied: at 0 % the new colors are reached by their preview names only
    Preview,
    /// Everything is on the new color, and somebody should confirm
    Awaiting,
    /// It is confirmed, and the old color has drained
    Confirmed,
    /// It was rolled back or undone, and nothing is left on the new color
    RolledBack,
    /// It was confirmed or rolled back, and nothing drains any more
    Drained,
}

/// `teal release wait`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal release wait shop --for awaiting --timeout 1h
Exits with 0 once it is so; with 10 to 13 when it needs somebody first, and 124 when the time is over.")]
pub struct WaitArguments {
    /// The app, or the name of the release
    pub app: String,
    /// How far
    #[arg(long = "for", value_enum)]
    pub state: WaitFor,
    /// Wait for so long at most, such as 90s or 1h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// Also while it holds: somebody will resume it
    #[arg(long)]
    pub through_holds: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release explain`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal release explain shop")]
pub struct ExplainArguments {
    /// The app, or the name of the release
    pub app: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release log`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release log shop
          teal release log --verify")]
pub struct LogArguments {
    /// The app, or the name of a release [default: all]
    pub app: Option<String>,
    /// Check the whole chain of the journal; exits with 1 when it is damaged
    #[arg(long)]
    pub verify: bool,
    /// As JSON: the records as they are in the journal; with --verify, what was verified
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal release simulate`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal release simulate shop
          teal release simulate shop-20261123-1.jsonl --json")]
pub struct SimulateArguments {
    /// The app, the name of a release, or a file of what was recorded
    #[arg(value_name = "APP_OR_FILE")]
    pub what: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal freeze` and `teal unfreeze`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal freeze -m \"black friday\"
          teal unfreeze shop -m \"all clear\"
While it is frozen no release shifts or is confirmed; a rollback is always possible.")]
pub struct FreezeArguments {
    /// The app [default: every one]
    pub app: Option<String>,
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: String,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}
