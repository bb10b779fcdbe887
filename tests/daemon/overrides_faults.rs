//! Changes at run time while the disk of the state directory is full.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::clients::{Held, ask};
use crate::faults::{can_mount, with_small_disk};
use crate::overrides::{World, weights};
use crate::process::{Place, until};

#[test]
fn on_a_full_disk_a_change_is_refused_unless_it_is_an_emergency_and_recorded_later() {
    let world = World::new();
    if !can_mount(&world.place) {
        eprintln!("not tested: this user cannot mount a small file system (unshare --map-root-user --mount)");
        return;
    }
    world.write(100, 0);
    let teal = world.place.start_with(with_small_disk(&world.place));
    world.ok(&["weight", "a", "green=1", "-m", "before"]);
    let mut held = Held::new(teal.vip("a"), 4);
    let filler = fill(&world.place, teal.child.id());
    let mut refused = None;
    // The block that the journal ends in may have room for some more records.
    for green in 2..100 {
        let (code, said) = world.run(&["weight", "a", &format!("green={green}"), "-m", "full"]);
        if code != Some(0) {
            refused = Some((green, code, said));
            break;
        }
    }
    let (green, code, said) = refused.expect("a full disk refuses a change");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing was changed") && said.contains("--emergency"), "{said}");
    assert_eq!(weights(&teal, "a")[1], green - 1);
    assert!(teal.problem("journal").unwrap().contains("changes are refused but for --emergency"));
    // The emergency changes it, says so, and is recorded once there is room.
    let said = world.ok(&["weight", "a", "blue=0", "green=500", "-m", "fire", "--emergency"]);
    assert!(said.contains("NOT RECORDED"), "{said}");
    assert_eq!(weights(&teal, "a"), [0, 500]);
    assert_eq!(ask(teal.vip("a")), "green");
    held.assert_alive();
    assert_eq!(teal.metric("teal_journal_unrecorded"), Some(1));
    until("the log says so", || teal.log_has("changed without journal: cannot write"));
    fs::remove_file(filler).unwrap();
    until("the problems are over", || teal.status().problems.is_empty());
    assert_eq!(teal.metric("teal_journal_unrecorded"), Some(0));
    let journal = world.journal();
    assert_eq!(journal.damage, None);
    let last = journal.records.last().unwrap();
    assert_eq!((last["kind"].as_str(), last["cause"]["why"].as_str()), (Some("emergency"), Some("fire")));
    world.ok(&["weight", "a", "--reset", "-m", "after"]);
}

/// Fills the daemon's state directory to the last byte.
fn fill(place: &Place, pid: u32) -> PathBuf {
    let inside = PathBuf::from(format!("/proc/{pid}/root"));
    let path = inside.join(place.state().strip_prefix("/").unwrap()).join("filler");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    path
}
