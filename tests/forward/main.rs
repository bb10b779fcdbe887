//! Forwarding against scripted upstreams on loopback: what a client is told in each case, and when.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aliases;
mod cache;
mod cases;
mod client;
mod limits;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/dns.rs"]
mod support;
#[path = "../support/upstream.rs"]
mod upstream;
