//! `[dns.cache]`: how long answers of others are remembered, and how many.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Bounds of the cache. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Octets in all; 0 keeps nothing.
    pub octets_max: usize,
    /// Answers in all.
    pub entries_max: NonZeroUsize,
    /// An answer is kept at least so long, whatever its records say.
    pub ttl_min: Duration,
    /// An answer is kept at most so long.
    pub ttl_max: Duration,
    /// That there is nothing is kept at most so long (RFC 2308 §5).
    pub negative_ttl_max: Duration,
    /// That no upstream could answer is kept so long (RFC 9520 §3.2: 1 s at least, 5 minutes at most).
    pub failure_ttl: Duration,
    /// An answer that is over may be given for so long when no upstream answers (RFC 8767); 0 for never.
    pub stale_max: Duration,
}

impl CacheSettings {
    /// What holds where a configuration says nothing.
    pub fn by_default() -> Self {
        Self {
            octets_max: 16 << 20,
            entries_max: NonZeroUsize::new(50_000).unwrap_or(NonZeroUsize::MIN),
            ttl_min: Duration::ZERO,
            ttl_max: Duration::from_secs(3600),
            negative_ttl_max: Duration::from_secs(300),
            failure_ttl: Duration::from_secs(2),
            stale_max: Duration::from_secs(3600),
        }
    }
}
