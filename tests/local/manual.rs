//! `teal completions` and `teal man`.

use std::fs;
use std::process::Command;

use clap::CommandFactory;
use teal::cli::args::Arguments;

use crate::teal;

/// Every command that is shown and every verb below one, with what leads to it.
fn commands() -> Vec<Vec<String>> {
    fn collect(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            let path = [path, &[below.get_name().to_owned()]].concat();
            collect(below, &path, found);
            found.push(path);
        }
    }
    let mut found = Vec::new();
    collect(&Arguments::command(), &[], &mut found);
    assert!(found.len() > 12, "{found:?}");
    found
}

#[test]
fn every_command_is_completed_in_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = teal(&["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        for path in commands() {
            let name = path.last().unwrap();
            assert!(script.contains(name.as_str()), "{shell} does not know {path:?}");
        }
    }
    assert_eq!(teal(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn bash_reads_its_script_and_completes_with_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("teal.bash");
    fs::write(&file, teal(&["completions", "bash"]).stdout).unwrap();
    let bash = |arguments: &[&str]| Command::new("bash").args(arguments).output().unwrap();
    let read = bash(&["-n", file.to_str().unwrap()]);
    assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
    let ask = format!(
        "source {}; COMP_WORDS=(teal imp); COMP_CWORD=1; _teal teal imp teal; echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    let completed = bash(&["--norc", "-c", &ask]);
    assert_eq!(String::from_utf8(completed.stdout).unwrap().trim(), "import-compose");
}

#[test]
fn every_command_has_a_manual_page() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("man/man1");
    let output = teal(&["man", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let mut expected: Vec<_> = commands().iter().map(|path| format!("teal-{}.1", path.join("-"))).collect();
    expected.push("teal.1".to_owned());
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let page = fs::read_to_string(folder.join("teal-import-compose.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains(".TH"), "{page}");
    assert!(page.contains("teal import\\-compose") || page.contains("teal\\-import\\-compose"), "{page}");
    assert!(page.contains("\\-\\-endpoint"), "{page}");
}

#[test]
fn without_a_folder_the_page_of_teal_is_printed() {
    let output = teal(&["man"]);
    let page = String::from_utf8(output.stdout).unwrap();
    for command in commands().into_iter().filter(|path| path.len() == 1) {
        assert!(page.contains(&command[0].replace('-', "\\-")), "{command:?}");
    }
    assert_eq!(teal(&["man", "/proc/none/here"]).status.code(), Some(1));
}
