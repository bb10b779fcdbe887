//! What is: the snapshot that DNS and proxy read, the live facts it points to, the one writer, and
//! what is kept on disk.
//!
//! Rooms on the floor above meet only here. A query loads the snapshot once, a connection once per try;
//! only the writer stores.

pub mod answers;
mod answers_build;
pub mod build;
pub mod collect;
pub mod connections;
pub mod live;
pub mod records;
pub mod snapshot;

pub use answers::{Answers, Lookup, Records};
pub use connections::{Connection, CutReason, OpenConnections, Why};
pub use live::{ClosedReason, ColorLive, EndpointLive, ErrorReason, Live, PortLive};
pub use snapshot::{ColorState, EndpointState, PortState, ServiceState, Snapshot, SnapshotCell};
