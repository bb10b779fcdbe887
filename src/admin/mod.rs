//! HTTP: the metrics endpoint, and the control socket with its API under `/v1`.
//!
//! Reads what is; whatever changes something is handed to the daemon by a channel.

pub mod change;
pub mod context;
pub mod control;
pub mod dns;
pub mod drains;
pub mod endpoints;
pub mod journal;
pub mod metrics;
pub mod releases;
pub mod report;
pub mod server;
pub mod status;
pub mod weights;

pub use context::{Context, Facts, Phase, ReloadRequest};
pub use server::{Limits, Server};
