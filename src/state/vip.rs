//! Which address belongs to which name: pure, from what was given before and what is asked now.
//!
//! A name keeps its address for as long as it exists, and for 30 days after, in which nobody else gets
//! it. A new name starts at a hash of itself and takes the first free address from there, so that hosts
//! with the same pool mostly agree without talking to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::VipPool;

/// How long an address rests after its name is gone, in seconds: 30 days.
pub const REST_SECONDS: u64 = 30 * 24 * 60 * 60;

/// An address given to a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// `servicea`, or `green.servicea` for a preview name.
    pub name: String,
    /// When the name was last asked for, in seconds since 1970; absent while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<u64>,
}

/// All addresses given, resting ones included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VipTable {
    leases: BTreeMap<Ipv4Addr, Lease>,
}

/// A name that needs an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `servicea`, or `green.servicea`.
    pub name: String,
    /// The address that the operator chose.
    pub explicit: Option<Ipv4Addr>,
}

/// What bounds a choice.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Where addresses come from.
    pub pool: VipPool,
    /// Addresses in the pool that are used for something else: those that DNS listens at.
    pub reserved: BTreeSet<Ipv4Addr>,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// Why a name cannot have an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// The chosen address is another name's.
    #[error("vip {address} of {name} belongs to {holder}: choose another address for one of them")]
    Held {
        /// The address asked for.
        address: Ipv4Addr,
        /// Who asked.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// The chosen address was another name's until lately.
    #[error(
        "vip {address} of {name} was {holder}'s and rests for {days} more days, so that nobody reaches the wrong \
         service by an old answer: choose another address"
    )]
    Resting {
        /// The address asked for.
        address: Ipv4Addr,
        /// Who asked.
        name: String,
        /// Whose it was.
        holder: String,
        /// Whole days until it is free, at least 1.
        days: u64,
    },
    /// No address is free.
    #[error(
        "no address is free for {name}: the pool {pool} has {usable} addresses, all given or resting; \
         use a larger `[vip] pool`"
    )]
    Exhausted {
        /// Who asked.
        name: String,
        /// The pool.
        pool: String,
        /// Addresses that may be given.
        usable: u32,
    },
}

impl VipTable {
    /// The address of a name that exists.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.leases.iter().find(|(_, lease)| lease.name == name && lease.released.is_none()).map(|(a, _)| *a)
    }

    /// Addresses by name, of names that exist.
    pub fn addresses(&self) -> BTreeMap<&str, Ipv4Addr> {
        let living = self.leases.iter().filter(|(_, lease)| lease.released.is_none());
        living.map(|(address, lease)| (lease.name.as_str(), *address)).collect()
    }

    /// The table after exactly the names in `wanted` exist. Explicit addresses go first, then names in
    /// their order.
    ///
    /// # Errors
    /// All names that cannot have an address, with the reason of each.
    pub fn assign(&self, wanted: &[Wanted], bounds: &Bounds) -> Result<Self, Vec<VipError>> {
        let mut next = self.rested(wanted, bounds);
        let mut errors = Vec::new();
        for (name, address) in wanted.iter().filter_map(|w| Some((&w.name, w.explicit?))) {
            if let Err(error) = next.give(name, address, bounds) {
                errors.push(error);
            }
        }
        let last = next.last_addresses();
        let mut automatic: Vec<_> = wanted.iter().filter(|w| w.explicit.is_none()).map(|w| &w.name).collect();
        automatic.sort_unstable();
        // Names that had an address come before new ones, which must not take it.
        let (known, new): (Vec<_>, Vec<_>) = automatic.into_iter().partition(|name| last.contains_key(*name));
        for name in known {
            next.hold(last[name], name);
        }
        for name in new {
            match next.free_address(name, bounds) {
                Some(address) => next.hold(address, name),
                None => errors.push(VipError::Exhausted {
                    name: name.clone(),
                    pool: bounds.pool.0.to_string(),
                    usable: bounds.pool.usable(),
                }),
            }
        }
        if errors.is_empty() { Ok(next) } else { Err(errors) }
    }

    /// Without what rested long enough or cannot be used any more, and with names released that are
    /// not wanted.
    fn rested(&self, wanted: &[Wanted], bounds: &Bounds) -> Self {
        let explicit: BTreeMap<_, _> = wanted.iter().map(|w| (w.name.as_str(), w.explicit)).collect();
        let mut leases = self.leases.clone();
        leases.retain(|address, lease| {
            let stays = match explicit.get(lease.name.as_str()) {
                None => false,
                Some(None) => true,
                Some(Some(chosen)) => chosen == address,
            };
            if !stays && lease.released.is_none() {
                lease.released = Some(bounds.now);
            }
            let rests = lease.released.is_none_or(|since| bounds.now.saturating_sub(since) < REST_SECONDS);
            rests && usable(*address, bounds)
        });
        Self { leases }
    }

    /// Each name's address, else the last one that it had.
    fn last_addresses(&self) -> BTreeMap<String, Ipv4Addr> {
        let mut last: BTreeMap<String, (u64, Ipv4Addr)> = BTreeMap::new();
        for (address, lease) in &self.leases {
            let since = lease.released.unwrap_or(u64::MAX);
            let entry = last.entry(lease.name.clone()).or_insert((since, *address));
            *entry = (*entry).max((since, *address));
        }
        last.into_iter().map(|(name, (_, address))| (name, address)).collect()
    }

    fn hold(&mut self, address: Ipv4Addr, name: &str) {
        self.leases.insert(address, Lease { name: name.to_owned(), released: None });
    }

    fn give(&mut self, name: &str, address: Ipv4Addr, bounds: &Bounds) -> Result<(), VipError> {
        if let Some(lease) = self.leases.get(&address).filter(|lease| lease.name != name) {
            let (name, holder) = (name.to_owned(), lease.name.clone());
            return Err(match lease.released {
                None => VipError::Held { address, name, holder },
                Some(since) => {
                    let left = REST_SECONDS.saturating_sub(bounds.now.saturating_sub(since));
                    VipError::Resting { address, name, holder, days: left.div_ceil(24 * 60 * 60) }
                }
            });
        }
        self.hold(address, name);
        Ok(())
    }

    fn free_address(&self, name: &str, bounds: &Bounds) -> Option<Ipv4Addr> {
        let usable_count = bounds.pool.usable();
        let first = u32::from(bounds.pool.0.network()) + 1;
        let start = hash(name) % u64::from(usable_count.max(1));
        (0..u64::from(usable_count))
            .map(|step| (start + step) % u64::from(usable_count))
            .map(|offset| Ipv4Addr::from(first + u32::try_from(offset).expect("below usable_count")))
            .find(|address| usable(*address, bounds) && !self.leases.contains_key(address))
    }
}

fn usable(address: Ipv4Addr, bounds: &Bounds) -> bool {
    let pool = bounds.pool.0;
    pool.contains(&address)
        && address != pool.network()
        && address != pool.broadcast()
        && !bounds.reserved.contains(&address)
}

/// The same on every host and for ever: the first eight octets of SHA-256.
fn hash(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |hash, octet| hash << 8 | u64::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(now: u64) -> Bounds {
        Bounds { pool: VipPool("127.80.0.0/24".parse().unwrap()), reserved: BTreeSet::new(), now }
    }

    fn wanted(names: &[&str]) -> Vec<Wanted> {
        names.iter().map(|name| Wanted { name: (*name).to_owned(), explicit: None }).collect()
    }

    fn explicit(name: &str, address: &str) -> Wanted {
        Wanted { name: name.to_owned(), explicit: Some(address.parse().unwrap()) }
    }

    #[test]
    fn promise_9_a_name_keeps_its_address_when_others_come_and_go() {
        let first = VipTable::default().assign(&wanted(&["a"]), &bounds(0)).unwrap();
        let names: Vec<String> = (0..200).map(|n| format!("s{n}")).chain(["a".to_owned()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let second = first.assign(&wanted(&names), &bounds(1)).unwrap();
        assert_eq!(first.address("a"), second.address("a"));
        assert_eq!(second.addresses().len(), 201);
    }

    #[test]
    fn promise_9_an_address_rests_for_thirty_days() {
        let all: Vec<String> = (0..254).map(|n| format!("s{n}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let full = VipTable::default().assign(&wanted(&all), &bounds(0)).unwrap();
        let resting = full.assign(&wanted(&all[1..]), &bounds(10)).unwrap();
        let mut other = wanted(&all[1..]);
        other.extend(wanted(&["new"]));
        assert!(matches!(
            resting.assign(&other, &bounds(9 + REST_SECONDS)).unwrap_err()[..],
            [VipError::Exhausted { .. }]
        ));
        let given = resting.assign(&other, &bounds(10 + REST_SECONDS)).unwrap();
        assert_eq!(given.address("new"), full.address("s0"));
    }

    #[test]
    fn a_name_that_comes_back_gets_its_address_again() {
        let first = VipTable::default().assign(&wanted(&["a", "b"]), &bounds(0)).unwrap();
        let gone = first.assign(&wanted(&["b"]), &bounds(5)).unwrap();
        assert_eq!(gone.address("a"), None);
        let back = gone.assign(&wanted(&["a", "b"]), &bounds(6)).unwrap();
        assert_eq!(back.address("a"), first.address("a"));
    }

    #[test]
    fn an_explicit_address_is_given_unless_it_is_anothers() {
        let table = VipTable::default().assign(&[explicit("a", "127.80.0.9")], &bounds(0)).unwrap();
        assert_eq!(table.address("a"), Some("127.80.0.9".parse().unwrap()));
        let both = [explicit("a", "127.80.0.9"), explicit("b", "127.80.0.9")];
        assert!(matches!(table.assign(&both, &bounds(1)).unwrap_err()[..], [VipError::Held { .. }]));
        let swapped = [explicit("b", "127.80.0.9")];
        assert!(matches!(
            table.assign(&swapped, &bounds(1)).unwrap_err()[..],
            [VipError::Resting { days: 30, .. }]
        ));
    }

    #[test]
    fn reserved_first_and_last_addresses_are_never_given() {
        let mut bounds = bounds(0);
        bounds.reserved.insert("127.80.0.53".parse().unwrap());
        let names: Vec<String> = (0..253).map(|n| format!("s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let table = VipTable::default().assign(&wanted(&names), &bounds).unwrap();
        let given: BTreeSet<_> = table.addresses().into_values().collect();
        assert_eq!(given.len(), 253);
        for never in ["127.80.0.0", "127.80.0.53", "127.80.0.255"] {
            assert!(!given.contains(&never.parse().unwrap()), "{never}");
        }
    }

    #[test]
    fn promise_9_hosts_agree_whatever_came_first_unless_hashes_collide() {
        let together = VipTable::default().assign(&wanted(&["a", "b", "c"]), &bounds(0)).unwrap();
        let one = VipTable::default().assign(&wanted(&["c"]), &bounds(0)).unwrap();
        let later = one.assign(&wanted(&["a", "b", "c"]), &bounds(1)).unwrap();
        assert_eq!(together, later);
    }

    proptest! {
        #[test]
        fn no_two_names_share_an_address(steps in prop::collection::vec(prop::collection::btree_set("[a-e]{1,2}", 0..20), 1..8)) {
            let mut table = VipTable::default();
            let mut known: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
            for (now, names) in steps.iter().enumerate() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                table = table.assign(&wanted(&names), &bounds(now as u64)).unwrap();
                let addresses = table.addresses();
                prop_assert_eq!(addresses.len(), names.len());
                for (name, address) in addresses {
                    let before = known.insert(name.to_owned(), address);
                    prop_assert!(before.is_none_or(|before| before == address));
                }
            }
        }
    }
}
