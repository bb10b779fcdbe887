//! Commands that need no daemon: imports, completions and manual pages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod import;
mod manual;

use std::process::{Command, Output};

/// Runs teal.
pub fn teal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_teal")).args(arguments).output().unwrap()
}
