//! The command line: arguments as written, one file a command, and the exit code.

pub mod args;
pub mod check;
pub mod client;
pub mod demo;
pub mod dns;
pub mod drain;
pub mod endpoint;
pub mod exit;
pub mod import;
pub mod journal;
pub mod local_args;
pub mod manual;
pub mod print;
pub mod release;
pub mod reload;
pub mod route;
pub mod run;
pub mod save;
pub mod status;
pub mod table;
pub mod weight;

use clap::Parser;

use self::args::{Arguments, Command};
use self::exit::Exit;

/// Runs the command that the process was started with.
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match arguments.command {
        Command::Demo(demo) => demo::demo(&demo),
        Command::Run(run) => run::run(run),
        Command::Check(check) => check::check(&check),
        Command::Status(status) => status::status(&status),
        Command::Reload(reload) => reload::reload(&reload),
        Command::Weight(weight) => weight::weight(&weight),
        Command::Endpoint(endpoint) => endpoint::endpoint(&endpoint),
        Command::Drain(drain) => drain::drain(&drain),
        Command::Journal(journal) => journal::journal(&journal),
        Command::Release(release) => release::release(&release),
        Command::Freeze(freeze) => release::freeze(&freeze, true),
        Command::Unfreeze(freeze) => release::freeze(&freeze, false),
        Command::Dns(dns) => dns::dns(&dns),
        Command::Route(route) => route::route(&route),
        Command::ImportCompose(import) => import::run(&import),
        Command::Completions(completions) => manual::completions(&completions),
        Command::Man(man) => manual::man(&man),
    }
}
