//! The two decisions of teal, as pure state: which color (the split), which endpoint (the pick).
//!
//! Called by `proxy` for each connection and by `state` when weights change. No clock, no randomness,
//! no socket.

pub mod round_robin;
pub mod schedule;
pub mod split;

pub use round_robin::RoundRobin;
pub use schedule::{Credit, Owed, Schedule};
pub use split::Split;
