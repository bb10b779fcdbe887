//! Holds the code to the map of ARCHITECTURE.md: what a machine can check of the house's invariants.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, the ground first. A file uses floors below its own, and its own room.
const FLOORS: &[&[&str]] = &[
    &["model", "telemetry"],
    &["net"],
    &["config", "balance"],
    &["state"],
    &["dns", "proxy", "health", "provider"],
    &["release"],
    &["admin"],
    &["daemon"],
    &["cli"],
    &["main", "lib"],
];

/// Files that decide: no socket, clock, file or random source.
const PURE: &[&str] = &[
    "model/",
    "balance/",
    "config/",
    "state/answers",
    "state/build",
    "state/diff",
    "state/journal/record",
    "state/journal/replay",
    "state/lanes",
    "state/order",
    "state/overrides",
    "state/drain",
    "state/records",
    "state/snapshot",
    "state/special",
    "state/successor",
    "state/vip",
    "dns/answer",
    "dns/chase",
    "dns/explain",
    "dns/reply",
    "dns/wire",
    "dns/odd",
    "dns/forward/flights",
    "dns/forward/health",
    "dns/forward/looping",
    "dns/forward/message",
    "dns/forward/policy",
    "dns/forward/question",
    "dns/forward/rate",
    "dns/forward/routes",
    "dns/forward/system",
    "proxy/route",
    "proxy/standing",
    "state/health",
    "state/outlier",
    "state/slow_start",
    "state/ports",
    "proxy/slow_start",
    "health/slow_start",
    "health/agenda",
    "health/ejection",
    "health/response",
    "health/targets",
    "health/verdict",
    "cli/import/compose",
    "cli/import/label",
    "cli/import/plan",
    "cli/import/write",
    "release/machine",
    "release/plan",
    "release/analysis/",
];

/// What a pure file never names.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
    "tokio::",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::process",
    "std::thread",
    "rand::",
];

/// Files that may start tasks or threads: the daemon, and what starts one task for each connection or socket.
const STARTERS: &[&str] = &[
    "daemon/",
    "cli/",
    "net/workers.rs",
    "proxy/",
    "dns/tcp.rs",
    "dns/forward/mod.rs",
    "admin/server.rs",
    "net/rtnl.rs",
];

/// Lines that a file of the house may have, and one that is a list of cases.
const LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 600;

struct Source {
    /// Relative to `src`.
    path: String,
    /// Without tests.
    code: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the sources are somewhere else");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let relative = path.strip_prefix(&root).expect("it lies in src").display().to_string();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        Source { path: relative, code, lines: text.lines().count() }
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_test(source: &Source) -> bool {
    source.path.ends_with("tests.rs") || source.path.contains("tests/") || source.path.ends_with("testing.rs")
}

fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Rooms that a file names by `crate::ROOM`.
fn imports(code: &str) -> impl Iterator<Item = &str> {
    let uses = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    uses.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        let own = room(&source.path);
        let own_floor = floor(own).unwrap_or_else(|| panic!("{} lies in no room of the map", source.path));
        for used in imports(&source.code).filter(|used| *used != own) {
            match floor(used) {
                Some(floor) if floor < own_floor => {}
                _ => wrong.push(format!("{} uses {used}", source.path)),
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_writer_stores_a_snapshot() {
    for source in sources() {
        let stores = source.code.contains("cell.store(Arc") || source.code.contains("snapshot.store(");
        assert!(!stores || source.path == "state/writer.rs", "{} stores a snapshot", source.path);
    }
}

#[test]
fn what_decides_is_pure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        if PURE.iter().any(|prefix| source.path.starts_with(prefix)) {
            let code = source.code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code: String = code.collect::<Vec<_>>().join("\n");
            wrong.extend(
                IMPURE.iter().filter(|word| code.contains(*word)).map(|w| format!("{}: {w}", source.path)),
            );
        }
    }
    assert!(wrong.is_empty(), "files that decide and are not pure:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_daemon_starts_long_lived_tasks() {
    for source in sources().iter().filter(|source| !is_test(source)) {
        let starts = ["tokio::spawn(", "thread::spawn("].iter().any(|word| source.code.contains(word));
        let may = STARTERS.iter().any(|prefix| source.path.starts_with(prefix));
        assert!(!starts || may, "{} starts a task", source.path);
    }
}

#[test]
fn files_say_what_they_own_and_stay_readable() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.code.starts_with("//!") {
            wrong.push(format!("{} does not open with //!", source.path));
        }
        if source.lines > if is_test(&source) { TEST_LINES_MAX } else { LINES_MAX } {
            wrong.push(format!("{} has {} lines", source.path, source.lines));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn habits_that_are_not_ours() {
    for source in sources() {
        for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME"] {
            assert!(!source.code.contains(word), "{} contains {word}", source.path);
        }
    }
}

/// Promises that have tests.
const PROMISES: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

#[test]
fn each_promise_has_a_test_of_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    collect(&root.join("tests"), &mut files);
    let texts: Vec<_> = files.iter().map(|path| fs::read_to_string(path).expect("it can be read")).collect();
    for promise in PROMISES {
        let name = format!("fn promise_{promise}_");
        assert!(texts.iter().any(|text| text.contains(&name)), "no test is called {name}...");
    }
}
