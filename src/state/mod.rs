//! What is: the snapshot that DNS and proxy read, the live facts it points to, the one writer, and
//! what is kept on disk.
//!
//! Rooms on the floor above meet only here. A query loads the snapshot once, a connection once per try;
//! only the writer stores.

pub mod answers;
mod answers_build;
mod answers_own;
mod answers_table;
pub mod build;
pub mod change;
pub mod collect;
pub mod color;
pub mod connections;
pub mod diff;
pub mod directory;
pub mod drain;
pub mod draining;
mod fault;
pub mod health;
pub mod journal;
pub mod lanes;
pub mod live;
pub mod order;
pub mod outlier;
pub mod overrides;
pub mod places;
pub mod ports;
pub mod problems;
pub mod reasons;
pub mod records;
pub mod release;
#[doc(hidden)]
pub mod release_testing;
pub mod releases;
pub mod requests;
pub mod sample;
pub mod signals;
pub mod slow_start;
pub mod snapshot;
mod special;
mod successor;
pub mod vip;
pub mod writer;

pub use answers::{Answers, Forwards, Lookup, Records};
pub use change::{ChangeError, FreezeOrder, Outcome};
pub use color::{ColorLive, PortLive};
pub use connections::{Asked, Connection, CutReason, OpenConnections, Why};
pub use diff::Change;
pub use directory::{StateDirectory, StateError};
pub use health::{HealthCell, HealthState, Verdict};
pub use lanes::{Inbound, Lane, ServiceLanes};
pub use live::{EndpointLive, Live};
pub use order::{Address, Journaling, Order, Unknown, Wish};
pub use outlier::{EjectionRecord, OutlierCell, SuccessAt, Unheard};
pub use overrides::{Actor, Admission, Cause, Edit, Overrides, ServiceOverrides};
pub use places::{ColorPlace, EndpointPlace, Entrance, ServiceLive};
pub use problems::Problems;
pub use reasons::{ClosedReason, ErrorReason};
pub use sample::{FirstBytes, Sample};
pub use signals::{BackendFault, InColor};
pub use slow_start::{SlowStartCell, SlowStartPhase};
pub use snapshot::{ColorState, EndpointState, PortState, ServiceState, Snapshot, SnapshotCell};
pub use writer::{Base, DataPlane, First, Now, Refusal, Removal, StartError, Writer};
