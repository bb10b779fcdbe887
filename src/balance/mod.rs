//! The decisions of teal, as pure state: which color (the split), which endpoint (the pick), and whether a
//! failed try may be followed by another (the retry budget).
//!
//! Called by `proxy` for each connection and by `state` when weights change. No clock, no randomness,
//! no socket.

pub mod affinity;
mod hash;
pub mod least_connections;
pub mod pick;
mod rendezvous;
pub mod retry_budget;
pub mod round_robin;
pub mod schedule;
pub mod share;
pub mod source_hash;
pub mod split;

pub use affinity::SourceAffinity;
pub use least_connections::LeastConnections;
pub use pick::Pick;
pub use retry_budget::RetryBudget;
pub use round_robin::RoundRobin;
pub use schedule::{Credit, Owed, Schedule};
pub use share::{Share, ShareCell};
pub use source_hash::SourceHash;
pub use split::Split;
