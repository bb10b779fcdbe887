//! Descriptors: what the process may open, and how many connections that allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::dns;
use crate::model::{Catalog, MaxConnections};
use crate::net::Workers;

/// Descriptors that DNS, health checks, the control socket, metrics, pipes for bulk, files and event queues
/// need at most.
const RESERVE: u64 = 1088;
/// Health checks that may run at once, and so the descriptors that they take of the reserve.
const CHECKS_MAX: u64 = 256;
/// Of a small limit, at most this part is theirs: one in so many.
const CHECKS_FRACTION: u64 = 16;
/// Of a small limit, at most this part is kept in reserve: one in so many.
const RESERVE_FRACTION: u64 = 4;
/// A served connection has one descriptor on each side.
const PER_CONNECTION: u64 = 2;

/// The descriptor limit does not allow what the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "[limits] max_connections = {asked} needs {needed} descriptors, the limit is {limit}: raise it \
     (LimitNOFILE= in the unit, `ulimit -n` in a shell), or ask for at most {possible}, or for \"auto\""
)]
pub struct TooFewDescriptors {
    asked: u32,
    needed: u64,
    limit: u64,
    possible: u64,
}

/// Raises the soft limit of descriptors to the hard one and returns it.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Raising to the hard limit needs no privilege; where it fails all the same, the soft one stands.
    let raised = setrlimit(Resource::Nofile, wanted).is_ok();
    let current = if raised { limit.maximum } else { limit.current };
    current.unwrap_or(u64::MAX)
}

/// Sockets that a catalog's services and DNS listen with.
fn listener_count(catalog: &Catalog) -> u64 {
    let services: usize = catalog.services.values().map(|service| service.listeners()).sum();
    (services + dns_listener_count(catalog)) as u64
}

/// Sockets that DNS listens with, with a thread for each core.
pub fn dns_listener_count(catalog: &Catalog) -> usize {
    catalog.settings.dns.listen.len() * dns::bind::sockets(Workers::default_count())
}

/// Connections that may be open at once with this catalog in this process. Raises the soft limit of
/// descriptors to the hard one.
///
/// # Errors
/// An explicit number that the descriptor limit does not allow.
pub fn connections_of(catalog: &Catalog) -> Result<usize, TooFewDescriptors> {
    max_connections(catalog.settings.limits.max_connections, raise_descriptors(), listener_count(catalog))
}

/// Health checks that may run at once, within the reserve. Call it after [`connections_of`].
pub fn checks_max() -> usize {
    checks_of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

fn checks_of(limit: u64) -> usize {
    usize::try_from(CHECKS_MAX.min(limit / CHECKS_FRACTION).max(1)).unwrap_or(1)
}

/// Connections that may be open at once, given the descriptor limit and the listening sockets.
///
/// # Errors
/// An explicit number that the descriptor limit does not allow.
fn max_connections(asked: MaxConnections, limit: u64, listeners: u64) -> Result<usize, TooFewDescriptors> {
    let reserve = RESERVE.min(limit / RESERVE_FRACTION) + listeners;
    let possible = limit.saturating_sub(reserve) / PER_CONNECTION;
    let allowed = match asked {
        MaxConnections::Auto => possible,
        MaxConnections::Exactly(asked) if u64::from(asked) <= possible => u64::from(asked),
        MaxConnections::Exactly(asked) => {
            let needed = u64::from(asked) * PER_CONNECTION + reserve;
            return Err(TooFewDescriptors { asked, needed, limit, possible });
        }
    };
    Ok(usize::try_from(allowed).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_what_is_left_after_the_reserve() {
        assert_eq!(max_connections(MaxConnections::Auto, 1024, 68), Ok(350));
        assert_eq!(max_connections(MaxConnections::Auto, 65_536, 24), Ok(32_212));
        assert_eq!(max_connections(MaxConnections::Auto, 100, 500), Ok(0));
    }

    #[test]
    fn checks_stay_within_the_reserve() {
        assert_eq!(checks_of(65_536), 256);
        assert_eq!(checks_of(1024), 64);
        assert_eq!(checks_of(4), 1);
    }

    #[test]
    fn an_explicit_number_is_taken_or_refused() {
        assert_eq!(max_connections(MaxConnections::Exactly(300), 1024, 68), Ok(300));
        let error = max_connections(MaxConnections::Exactly(400), 1024, 68).unwrap_err();
        assert_eq!((error.needed, error.possible), (1124, 350));
    }
}
