//! Health checks against backends in this process: what is found out, how soon, and what becomes of
//! connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod checker;
mod checks;
mod ejections;
mod promises;
mod slow_start;
