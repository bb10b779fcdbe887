//! teal: names, virtual IPs and an exact split between colors, for the services of a host.
//!
//! The rooms and their floors are described in ARCHITECTURE.md; `tests/tidy.rs` holds the code to it.

pub mod admin;
pub mod balance;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dns;
pub mod health;
pub mod model;
pub mod net;
pub mod provider;
pub mod proxy;
pub mod release;
pub mod state;
pub mod telemetry;
