//! Arguments of the commands that need no daemon: imports, completions, manual pages.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell as Generator;

use crate::model::AppName;

/// `teal import-compose`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal import-compose shop.yml > teal.toml
          teal import-compose old.yml new.yml --app shop --endpoint serviceB-v1=10.0.0.31,10.0.0.32
What cannot be taken over is listed on the standard error.")]
pub struct ImportArguments {
    /// The template that runs
    #[arg(value_name = "FILE")]
    pub old: PathBuf,
    /// The template that is to replace it: its changed services become green, with weight 0
    #[arg(value_name = "NEW_FILE")]
    pub new: Option<PathBuf>,
    /// The name of the app that all services belong to
    #[arg(long, value_name = "NAME", default_value = "app", value_parser = app_name)]
    pub app: AppName,
    /// Where the containers of a service of the template are; without it, addresses for documentation stand there
    #[arg(long = "endpoint", value_name = "SERVICE=ADDRESS,...", value_parser = addresses)]
    pub endpoints: Vec<(String, Vec<IpAddr>)>,
    /// Where a service is also reachable from outside
    #[arg(long, value_name = "SERVICE=ADDRESS:PORT", value_parser = exposed)]
    pub expose: Vec<(String, SocketAddr)>,
}

fn app_name(text: &str) -> Result<AppName, String> {
    AppName::parse(text).map_err(|error| format!("it {error}"))
}

fn addresses(text: &str) -> Result<(String, Vec<IpAddr>), String> {
    let (service, list) = text.split_once('=').ok_or("write it as SERVICE=ADDRESS,ADDRESS")?;
    let parse = |item: &str| item.trim().parse().map_err(|_| format!("{item:?} is no address"));
    let addresses = list.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok((service.to_owned(), addresses))
}

fn exposed(text: &str) -> Result<(String, SocketAddr), String> {
    let (service, address) = text.split_once('=').ok_or("write it as SERVICE=ADDRESS:PORT")?;
    let address = address.parse().map_err(|_| format!("{address:?} is no address with a port"))?;
    Ok((service.to_ascii_lowercase(), address))
}

/// `teal completions`
#[derive(Debug, Args)]
#[command(after_help = "Example: teal completions bash > /etc/bash_completion.d/teal")]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that can be helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

impl Shell {
    /// Who writes its script.
    pub fn generator(self) -> Generator {
        match self {
            Self::Bash => Generator::Bash,
            Self::Zsh => Generator::Zsh,
            Self::Fish => Generator::Fish,
        }
    }
}

/// `teal man`
#[derive(Debug, Args)]
#[command(after_help = "Examples: teal man | man -l -
          teal man /usr/local/share/man/man1")]
pub struct ManArguments {
    /// The folder, made if needed [default: print the page of teal itself]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}
