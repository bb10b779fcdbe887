//! Health checks: asks endpoints whether they work, and notes the answer in their live facts.
//!
//! [`monitor`] runs the checks of the current snapshot, on a thread that the daemon gives it: [`targets`]
//! says what is to be checked, [`agenda`] when, [`tcp`] and [`http`] do it, [`verdict`] says what an
//! outcome means. Besides, [`ejection`] judges what failed connections say of endpoints, and [`slow_start`] lets the shares of
//! those grow that came into use. Decisions read the results from the live facts; nothing here knows of connections.

pub mod agenda;
pub mod ejection;
pub mod http;
pub mod monitor;
pub mod outcome;
pub mod response;
pub mod slow_start;
pub mod targets;
pub mod tcp;
pub mod verdict;

pub use monitor::{FirstRound, Monitor, Parts};
pub use outcome::{Failure, Outcome};
