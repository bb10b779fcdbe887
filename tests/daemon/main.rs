//! The built binary as a process: what an operator, systemd and Prometheus see of it.
//!
//! Every test has a folder, a pool of loopback addresses and ports of its own, so all may run at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
mod commands;
mod connection_log;
mod dns;
mod drain;
mod faults;
mod health;
mod lanes;
mod limits;
mod listen;
mod overrides;
mod overrides_faults;
mod process;
mod release_crash;
mod releases;
mod reload;
mod start;
mod stop;
mod systemd;
mod vips;
