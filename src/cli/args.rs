//! Arguments as written.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::local_args::{CompletionsArguments, ImportArguments, ManArguments};
use super::release::args::{FreezeArguments, ReleaseArguments};
use crate::model::Weight;
use crate::telemetry::logs::LogFormat;

/// teal: names, virtual IPs and an exact split between colors.
#[derive(Debug, Parser)]
#[command(name = "teal", version, about, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch two blue-green releases run: needs no root, no file and no other program
    Demo(DemoArguments),
    /// Run the daemon in the foreground
    Run(RunArguments),
    /// Check a configuration: print every error, or a summary
    Check(CheckArguments),
    /// Show what is: services, colors, weights, connections, problems
    Status(StatusArguments),
    /// Reload the configuration now and print the result
    Reload(ReloadArguments),
    /// Set the weights of a service's colors at run time
    Weight(WeightArguments),
    /// Take an endpoint, or a whole color, out of use or back into it
    Endpoint(EndpointArguments),
    /// Take a color or an endpoint out of use, or wait until what drains has no connection left
    Drain(DrainArguments),
    /// Show what was changed at run time, by whom and why
    Journal(JournalArguments),
    /// Move an app's services from one color to another: in steps, judged, confirmed or rolled back
    Release(ReleaseArguments),
    /// Keep releases from shifting
    Freeze(FreezeArguments),
    /// Let releases shift again
    Unfreeze(FreezeArguments),
    /// Ask the running daemon about a name, and where the answer comes from
    Dns(DnsArguments),
    /// Add or remove the local route of the VIP pool
    Route(RouteArguments),
    /// Turn compose templates with aliyun labels into a configuration
    ImportCompose(ImportArguments),
    /// Print the script that completes commands in a shell
    Completions(CompletionsArguments),
    /// Print the manual page, or write those of all commands into a folder
    Man(ManArguments),
}

/// `teal dns`
#[derive(Debug, Args)]
pub struct DnsArguments {
    /// What to do
    #[command(subcommand)]
    pub verb: DnsVerb,
}

/// What to do about names.
#[derive(Debug, Subcommand)]
pub enum DnsVerb {
    /// Ask as a client would; exits with 1 unless the answer is NOERROR
    Query(DnsQueryArguments),
    /// Forget what upstreams have answered
    Flush(DnsFlushArguments),
}

/// `teal dns flush`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal dns flush corp.example")]
pub struct DnsFlushArguments {
    /// Only about this name and the names below it
    pub name: Option<String>,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal dns query`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal dns query servicea.local AAAA")]
pub struct DnsQueryArguments {
    /// The whole name
    pub name: String,
    /// The type, such as AAAA, SRV or TYPE65 [default: A]
    #[arg(value_name = "TYPE")]
    pub kind: Option<String>,
    /// As if this address asked
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal weight`
#[derive(Debug, Args)]
#[command(
    after_help = "Example: teal weight servicea blue=50 green=50 -m \"half of the traffic to the new version\""
)]
pub struct WeightArguments {
    /// The service, with or without the zone
    pub service: String,
    /// Weights of 0 to 1000; colors that are not named keep theirs
    #[arg(value_name = "COLOR=N", value_parser = color_weight, required_unless_present = "reset", conflicts_with = "reset")]
    pub weights: Vec<(String, u16)>,
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: String,
    /// Write the weights into the configuration's file as well, as the user who runs this
    #[arg(long, conflicts_with = "reset")]
    pub save: bool,
    /// Back to the weights of the configuration's file
    #[arg(long)]
    pub reset: bool,
    /// Also when it cannot be recorded, as the disk is full or the journal damaged
    #[arg(long)]
    pub emergency: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

fn color_weight(text: &str) -> Result<(String, u16), String> {
    let (color, weight) = text.split_once('=').ok_or("write it as COLOR=N, such as blue=50")?;
    let number = weight.parse::<u16>().ok().filter(|weight| *weight <= Weight::MAX.get());
    let number =
        number.ok_or_else(|| format!("{weight:?} is no weight: a number from 0 to {}", Weight::MAX))?;
    Ok((color.to_ascii_lowercase(), number))
}

/// `teal endpoint`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal endpoint disable servicea blue 10.0.0.11 -m \"new disk\"
          teal endpoint enable servicea blue -m \"the whole color is back\"")]
pub struct EndpointArguments {
    /// What to do with it
    #[arg(value_enum)]
    pub verb: EndpointVerb,
    /// The service, with or without the zone
    pub service: String,
    /// The color
    pub color: String,
    /// ip:port, or ip for all of its ports [default: every endpoint of the color]
    pub address: Option<String>,
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: String,
    /// Also when it cannot be recorded, as the disk is full or the journal damaged
    #[arg(long)]
    pub emergency: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// What to do with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EndpointVerb {
    /// It gets new connections again
    Enable,
    /// It gets no new connection; open ones have `drain_timeout` to end
    Disable,
}

/// `teal drain`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal drain servicea blue -m \"blue is retired\" --wait
          teal drain servicea blue 10.0.0.11 -m \"new kernel\" --wait --timeout 15m
          teal drain servicea --wait    after a reload that removed something
`teal endpoint enable` takes it back.")]
pub struct DrainArguments {
    /// The service, with or without the zone
    pub service: String,
    /// The color
    pub color: Option<String>,
    /// ip:port, or ip for all of its ports [default: every endpoint of the color]
    pub endpoint: Option<String>,
    /// Why: kept in the journal. Without it nothing is taken out of use
    #[arg(
        short = 'm',
        long = "message",
        value_name = "WHY",
        requires = "color",
        required_unless_present = "wait"
    )]
    pub why: Option<String>,
    /// Show what is left, until no connection is
    #[arg(long)]
    pub wait: bool,
    /// Wait for so long at most, such as 90s or 15m; exits with 124 then
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "wait")]
    pub timeout: Option<Duration>,
    /// Also when it cannot be recorded, as the disk is full or the journal damaged
    #[arg(long, requires = "why")]
    pub emergency: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal journal`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JournalArguments {
    /// What to do instead of showing it
    #[command(subcommand)]
    pub verb: Option<JournalVerb>,
    /// How many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// As JSON: the records as they are in the file
    #[arg(long)]
    pub json: bool,
    /// Check the whole chain; exits with 1 when it is damaged
    #[arg(long)]
    pub verify: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// What to do with the journal.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Trust a damaged journal again after its last good record; what is in effect stays
    Accept(AcceptArguments),
}

/// `teal journal accept`
#[derive(Debug, Args)]
pub struct AcceptArguments {
    /// Why: kept in the journal
    #[arg(short = 'm', long = "message", value_name = "WHY")]
    pub why: String,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal demo`
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Fewer connections and no pauses: a few seconds in all
    #[arg(long)]
    pub fast: bool,
    /// Wait for Enter before each step
    #[arg(long)]
    pub interactive: bool,
}

/// `teal run`
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The configuration: a file, or a folder with teal.toml and conf.d/*.toml
    #[arg(long, value_name = "FILE_OR_DIR", default_value = "/etc/teal")]
    pub config: PathBuf,
    /// Where addresses, changes at run time, their journal and the last good configuration are kept
    /// [default: `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/teal`, else `~/.local/state/teal`]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The control socket [default: `[admin] socket`, else like --socket of the other commands]
    #[arg(long, value_name = "PATH", env = "TEAL_SOCKET")]
    pub socket: Option<PathBuf>,
    /// The form of the log [default: journald under systemd, else text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormatArgument>,
}

/// Forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArgument {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
    /// Fields, to journald
    Journald,
}

impl From<LogFormatArgument> for LogFormat {
    fn from(argument: LogFormatArgument) -> Self {
        match argument {
            LogFormatArgument::Text => Self::Text,
            LogFormatArgument::Json => Self::Json,
            LogFormatArgument::Journald => Self::Journald,
        }
    }
}

/// `teal check`
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The configuration: a file, or a folder with teal.toml and conf.d/*.toml
    #[arg(value_name = "FILE_OR_DIR", default_value = "/etc/teal")]
    pub config: PathBuf,
}

/// How a command finds the daemon.
#[derive(Debug, Args)]
pub struct DaemonArguments {
    /// The daemon's control socket
    /// [default: admin.sock in `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR/teal` or `/run/teal`]
    #[arg(long, value_name = "PATH", env = "TEAL_SOCKET")]
    pub socket: Option<PathBuf>,
}

/// `teal status`
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Only this service, with its endpoints; with or without the zone
    pub service: Option<String>,
    /// Show it again every second
    #[arg(short, long, conflicts_with = "json")]
    pub watch: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal reload`
#[derive(Debug, Args)]
pub struct ReloadArguments {
    /// Carry out removals that look like half a file: of a color with weight, or of many services
    #[arg(long)]
    pub allow_removal: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is
    #[command(flatten)]
    pub daemon: DaemonArguments,
}

/// `teal route`
#[derive(Debug, Args)]
pub struct RouteArguments {
    /// The configuration that says `[vip] pool`
    #[arg(long, value_name = "FILE_OR_DIR", default_value = "/etc/teal")]
    pub config: PathBuf,
    /// Remove the route instead of adding it
    #[arg(long)]
    pub remove: bool,
}
