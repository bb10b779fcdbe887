//! The name table against a map, and where its bytes lie.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::state::records::name_below;

/// The same as [`Records`], but for what it borrows.
#[derive(Debug, Clone)]
enum Owned {
    Empty,
    Forward(u16),
    Apex(Option<Vec<u8>>),
    Address(u32),
    Own(OwnRecords),
    Alias(Vec<u8>),
    Server(u8, u32, Vec<[u8; 2]>),
    Pointer(Vec<u8>),
}

impl Owned {
    fn records(&self) -> Records<'_> {
        match self {
            Self::Empty => Records::Empty,
            Self::Forward(domain) => Records::Forward(*domain),
            Self::Apex(pointer) => Records::Apex { pointer: pointer.as_deref() },
            Self::Address(address) => Records::Address(Ipv4Addr::from(*address)),
            Self::Own(own) => Records::Own(own),
            Self::Alias(target) => Records::Alias(target),
            Self::Server(target_octets, address, ports) => {
                let (target_octets, address) = (*target_octets, Ipv4Addr::from(*address));
                Records::Server(Server { target_octets, address, ports })
            }
            Self::Pointer(target) => Records::Pointer(target),
        }
    }
}

fn records() -> impl Strategy<Value = Owned> {
    let target = || prop::collection::vec(any::<u8>(), 1..255);
    let ports = prop::collection::vec(any::<[u8; 2]>(), 1..40);
    let own = prop::collection::vec(any::<u32>().prop_map(Ipv4Addr::from), 1..4);
    prop_oneof![
        Just(Owned::Empty),
        any::<u16>().prop_map(Owned::Forward),
        prop::option::of(target()).prop_map(Owned::Apex),
        any::<u32>().prop_map(Owned::Address),
        own.prop_map(|v4| Owned::Own(OwnRecords { v4, ..OwnRecords::default() })),
        target().prop_map(Owned::Alias),
        (any::<u8>(), any::<u32>(), ports)
            .prop_map(|(octets, address, ports)| Owned::Server(octets, address, ports)),
        target().prop_map(Owned::Pointer),
    ]
}

/// Labels of few letters, so that names meet, and of any length.
fn name() -> impl Strategy<Value = Box<[u8]>> {
    let label = prop_oneof![4 => "[ab]{1,3}", 1 => "[a-z0-9-]{1,50}"];
    prop::collection::vec(label, 0..6).prop_map(|labels| {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        name_below(&labels, &[0])
    })
}

proptest! {
    #[test]
    fn a_table_knows_the_names_that_were_added_and_no_others(
        added in prop::collection::vec((name(), any::<u16>(), records(), any::<bool>()), 0..120),
        others in prop::collection::vec(name(), 0..120),
    ) {
        let mut table = Table::default();
        let mut model = BTreeMap::new();
        for (name, zone, records, again) in &added {
            let node = Node { zone: *zone, records: records.records() };
            if name.len() > 255 {
                table.put(name, node);
            } else if *again {
                table.put(name, node);
                model.insert(name, node);
            } else {
                table.insert(name, node);
                model.entry(name).or_insert(node);
            }
            prop_assert_eq!(table.get(name), model.get(name).copied());
        }
        table.seal();
        for name in added.iter().map(|(name, ..)| name).chain(&others) {
            prop_assert_eq!(table.get(name), model.get(name).copied());
            prop_assert_eq!(table.get(&name.to_ascii_uppercase()), model.get(name).copied());
        }
    }
}

#[test]
fn a_name_and_its_records_lie_in_one_line_and_the_index_stays_sparse() {
    let names: Vec<Box<[u8]>> =
        (0..5_000).map(|number| name_below(&[&format!("service{number}")], &[0])).collect();
    let mut table = Table::default();
    for name in &names {
        table.insert(name, Node { zone: 0, records: Records::Address(Ipv4Addr::LOCALHOST) });
    }
    table.seal();
    for name in &names {
        let tier = &table.tiers[1];
        let data = tier.find(hash_of(name), name).expect("it was added").data;
        let end = data.as_ptr().addr() + data.len();
        let begin = end - data.len() - name.len() - HEAD_OCTETS;
        assert_eq!(begin / LINE_OCTETS, (end - 1) / LINE_OCTETS);
        assert!(tier.taken * 3 <= tier.slots.len());
    }
}
