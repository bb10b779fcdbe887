//! The composition root: starts every room, wires them, and stops them again.
//!
//! The thread that runs this is the control thread: configuration, control socket, metrics, signals. DNS
//! has a thread of its own and the proxy one per core, so that neither waits for the other.

pub mod boot;
mod checks;
pub mod last_good;
pub mod limits;
pub mod listeners;
mod log;
pub mod places;
pub mod plane;
pub mod ports;
pub mod releases;
mod reload;
pub mod resolver;
pub mod start;
pub mod stop;
pub mod system_servers;
pub mod systemd;
pub mod watchdog;

pub use start::{Daemon, Options, StartError};
