//! How many questions each source may send to upstreams over time. Pure: `now` is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::model::AcceptRate;

/// Sources whose rate is known at once.
const SOURCES_MAX: usize = 4096;
/// Between two looks for sources that may be forgotten.
const SWEEP: Duration = Duration::from_millis(100);
/// The part of an IPv6 address that its owner cannot choose freely (RFC 6177 §2).
const V6_NETWORK_BITS: u128 = u128::MAX << 64;

/// Rates by source. What a source did not use is saved up for one period.
#[derive(Debug, Default)]
pub struct RateLimit {
    /// When the next question of a source is due (the generic cell rate algorithm, ITU-T I.371).
    due: HashMap<IpAddr, Instant>,
    /// The same for all sources that the table has no room for, together.
    others: Option<Instant>,
    swept_at: Option<Instant>,
}

impl RateLimit {
    /// Whether `source` may send a question now; counts it if so.
    pub fn take(&mut self, source: IpAddr, rate: AcceptRate, now: Instant) -> bool {
        let source = group(source);
        if self.due.len() >= SOURCES_MAX && !self.due.contains_key(&source) {
            self.sweep(now);
        }
        let count = rate.count.get();
        let each = rate.per / count;
        let saved = each * (count - 1);
        let room = self.due.len() < SOURCES_MAX;
        let due = match self.due.get_mut(&source) {
            Some(due) => due,
            None if room => self.due.entry(source).or_insert(now),
            None => self.others.get_or_insert(now),
        };
        let next = (*due).max(now);
        if next.saturating_duration_since(now) > saved {
            return false;
        }
        *due = next + each;
        true
    }

    /// Forgets sources that have saved up everything.
    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP) {
            self.swept_at = Some(now);
            self.due.retain(|_, due| *due > now);
        }
    }
}

fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & V6_NETWORK_BITS).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(count: u32) -> AcceptRate {
        AcceptRate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(1) }
    }

    fn taken(limit: &mut RateLimit, source: &str, now: Instant, tries: u32) -> usize {
        let source = source.parse().unwrap();
        (0..tries).filter(|_| limit.take(source, rate(10), now)).count()
    }

    #[test]
    fn a_source_has_a_period_saved_up_and_gets_its_rate_from_then_on() {
        let (mut limit, start) = (RateLimit::default(), Instant::now());
        assert_eq!(taken(&mut limit, "192.0.2.1", start, 100), 10);
        assert_eq!(taken(&mut limit, "192.0.2.2", start, 100), 10, "sources do not share");
        assert_eq!(taken(&mut limit, "192.0.2.1", start + Duration::from_millis(300), 100), 3);
        assert_eq!(taken(&mut limit, "192.0.2.1", start + Duration::from_secs(60), 100), 10);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let (mut limit, start) = (RateLimit::default(), Instant::now());
        assert_eq!(taken(&mut limit, "2001:db8::1", start, 100), 10);
        assert_eq!(taken(&mut limit, "2001:db8::ffff:0:0:2", start, 100), 0);
        assert_eq!(taken(&mut limit, "2001:db8:0:1::1", start, 100), 10);
        assert_eq!(taken(&mut limit, "192.0.2.1", start, 6), 6);
        assert_eq!(taken(&mut limit, "::ffff:192.0.2.1", start, 6), 4);
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_memory_and_shares_one_rate() {
        let (mut limit, start) = (RateLimit::default(), Instant::now());
        let mut allowed = 0;
        for number in 0..20_000_u32 {
            let source = std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
            allowed += usize::from(limit.take(source, rate(10), start));
        }
        assert_eq!(limit.due.len(), SOURCES_MAX);
        assert_eq!(allowed, SOURCES_MAX + 10);
        assert_eq!(
            taken(&mut limit, "192.0.2.1", start + Duration::from_secs(2), 100),
            10,
            "idle ones leave"
        );
    }
}
