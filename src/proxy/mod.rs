//! The proxy: connections to VIPs and exposed addresses, each handed to a backend of the color that
//! the split chose.
//!
//! The way of a connection: [`plane`] owns the listeners, [`serve`] takes what they accept, [`admit`]
//! checks who comes (as [`preface`] says, where a PROXY header comes first), [`decide`] says which color and endpoint to try, [`connect`] and [`establish`] try them
//! in turn, [`relay`] moves the bytes until both sides have ended, [`exchange`] says what was wrong with it. Whom to serve comes from the
//! snapshot alone; nothing here writes it.

pub mod admit;
pub mod attempt;
pub mod bulk;
pub mod connect;
pub mod decide;
pub mod establish;
pub mod exchange;
pub mod lifetime;
pub mod log;
pub mod plane;
pub mod preface;
pub mod pump;
pub mod relay;
pub mod route;
pub mod serve;
pub mod shared;
pub mod slow_start;
pub mod standing;

pub use plane::{BindFailure, Plane, Prepared};
pub use route::{Route, Via, Want, Wanted, wanted};
pub use shared::Shared;
