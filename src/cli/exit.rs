//! Exit codes.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused or failed; the message says why.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// No daemon answers at the control socket.
    Unreachable = 3,
    /// A release waits for its confirm.
    AwaitingConfirm = 10,
    /// A release holds.
    Holding = 11,
    /// A release was rolled back.
    RolledBack = 12,
    /// A release holds as its verdict is inconclusive.
    Inconclusive = 13,
    /// Not possible now.
    Conflict = 14,
    /// Shifts are frozen.
    Frozen = 15,
    /// It was not done within the time that it was given, as timeout(1) reports it.
    TimedOut = 124,
    /// Ended by a signal before it was done, as a shell reports SIGINT.
    Interrupted = 130,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
