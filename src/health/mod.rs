//! Health checks: asks endpoints whether they work, and notes the answer in their live facts.
//!
//! [`monitor`] runs the checks of the current snapshot, on a thread that the daemon gives it: [`targets`]
//! says what is to be checked, [`agenda`] when, [`tcp`] and [`http`] do it, [`verdict`] says what an
//! outcome means. Besides, [`ejection`] judges what failed connections say of endpoints. Decisions read the result from the live facts; nothing here knows of connections.

pub mod agenda;
pub mod ejection;
pub mod http;
pub mod monitor;
pub mod outcome;
pub mod response;
pub mod targets;
pub mod tcp;
pub mod verdict;

pub use monitor::{FirstRound, Monitor, Parts};
pub use outcome::{Failure, Outcome};
