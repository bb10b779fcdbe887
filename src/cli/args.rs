//! Arguments as written.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Add or remove the local route of the VIP pool
    Route(RouteArguments),
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
    /// Where addresses and the last good configuration are kept
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
