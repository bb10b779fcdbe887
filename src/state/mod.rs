//! What is: the snapshot that DNS and proxy read, the live facts it points to, the one writer, and
//! what is kept on disk.
//!
//! Rooms on the floor above meet only here. A query loads the snapshot once, a connection once per try;
//! only the writer stores.

pub mod build;
pub mod collect;
pub mod connections;
pub mod live;
pub mod snapshot;

pub use connections::{Connection, CutReason, OpenConnections, Why};
pub use live::{ClosedReason, ColorLive, EndpointLive, ErrorReason, Live, PortLive};
pub use snapshot::{ColorState, EndpointState, PortState, ServiceState, Snapshot, SnapshotCell};
