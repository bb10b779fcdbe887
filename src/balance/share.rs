//! Slow start: the share of its weight that an endpoint gets which is back only for a while.
//!
//! A pick gives it all of its turns and the endpoint passes some on, so no algorithm knows of it. Shares count
//! relative to the largest one in the color: somebody keeps every turn, also where all of them have just come.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::hash::spread;

/// A part of an endpoint's weight, in 65536ths: at least a tenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

const WHOLE: u32 = 1 << 16;
/// Sets who keeps a client apart from whom it hashes to. Changing it moves clients during a slow start.
const SALT: u64 = 0x736c_6f77_5f73_7461;

impl Share {
    /// All of the weight.
    pub const FULL: Self = Self(WHOLE);
    /// What a slow start begins with: a tenth, so that it serves somebody from its first second on.
    pub const LEAST: Self = Self(WHOLE / 10);

    /// The share `since` the begin of a slow start that takes `whole`: grows evenly from the least one.
    pub fn after(since: Duration, whole: Duration) -> Self {
        if since >= whole {
            return Self::FULL;
        }
        let part = since.as_nanos() * u128::from(WHOLE) / whole.as_nanos();
        Self(u32::try_from(part).unwrap_or(WHOLE)).max(Self::LEAST)
    }

    /// Whether it is all of the weight.
    pub fn is_full(self) -> bool {
        self == Self::FULL
    }

    /// In percent, rounded down.
    pub fn percent(self) -> u32 {
        self.0 * 100 / WHOLE
    }

    /// The share of one whose color has `most` elsewhere; all of it for that one itself.
    #[must_use]
    pub fn relative_to(self, most: Self) -> Self {
        let relative = u64::from(self.0) * u64::from(WHOLE) / u64::from(most.0.max(1));
        Self(u32::try_from(relative).map_or(WHOLE, |relative| relative.min(WHOLE)))
    }

    /// Whether a client with this hash is among those that it keeps. Who is kept at one share is kept at
    /// every larger one: as it grows clients come, and none leaves.
    pub fn keeps_client(self, client: u64) -> bool {
        spread(client ^ SALT) >> 48 < u64::from(self.0)
    }
}

/// A share where every thread can read it, with the account of turns that were kept.
#[derive(Debug)]
pub struct ShareCell {
    share: AtomicU32,
    account: AtomicU32,
}

impl Default for ShareCell {
    /// With the least one.
    fn default() -> Self {
        Self { share: AtomicU32::new(Share::LEAST.0), account: AtomicU32::new(0) }
    }
}

impl ShareCell {
    /// The share now.
    pub fn get(&self) -> Share {
        Share(self.share.load(Ordering::Relaxed))
    }

    /// Changes it.
    pub fn set(&self, share: Share) {
        self.share.store(share.0, Ordering::Relaxed);
    }

    /// Whether one more turn is kept at this share: exactly so many of all, evenly spread.
    pub fn keeps_turn(&self, share: Share) -> bool {
        // The sum of shares passes a whole once for each turn that is due. It wraps at a multiple of that.
        let before = self.account.fetch_add(share.0, Ordering::Relaxed);
        before % WHOLE + share.0 >= WHOLE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_grows_from_a_tenth_to_all_of_it() {
        let whole = Duration::from_secs(30);
        let shares: Vec<_> = (0..=31).map(|s| Share::after(Duration::from_secs(s), whole)).collect();
        assert_eq!((shares[0], shares[30], shares[31]), (Share::LEAST, Share::FULL, Share::FULL));
        assert_eq!(shares[15].percent(), 50);
        assert!(shares.is_sorted() && !shares[29].is_full());
    }

    proptest! {
        #[test]
        fn exactly_its_share_of_turns_is_kept(part in 1_u32..=WHOLE, turns in 1_u32..2000) {
            let cell = ShareCell::default();
            let kept = (0..turns).filter(|_| cell.keeps_turn(Share(part))).count();
            prop_assert_eq!(kept as u64, u64::from(turns) * u64::from(part) / u64::from(WHOLE));
        }

        #[test]
        fn a_client_that_is_kept_stays_as_the_share_grows(client in any::<u64>(), a in 0_u32..=WHOLE, b in 0_u32..=WHOLE) {
            let (less, more) = (Share(a.min(b)), Share(a.max(b)));
            prop_assert!(!less.keeps_client(client) || more.keeps_client(client));
            prop_assert!(Share::FULL.keeps_client(client));
        }

        #[test]
        fn the_largest_share_keeps_every_turn(a in 1_u32..=WHOLE, b in 1_u32..=WHOLE) {
            let (less, more) = (Share(a.min(b)), Share(a.max(b)));
            prop_assert_eq!(more.relative_to(more), Share::FULL);
            prop_assert!(less.relative_to(more) <= Share::FULL);
            let exact = u64::from(less.0) * u64::from(WHOLE) / u64::from(more.0);
            prop_assert!(exact.abs_diff(u64::from(less.relative_to(more).0)) <= 1);
        }
    }

    #[test]
    fn clients_that_are_kept_are_as_many_as_the_share_says() {
        let kept = (0..10_000_u64).filter(|client| Share(WHOLE / 4).keeps_client(spread(*client))).count();
        assert!((2_400..2_600).contains(&kept), "{kept}");
    }
}
