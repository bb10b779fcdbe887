//! `teal completions` and `teal man`: what is generated from the arguments.

use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};

use super::args::Arguments;
use super::exit::Exit;
use super::local_args::{CompletionsArguments, ManArguments};

const NAME: &str = "teal";

/// Prints the script that completes commands in a shell.
pub fn completions(arguments: &CompletionsArguments) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell.generator(), &mut Arguments::command(), NAME, &mut script);
    end(io::stdout().write_all(&script))
}

/// Writes one manual page for each command into a folder, or prints that of `teal` itself.
pub fn man(arguments: &ManArguments) -> Exit {
    let Some(folder) = &arguments.folder else {
        return end(clap_mangen::Man::new(command()).render(&mut io::stdout()));
    };
    match write_pages(folder) {
        Ok(count) => {
            println!("{count} pages in {}", folder.display());
            Exit::Done
        }
        Err(error) => {
            eprintln!("teal: cannot write manual pages to {}: {error}", folder.display());
            Exit::Failed
        }
    }
}

fn command() -> Command {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    command
}

fn write_pages(folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    write_page(folder, NAME, command())
}

/// Writes the page of a command and those of all below it, and says how many these are.
fn write_page(folder: &Path, name: &str, command: Command) -> io::Result<usize> {
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        count += write_page(folder, &format!("{name}-{}", below.get_name()), below.clone())?;
    }
    // The name of a page must be what `man` is asked for.
    let man = clap_mangen::Man::new(command.display_name(name.to_owned())).title(name.to_uppercase());
    let mut page = Vec::new();
    man.render(&mut page)?;
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    Ok(count)
}

fn end(written: io::Result<()>) -> Exit {
    // A reader that has read enough is no failure.
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("teal: {error}");
            Exit::Failed
        }
        _ => Exit::Done,
    }
}
