//! What a check found out.

use std::io;

use rustix::io::Errno;

use super::verdict;

/// What a check found out.
#[derive(Debug)]
pub enum Outcome {
    /// The endpoint works.
    Passed,
    /// It does not.
    Failed(Failure),
    /// This host could not ask: says nothing about the endpoint.
    NotAsked(io::Error),
}

impl Outcome {
    /// What it says about the endpoint, if it says something.
    pub fn result(&self) -> Option<verdict::Result> {
        match self {
            Self::Passed => Some(verdict::Result::Passed),
            Self::Failed(_) => Some(verdict::Result::Failed),
            Self::NotAsked(_) => None,
        }
    }

    /// From what a check came to.
    pub fn of(checked: Result<(), Failure>) -> Self {
        match checked {
            Ok(()) => Self::Passed,
            Err(Failure::Io(error)) if is_own(&error) => Self::NotAsked(error),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// Whether an error is this host's, not the endpoint's.
fn is_own(error: &io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| own.contains(&errno))
}

/// Why an endpoint does not work. Begins no sentence, so that it can follow a colon.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Connecting, sending or receiving failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The port is one that nobody listens at: the connection would have been one to itself.
    #[error("nobody listens")]
    NobodyListens,
    /// Not done within the timeout.
    #[error("no answer in time")]
    Timeout,
    /// The answer is no HTTP.
    #[error("the answer is no HTTP: {0}")]
    Malformed(httparse::Error),
    /// The answer's head is too long.
    #[error("the head of the answer is longer than 16 KiB")]
    HeadTooLong,
    /// The connection ended before the answer did.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The status is none that is expected.
    #[error("status {0}")]
    Status(u16),
    /// The body does not contain what is expected.
    #[error("the body does not contain what is expected")]
    Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_lacks_says_nothing_about_an_endpoint() {
        let of = |errno: Errno| Outcome::of(Err(Failure::Io(errno.into())));
        assert!(of(Errno::MFILE).result().is_none());
        assert!(of(Errno::ADDRNOTAVAIL).result().is_none());
        assert_eq!(of(Errno::CONNREFUSED).result(), Some(verdict::Result::Failed));
        assert_eq!(Outcome::of(Ok(())).result(), Some(verdict::Result::Passed));
    }
}
