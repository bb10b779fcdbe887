//! Promise 12 for releases: the process ends at every point of recording and applying, and what is found after is
//! what was applied last.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::overrides::weights;
use crate::process::Teal;
use crate::releases::World;

/// Tests of points that run at a time.
const AT_ONCE: u64 = 4;
/// More points than a whole release has.
const POINTS_MAX: u64 = 200;

/// Green's weight in `a` and in `b` as the journal's lines say it was applied last, read without teal's own code.
fn applied_last(state: &Path) -> (i64, i64) {
    let text = fs::read_to_string(state.join("journal")).unwrap_or_default();
    let (mut green, mut intent) = ((0, 0), Value::Null);
    for record in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        match record["kind"].as_str() {
            Some("intent") => intent = record,
            Some("applied") => {
                for edit in intent["edits"].as_array().unwrap() {
                    let weight = edit["after"]["green"].as_i64().unwrap();
                    if edit["service"] == "a" { green.0 = weight } else { green.1 = weight }
                }
            }
            _ => {}
        }
    }
    green
}

fn green(teal: &Teal) -> (i64, i64) {
    (weights(teal, "a")[1].into(), weights(teal, "b")[1].into())
}

/// Runs a release that ends at this point. Says whether it got that far.
fn end_at(point: u64) -> bool {
    let world = World::new();
    world.start().stop();
    let file = world.spec("on_restart = \"hold\"", &[(10, "0s"), (60, "0s"), (100, "0s")]);
    let mut command = world.place.command();
    command.env("TEAL_FAULT_POINT", point.to_string());
    let mut teal = world.place.spawn(command);
    // Each of these fails once the process has ended.
    let words: [&[&str]; 6] = [
        &["start", &file],
        &["wait", "shop", "--for", "awaiting", "--timeout", "20s"],
        &["confirm", "shop", "-m", "yes", "--no-save"],
        &["wait", "shop", "--for", "confirmed", "--timeout", "20s"],
        &["undo", "shop", "-m", "no"],
        &["wait", "shop", "--for", "rolled-back", "--timeout", "20s"],
    ];
    world.wait_until_served(&mut teal);
    if !words.iter().any(|word| world.run(word).0 == Some(3)) {
        teal.terminate();
    }
    if teal.wait().code() == Some(0) {
        return false;
    }
    let expected = applied_last(&world.place.state());
    let teal = world.place.start();
    let found = green(&teal);
    assert_eq!(found, expected, "point {point}: what was applied last, never further along");
    assert_eq!(found.0, found.1, "point {point}: all members of a step or none");
    assert_eq!(teal.problem("journal"), None, "point {point}");
    if world.find_release().is_some_and(|release| release.open) {
        crate::process::until("it holds", || world.release().phase == "holding");
        assert_eq!(green(&teal), expected, "point {point}: nothing moves by itself");
        world.ok(&["rollback", "shop", "-m", "start over"]);
        assert_eq!(green(&teal), (0, 0), "point {point}");
    }
    assert!(world.ok(&["log", "--verify"]).contains("records verified"), "point {point}");
    true
}

#[test]
fn promise_12_ended_at_every_point_of_recording_the_weights_are_those_applied_last() {
    for first in (1..=POINTS_MAX).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let tests = (first..first + AT_ONCE).map(|point| thread::spawn(move || end_at(point)));
        let tests: Vec<_> = tests.collect();
        let died: Vec<bool> = tests.into_iter().map(|test| test.join().unwrap()).collect();
        if died.contains(&false) {
            assert!(first > 20, "a release has more points than {first}");
            return;
        }
    }
    panic!("a release has no more than {POINTS_MAX} points");
}
