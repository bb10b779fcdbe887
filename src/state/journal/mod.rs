//! The journal: every change of state, chained by hashes, written before it takes effect.
//!
//! `record` and `replay` are pure (bytes to state and back), `files` and `file` read and write. The writer is the only
//! one who appends.
//!
//! A change is recorded twice: its *intent* before it takes effect, and that it was *applied* after. Whatever
//! a crash leaves, the state is that of the last record that says `applied`: a half-written last line is
//! dropped, and an intent that was never carried out is `abandoned` at the next start.

pub mod file;
pub mod files;
pub mod record;
pub mod replay;
#[cfg(test)]
mod tests;

pub use file::{Journal, JournalError};
pub use record::{Event, Record};
pub use replay::{Chain, Replay, replay};
