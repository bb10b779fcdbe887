//! The journal under damage: promise 12 for what is set at run time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::files::{read_files, verify};
use super::*;
use crate::model::{ColorName, ServiceName, Weight};
use crate::state::overrides::{Actor, Admission, Cause, Edit, Overrides};
use crate::state::releases::Releases;

fn cause(why: &str) -> Cause {
    Cause {
        actor: Actor { name: "alice".into(), uid: Some(1000), ..Actor::default() },
        at: 7,
        why: why.into(),
    }
}

fn weights(service: &str, blue: u16) -> Edit {
    let map = |blue: u16| {
        let named = |name, weight| (ColorName::parse(name).unwrap(), Weight::new(i64::from(weight)).unwrap());
        BTreeMap::from([named("blue", blue), named("green", 100)])
    };
    let covers = (blue > 0).then(|| "0123456789abcdef".to_owned());
    Edit::Weights { service: ServiceName::parse(service).unwrap(), before: map(1), after: map(blue), covers }
}

fn endpoint(after: Admission) -> Edit {
    Edit::Endpoint {
        service: ServiceName::parse("a").unwrap(),
        color: ColorName::parse("blue").unwrap(),
        address: "[::1]:80".parse().unwrap(),
        before: Admission::Enabled,
        after,
    }
}

fn change(journal: &mut Journal, edits: Vec<Edit>) {
    let intent = journal
        .record(Event::Intent { edits, cause: cause("a \"quoted\" reason ü"), release: None }, 7)
        .unwrap();
    journal.record(Event::Applied { intent }, 7).unwrap();
}

/// A journal with every kind of record, and its bytes.
fn sample(folder: &Path) -> Vec<u8> {
    let mut journal = Journal::open(folder);
    change(&mut journal, vec![weights("a", 10), weights("b", 20)]);
    change(&mut journal, vec![endpoint(Admission::Disabled)]);
    journal
        .record(Event::Intent { edits: vec![weights("a", 30)], cause: cause("lost"), release: None }, 8)
        .unwrap();
    journal.record(Event::Abandoned { intent: journal.chain().sequence() }, 8).unwrap();
    let edits = vec![weights("b", 0)];
    journal.record(Event::Ended { edits, cause: cause("the file") }, 9).unwrap();
    journal
        .record(Event::Emergency { edits: vec![weights("c", 40)], cause: cause("now"), release: None }, 9)
        .unwrap();
    change(&mut journal, vec![weights("a", 50), endpoint(Admission::Enabled)]);
    fs::read(folder.join("journal")).unwrap()
}

/// The states after each record, the empty one first; by a fold of its own, to hold the replay against.
fn states(bytes: &[u8]) -> Vec<Overrides> {
    let (mut now, mut intended) = (Overrides::default(), None);
    let mut states = vec![now.clone()];
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match record::decode(line.strip_suffix(b"\n").unwrap()).unwrap().0.event {
            Event::Intent { edits, cause, .. } => intended = Some((edits, cause)),
            Event::Applied { .. } => {
                let (edits, cause) = intended.take().unwrap();
                now.apply(&edits, &cause);
            }
            Event::Ended { edits, cause } | Event::Emergency { edits, cause, .. } => {
                now.apply(&edits, &cause);
            }
            Event::Abandoned { .. }
            | Event::Checkpoint { .. }
            | Event::Release { .. }
            | Event::Freeze { .. } => {}
        }
        states.push(now.clone());
    }
    states
}

fn open_with(bytes: &[u8]) -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journal"), bytes).unwrap();
    let journal = Journal::open(folder.path());
    (folder, journal)
}

#[test]
fn promise_12_cut_at_every_byte_the_state_is_that_of_the_last_whole_record() {
    let bytes = sample(tempfile::tempdir().unwrap().path());
    let states = states(&bytes);
    for cut in 0..=bytes.len() {
        let whole = bytes[..cut].split(|byte| *byte == b'\n').count() - 1;
        let replayed = replay([&bytes[..cut]]);
        assert_eq!(replayed.damage, None, "cut at {cut}");
        assert_eq!(*replayed.chain.overrides(), states[whole], "cut at {cut}");
        assert_eq!(replayed.whole_octets + replayed.torn_octets, cut);
    }
}

#[test]
fn promise_12_cut_anywhere_the_journal_can_be_written_again() {
    let bytes = sample(tempfile::tempdir().unwrap().path());
    for cut in (0..=bytes.len()).step_by(37) {
        let (folder, mut journal) = open_with(&bytes[..cut]);
        let before = journal.chain().overrides().clone();
        if let Some(intent) = journal.chain().open_intent() {
            journal.record(Event::Abandoned { intent }, 9).unwrap();
        }
        assert_eq!(*journal.chain().overrides(), before, "an intent alone changes nothing");
        change(&mut journal, vec![weights("z", 3)]);
        let (replayed, damage) = verify(folder.path()).unwrap();
        assert_eq!((damage, &replayed.chain), (None, journal.chain()), "cut at {cut}");
    }
}

#[test]
fn promise_12_each_byte_flipped_is_noticed_and_leaves_the_last_verified_state() {
    let bytes = sample(tempfile::tempdir().unwrap().path());
    let states = states(&bytes);
    for at in 0..bytes.len() {
        // A letter's case, a digit, a quote, a newline.
        for flip in [0x01, 0x20, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let replayed = replay([&damaged[..]]);
            let line = bytes[..at].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(*replayed.chain.overrides(), states[line], "byte {at}, flip {flip:#x}");
            // Only the very last newline looks like a record that was not written to its end.
            assert_eq!(replayed.damage.is_none(), at + 1 == bytes.len(), "byte {at}, flip {flip:#x}");
        }
    }
}

#[test]
fn promise_12_a_record_taken_out_or_put_elsewhere_is_damage() {
    let bytes = sample(tempfile::tempdir().unwrap().path());
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for index in 0..lines.len() - 1 {
        let without: Vec<u8> =
            lines.iter().enumerate().filter(|(i, _)| *i != index).flat_map(|(_, l)| l.to_vec()).collect();
        assert!(replay([&without[..]]).damage.is_some(), "without line {index}");
        let mut swapped = lines.clone();
        swapped.swap(index, index + 1);
        assert!(replay([&swapped.concat()[..]]).damage.is_some(), "lines {index} and the next swapped");
    }
}

#[test]
fn damage_refuses_records_until_it_is_accepted_and_the_evidence_stays() {
    let mut bytes = sample(tempfile::tempdir().unwrap().path());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let (folder, mut journal) = open_with(&bytes);
    let kept = journal.chain().overrides().clone();
    let refused = journal.record(Event::Ended { edits: vec![], cause: cause("x") }, 9);
    assert!(matches!(refused, Err(JournalError::Damaged(_))), "{refused:?}");
    journal
        .owe(Event::Emergency { edits: vec![weights("z", 1)], cause: cause("now"), release: None })
        .unwrap();
    assert_eq!(fs::read(folder.path().join("journal")).unwrap(), bytes, "nothing is written over");
    journal.accept(cause("I looked at it"), 10).unwrap();
    assert_eq!(*journal.chain().overrides(), kept);
    assert_eq!(journal.settle(10).unwrap(), 1);
    let again = Journal::open(folder.path());
    assert_eq!((again.damage(), again.chain()), (None, journal.chain()));
    assert_eq!(fs::read(folder.path().join("damaged-journal")).unwrap(), bytes);
    assert!(
        String::from_utf8(read_files(folder.path()).unwrap()[0].1.clone())
            .unwrap()
            .contains("I looked at it")
    );
}

#[test]
fn a_newer_schema_is_left_alone() {
    let (line, _) = record::encode(&Record {
        schema: record::SCHEMA + 1,
        sequence: 1,
        at: 1,
        previous: record::NOTHING_BEFORE.to_owned(),
        event: Event::Checkpoint {
            overrides: Overrides::default(),
            releases: Releases::default(),
            accepted: None,
        },
    })
    .unwrap();
    let (_folder, journal) = open_with(line.as_bytes());
    assert!(journal.damage().unwrap().contains("newer version"), "{:?}", journal.damage());
}

#[test]
fn files_are_bounded_and_the_chain_goes_through_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path());
    let why = "x".repeat(100_000);
    for round in 0..140_u16 {
        let event = Event::Emergency {
            edits: vec![weights("a", round % 1000 + 1)],
            cause: cause(&why),
            release: None,
        };
        journal.record(event, 9).unwrap();
    }
    let files = read_files(folder.path()).unwrap();
    assert_eq!(files.len(), 5, "four old ones and the current one");
    assert!(files.iter().all(|(_, bytes)| bytes.len() < 2_000_000));
    let (replayed, damage) = verify(folder.path()).unwrap();
    assert_eq!((damage, &replayed.chain), (None, journal.chain()));
    // Damage in an old file is told, and costs nothing of the state.
    let (name, mut bytes) = files[1].clone();
    bytes[500] ^= 1;
    fs::write(folder.path().join(name), bytes).unwrap();
    let again = Journal::open(folder.path());
    assert!(again.damage().is_some());
    assert_eq!(again.chain().overrides(), journal.chain().overrides());
}

#[test]
fn a_crash_between_two_files_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let chain = Journal::open(folder.path()).chain().clone();
    // The current file has become an old one, and the next has not taken its place.
    fs::rename(
        folder.path().join("journal"),
        folder.path().join(format!("journal-{:020}", chain.sequence())),
    )
    .unwrap();
    fs::write(folder.path().join(".journal.new"), "half").unwrap();
    let mut journal = Journal::open(folder.path());
    assert_eq!((journal.damage(), journal.chain()), (None, &chain));
    change(&mut journal, vec![weights("z", 3)]);
    assert_eq!(verify(folder.path()).unwrap().1, None);
}

#[test]
fn what_could_not_be_written_is_owed_and_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let mut journal = Journal::open(&state);
    change(&mut journal, vec![weights("a", 1)]);
    fs::remove_dir_all(&state).unwrap();
    let emergency = Event::Emergency { edits: vec![weights("a", 2)], cause: cause("now"), release: None };
    assert!(matches!(journal.record(emergency.clone(), 9), Err(JournalError::Write { .. })));
    journal.owe(emergency).unwrap();
    assert!(journal.record(Event::Ended { edits: vec![], cause: cause("x") }, 9).is_err());
    fs::create_dir(&state).unwrap();
    journal.record(Event::Ended { edits: vec![weights("b", 0)], cause: cause("x") }, 9).unwrap();
    assert_eq!(journal.owed(), 0);
    assert_eq!(verify(&state).unwrap().0.chain, *journal.chain());
}

#[test]
fn a_record_that_somebody_else_wrote_is_told_at_the_next_start() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path());
    change(&mut journal, vec![weights("a", 1)]);
    let mut file = fs::OpenOptions::new().append(true).open(folder.path().join("journal")).unwrap();
    file.write_all(b"{}\n").unwrap();
    change(&mut journal, vec![weights("a", 2)]);
    let again = Journal::open(folder.path());
    assert!(again.damage().is_some());
    assert_eq!(again.chain().overrides(), journal.chain().overrides());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_operations_then_replay_equals_the_live_state(
        steps in prop::collection::vec((0u8..6, 0u16..1000, any::<bool>()), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path());
        let mut live = Overrides::default();
        for (kind, blue, restart) in steps {
            let service = ["a", "b", "c"][usize::from(blue % 3)];
            let edits = vec![weights(service, blue), endpoint(if blue % 2 == 0 { Admission::Enabled } else { Admission::Disabled })];
            let why = cause("random");
            match kind {
                0 | 1 => {
                    live.apply(&edits, &cause("a \"quoted\" reason ü"));
                    change(&mut journal, edits);
                }
                2 => { journal.record(Event::Intent { edits, cause: why, release: None }, 1).unwrap(); }
                3 => {
                    live.apply(&edits, &why);
                    journal.record(Event::Emergency { edits, cause: why, release: None }, 1).unwrap();
                }
                4 => {
                    live.apply(&edits, &why);
                    journal.owe(Event::Emergency { edits, cause: why, release: None }).unwrap();
                    journal.settle(2).unwrap();
                }
                _ => {
                    live.apply(&edits, &why);
                    journal.record(Event::Ended { edits, cause: why }, 1).unwrap();
                }
            }
            if restart || kind == 2 {
                journal = Journal::open(folder.path());
                prop_assert_eq!(journal.damage(), None);
                if let Some(intent) = journal.chain().open_intent() {
                    journal.record(Event::Abandoned { intent }, 3).unwrap();
                }
            }
            prop_assert_eq!(journal.chain().overrides(), &live);
        }
        let replayed = verify(folder.path()).unwrap().0;
        prop_assert_eq!(replayed.chain.overrides(), &live);
    }
}
