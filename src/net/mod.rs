//! Sockets: binding, the one accept loop, and what the kernel says about this host's networks.
//!
//! Knows nothing of services or DNS: what to do with a connection is an argument.

pub mod accept;
pub mod datagram;
pub mod holder;
pub mod host;
pub mod listen;
pub mod overlap;
pub mod pipe;
pub mod ports;
mod readiness;
pub mod route;
mod rtnl;
pub mod stream;
pub mod unix;
pub mod workers;

pub use accept::{Accept, AcceptError, Listening, accept_loop};
pub use datagram::DatagramSocket;
pub use listen::{ListenOptions, Listener};
pub use unix::ControlSocket;
pub use workers::Workers;
