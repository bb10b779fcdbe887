//! The files of a journal, as a disk may hand them back; and records that are sound one by one, in any order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teal::state::journal::record::{NOTHING_BEFORE, SCHEMA, encode};
use teal::state::journal::{Event, Record, Replay, replay};

fuzz_target!(|bytes: &[u8]| {
    check_files(&bytes.split(|byte| *byte == 0).collect::<Vec<_>>());
    let chained = chained(bytes);
    let end = check_files(&[&chained]);
    // Bytes after the last newline are dropped; nothing else about the state may change.
    let torn = [chained.as_slice(), b"{\"schema\":1"].concat();
    let torn = check_files(&[&torn]);
    assert_eq!((torn.chain, torn.records, torn.damage), (end.chain.clone(), end.records, end.damage));
    // Cut anywhere, the state is never one that comes later.
    let cut = usize::from(bytes.first().copied().unwrap_or_default()) * chained.len() / 256;
    let before = check_files(&[&chained[..cut]]);
    assert!(before.records <= end.records && before.chain.sequence() <= end.chain.sequence());
});

fn check_files(files: &[&[u8]]) -> Replay {
    let replay = replay(files.iter().copied());
    let last = files.last().map_or(0, |file| file.len());
    assert_eq!(replay.whole_octets + replay.torn_octets, last, "every octet of the last file is judged");
    if let Some(damage) = &replay.damage {
        assert!(damage.file < files.len() && damage.line > 0, "{damage:?} is nowhere");
    }
    replay
}

/// The lines that are events, as one chain of records with sound hashes.
fn chained(bytes: &[u8]) -> Vec<u8> {
    let (mut file, mut previous) = (Vec::new(), NOTHING_BEFORE.to_owned());
    let events =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Event>(line).ok());
    for (event, sequence) in events.zip(1..) {
        let record = Record { schema: SCHEMA, sequence, at: 7, previous, event };
        let Ok((line, hash)) = encode(&record) else { break };
        file.extend_from_slice(line.as_bytes());
        previous = hash;
    }
    file
}
