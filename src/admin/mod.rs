//! HTTP: the metrics endpoint, and the control socket with its API under `/v1`.
//!
//! Reads what is; whatever changes something is handed to the daemon by a channel.

pub mod context;
pub mod control;
pub mod metrics;
pub mod report;
pub mod server;
pub mod status;

pub use context::{Context, Facts, Phase, ReloadRequest};
pub use server::{Limits, Server};
