//! Where configurations come from: files and folders today.
//!
//! A provider says *when* its source changed and hands out the text; what the text means is `config`'s
//! business. When the source is lost, whoever asks keeps the last good configuration.

pub mod files;
mod inotify;
mod pending;
mod polling;
mod resolve;
pub mod watch;

pub use files::{ReadError, read};
pub use watch::{WatchHandle, Watcher};
