//! The conformance battery: the built daemon, asked over raw sockets, UDP and TCP, each case named after
//! the section that asks for it. `docs/dns.md` shows the cases; `TEAL_BLESS=1` writes that table anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod battery;
mod cases;
#[path = "../daemon/clients.rs"]
#[allow(dead_code, reason = "the daemon's tests use the rest")]
mod clients;
mod malformed;
#[path = "../daemon/process.rs"]
#[allow(dead_code, reason = "the daemon's tests use the rest")]
mod process;
mod sources;
#[path = "../support/dns.rs"]
mod support;
