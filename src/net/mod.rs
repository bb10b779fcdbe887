//! Sockets: binding, the one accept loop, and what the kernel says about this host's networks.
//!
//! Knows nothing of services or DNS: what to do with a connection is an argument.

pub mod accept;
pub mod host;
pub mod listen;
mod overlap;
pub mod route;
mod rtnl;

pub use accept::{AcceptError, accept_loop};
pub use listen::{ListenOptions, Listener};
pub use overlap::{Conflict, ConflictKind};
pub use rtnl::RtnlError;
