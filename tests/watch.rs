//! A configuration is reported when it has changed and is complete, however it was changed.
//!
//! The watcher runs in a thread of its own; tests change real files and wait for reports under a
//! deadline. That something is *not* reported is looked at for a moment, after the watcher has taken in
//! everything that happened.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use teal::provider::{ReadError, WatchHandle, Watcher};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);
/// How long it is looked that nothing is reported.
const MOMENT: Duration = Duration::from_millis(300);
const NO_SETTLE: Duration = Duration::ZERO;

struct Watched {
    changes: Receiver<Instant>,
    handle: WatchHandle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    fn start(config: &Path, settle: Duration) -> Self {
        let watcher = Watcher::new(config, settle);
        let handle = watcher.handle();
        let stop = CancellationToken::new();
        let (send, changes) = channel();
        let token = stop.clone();
        let thread = thread::spawn(move || {
            let changed = move || send.send(Instant::now()).unwrap_or_default();
            block_on(watcher.run(changed, token));
        });
        Self { changes, handle, stop, thread: Some(thread) }
    }

    #[track_caller]
    fn expect_change(&self) -> Instant {
        self.changes.recv_timeout(DEADLINE).expect("the change is reported")
    }

    #[track_caller]
    fn expect_nothing(&self) {
        self.handle.is_being_written();
        assert!(self.changes.recv_timeout(MOMENT).is_err(), "nothing is to be reported");
    }

    /// Takes what several steps of one change led to, after the last of which has been reported.
    fn forget(&self) {
        while self.changes.recv_timeout(MOMENT).is_ok() {}
    }

    #[track_caller]
    fn expect_text(&self, text: &str) {
        let sources = block_on(self.handle.read(DEADLINE)).unwrap();
        let all: Vec<_> = sources.files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(all.join("+"), text);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A folder with files, removed at the end.
fn root(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn replace_by_rename(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// What `ln -sfn` and `mv -T` do: a new link renamed over the old one.
fn swap_symlink(link: &Path, target: &str) {
    let fresh = link.with_extension("tmp");
    symlink(target, &fresh).unwrap();
    fs::rename(fresh, link).unwrap();
}

#[test]
fn each_rename_over_the_file_is_reported() {
    let root = root(&[("teal.toml", "0")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    watched.expect_nothing();
    let mut delays: Vec<Duration> = (1..=20)
        .map(|round| {
            let begin = Instant::now();
            replace_by_rename(&config, &round.to_string());
            let seen = watched.expect_change();
            watched.expect_text(&round.to_string());
            seen.saturating_duration_since(begin)
        })
        .collect();
    delays.sort();
    println!("to write, rename and see the report: median {:?}, longest {:?}", delays[10], delays[19]);
    watched.expect_nothing();
}

#[test]
fn the_rename_dance_of_editors_is_one_complete_change() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    fs::rename(&config, root.path().join("teal.toml~")).unwrap();
    watched.expect_nothing();
    let mut file = File::create(&config).unwrap();
    file.write_all(b"new ").unwrap();
    watched.expect_nothing();
    file.write_all(b"text").unwrap();
    drop(file);
    watched.expect_change();
    watched.expect_text("new text");
    fs::remove_file(root.path().join("teal.toml~")).unwrap();
    watched.expect_nothing();
}

#[test]
fn a_symlink_that_is_swapped_is_followed_both_ways() {
    let root = root(&[("releases/1/teal.toml", "one"), ("releases/2/teal.toml", "two")]);
    let current = root.path().join("current");
    symlink("releases/1", &current).unwrap();
    let config = root.path().join("teal.toml");
    symlink("current/teal.toml", &config).unwrap();
    let watched = Watched::start(&config, NO_SETTLE);
    for (release, text) in [("2", "two"), ("1", "one"), ("2", "two")] {
        swap_symlink(&current, &format!("releases/{release}"));
        watched.expect_change();
        watched.expect_text(text);
    }
    // What is behind the link now is watched, what was is not.
    replace_by_rename(&root.path().join("releases/2/teal.toml"), "two again");
    watched.expect_change();
    watched.expect_text("two again");
    replace_by_rename(&root.path().join("releases/1/teal.toml"), "one again");
    watched.expect_nothing();
    // The last link itself.
    swap_symlink(&config, "releases/1/teal.toml");
    watched.expect_change();
    watched.expect_text("one again");
}

#[test]
fn a_symlink_that_is_removed_and_made_again_is_followed() {
    let root = root(&[("1.toml", "one"), ("2.toml", "two")]);
    let config = root.path().join("teal.toml");
    symlink("1.toml", &config).unwrap();
    let watched = Watched::start(&config, NO_SETTLE);
    fs::remove_file(&config).unwrap();
    symlink("2.toml", &config).unwrap();
    watched.expect_change();
    watched.expect_text("two");
}

#[test]
fn a_kubernetes_volume_is_followed() {
    let root = root(&[("..1/teal.toml", "one"), ("..1/conf.d/a.toml", "a")]);
    symlink("..1", root.path().join("..data")).unwrap();
    symlink("..data/teal.toml", root.path().join("teal.toml")).unwrap();
    symlink("..data/conf.d", root.path().join("conf.d")).unwrap();
    let file = Watched::start(&root.path().join("teal.toml"), NO_SETTLE);
    let folder = Watched::start(root.path(), Duration::from_millis(20));
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        fs::create_dir_all(root.path().join(new).join("conf.d")).unwrap();
        fs::write(root.path().join(new).join("teal.toml"), new).unwrap();
        fs::write(root.path().join(new).join("conf.d/b.toml"), "b").unwrap();
        symlink(new, root.path().join("..data_tmp")).unwrap();
        fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).unwrap();
        fs::remove_dir_all(root.path().join(old)).unwrap();
        file.expect_change();
        file.expect_text(new);
        folder.expect_change();
        folder.expect_text(&format!("{new}+b"));
        file.forget();
        folder.forget();
    }
}

#[test]
fn a_file_is_not_reported_before_its_writer_closes_it() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    let mut file = File::create(&config).unwrap();
    file.write_all(b"first half").unwrap();
    assert_eq!(watched.handle.being_written().as_deref(), Some(&*fs::canonicalize(&config).unwrap()));
    watched.expect_nothing();
    let refused = block_on(watched.handle.read(Duration::from_millis(50))).unwrap_err();
    assert!(matches!(refused, ReadError::BeingWritten { .. }), "{refused}");
    println!("{refused}");
    file.write_all(b", second half").unwrap();
    watched.expect_nothing();
    drop(file);
    watched.expect_change();
    watched.expect_text("first half, second half");
    assert!(!watched.handle.is_being_written());
}

#[test]
fn a_reload_by_hand_waits_for_the_writer() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    let mut file = File::create(&config).unwrap();
    file.write_all(b"first half").unwrap();
    let handle = watched.handle.clone();
    let reader = thread::spawn(move || block_on(handle.read(DEADLINE)));
    watched.expect_nothing();
    assert!(!reader.is_finished());
    file.write_all(b", second half").unwrap();
    drop(file);
    let sources = reader.join().unwrap().unwrap();
    assert_eq!(sources.files[0].text, "first half, second half");
}

#[test]
fn changes_elsewhere_do_not_let_a_half_written_file_through() {
    let root = root(&[("teal.toml", "old"), ("conf.d/a.toml", "a")]);
    let watched = Watched::start(root.path(), NO_SETTLE);
    let mut file = File::create(root.path().join("teal.toml")).unwrap();
    file.write_all(b"half").unwrap();
    fs::write(root.path().join("conf.d/a.toml"), "a2").unwrap();
    replace_by_rename(&root.path().join("conf.d/b.toml"), "b");
    fs::remove_file(root.path().join("conf.d/b.toml")).unwrap();
    fs::write(root.path().join("unrelated"), "x").unwrap();
    watched.expect_nothing();
    assert!(watched.handle.is_being_written());
    drop(file);
    watched.expect_change();
    watched.expect_text("half+a2");
}

#[test]
fn what_is_read_while_somebody_writes_again_and_again_is_always_whole() {
    const ROUNDS: u32 = 1000;
    let text = |round: u32| format!("begin {round} {} end", "x".repeat(50_000));
    let root = root(&[("teal.toml", &text(0))]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    let path = config.clone();
    let writer = thread::spawn(move || {
        for round in 1..=ROUNDS {
            let text = text(round);
            let mut file = File::create(&path).unwrap();
            for piece in text.as_bytes().chunks(20_000) {
                file.write_all(piece).unwrap();
                thread::yield_now();
            }
            drop(file);
            // Now and then a time in which it can be read, of a length that makes the next write fall
            // before, into and after the reading.
            if round % 4 == 0 {
                thread::sleep(Duration::from_micros(u64::from(round % 100) * 200));
            }
        }
    });
    let mut reads = 0;
    let mut last = String::new();
    while last != text(ROUNDS) {
        watched.expect_change();
        // While the writer is at it, there may be no whole file to be had in that time.
        let Ok(mut sources) = block_on(watched.handle.read(Duration::from_millis(20))) else { continue };
        last = sources.files.remove(0).text;
        assert!(last.starts_with("begin ") && last.ends_with(" end"), "{} bytes were read", last.len());
        reads += 1;
    }
    println!("{reads} whole files were read while {ROUNDS} were written");
    writer.join().unwrap();
}

#[test]
fn renames_without_a_rest_do_not_keep_it_from_being_read() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    let stop = CancellationToken::new();
    let (path, token) = (config.clone(), stop.clone());
    let writer = thread::spawn(move || {
        while !token.is_cancelled() {
            replace_by_rename(&path, "whole");
        }
    });
    for _ in 0..20 {
        watched.expect_change();
        watched.expect_text("whole");
    }
    stop.cancel();
    writer.join().unwrap();
}

#[test]
fn a_rename_over_a_half_written_file_counts() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    let mut abandoned = File::create(&config).unwrap();
    abandoned.write_all(b"half").unwrap();
    watched.expect_nothing();
    replace_by_rename(&config, "whole");
    watched.expect_change();
    abandoned.write_all(b"more").unwrap();
    assert!(!watched.handle.is_being_written());
    watched.expect_text("whole");
    drop(abandoned);
    watched.expect_nothing();
}

#[test]
fn a_file_that_is_deleted_and_made_again_is_reported_when_it_is_whole() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    fs::remove_file(&config).unwrap();
    fs::write(&config, "new").unwrap();
    watched.expect_change();
    watched.expect_text("new");
    watched.forget();
    fs::remove_file(&config).unwrap();
    watched.expect_change();
    let missing = block_on(watched.handle.read(NO_SETTLE)).unwrap_err();
    assert!(matches!(missing, ReadError::NotFound { .. }), "{missing}");
    fs::write(&config, "newer").unwrap();
    watched.expect_change();
    watched.expect_text("newer");
}

#[test]
fn its_whole_folder_may_be_renamed_or_made_later() {
    let root = root(&[("a/teal.toml", "one"), ("b/teal.toml", "two")]);
    let config = root.path().join("a/teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    fs::rename(root.path().join("a"), root.path().join("old")).unwrap();
    fs::rename(root.path().join("b"), root.path().join("a")).unwrap();
    watched.expect_change();
    watched.expect_text("two");
    replace_by_rename(&config, "three");
    watched.expect_change();
    watched.expect_text("three");
    fs::remove_dir_all(root.path().join("a")).unwrap();
    watched.expect_change();
    watched.forget();
    fs::create_dir(root.path().join("a")).unwrap();
    fs::write(&config, "four").unwrap();
    watched.expect_change();
    watched.expect_text("four");
}

#[test]
fn a_file_that_is_linked_into_place_is_complete() {
    let root = root(&[("fresh.toml", "linked")]);
    let config = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    fs::hard_link(root.path().join("fresh.toml"), &config).unwrap();
    watched.expect_change();
    watched.expect_text("linked");
}

#[test]
fn files_in_conf_d_come_and_go_also_when_the_folder_is_made_later() {
    let root = root(&[("teal.toml", "main")]);
    let watched = Watched::start(root.path(), Duration::from_millis(20));
    fs::create_dir(root.path().join("conf.d")).unwrap();
    fs::write(root.path().join("conf.d/a.toml"), "a").unwrap();
    watched.expect_change();
    watched.forget();
    watched.expect_text("main+a");
    fs::write(root.path().join("conf.d/b.toml"), "b").unwrap();
    watched.expect_change();
    watched.expect_text("main+a+b");
    watched.forget();
    fs::write(root.path().join("conf.d/.b.toml.swp"), "b").unwrap();
    fs::write(root.path().join("conf.d/b.toml~"), "b").unwrap();
    watched.expect_nothing();
    fs::remove_file(root.path().join("conf.d/a.toml")).unwrap();
    watched.expect_change();
    watched.expect_text("main+b");
}

#[test]
fn a_burst_of_writes_in_a_folder_is_one_change() {
    let root = root(&[("teal.toml", "main"), ("conf.d/a.toml", "a")]);
    let settle = Duration::from_millis(400);
    let watched = Watched::start(root.path(), settle);
    for round in 0..50 {
        fs::write(root.path().join(format!("conf.d/{}.toml", round % 7)), round.to_string()).unwrap();
    }
    let last = Instant::now();
    let seen = watched.expect_change();
    assert!(seen.saturating_duration_since(last) >= settle / 2, "reported before it had settled");
    assert!(watched.changes.recv_timeout(2 * settle).is_err(), "reported twice");
    watched.handle.set_settle(NO_SETTLE);
    replace_by_rename(&root.path().join("teal.toml"), "main2");
    watched.expect_change();
}

#[test]
fn an_overflow_of_the_queue_loses_no_change() {
    let root = root(&[("teal.toml", "old")]);
    let config = root.path().join("teal.toml");
    let watcher = Watcher::new(&config, NO_SETTLE);
    let handle = watcher.handle();
    let queue: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let other = root.path().join("other");
    // Two events each.
    for _ in 0..=queue / 2 {
        File::create(&other).unwrap();
        fs::remove_file(&other).unwrap();
    }
    replace_by_rename(&config, "new");
    let stop = CancellationToken::new();
    let (send, changes) = channel();
    let token = stop.clone();
    let changed = move || send.send(()).unwrap_or_default();
    let thread = thread::spawn(move || block_on(watcher.run(changed, token)));
    changes.recv_timeout(DEADLINE).expect("an overflow is a change");
    // The new file is the one that is watched now.
    fs::write(&config, "newer").unwrap();
    changes.recv_timeout(DEADLINE).expect("the new file is watched");
    assert_eq!(block_on(handle.read(DEADLINE)).unwrap().files[0].text, "newer");
    stop.cancel();
    thread.join().unwrap();
}

/// Runs the test of that name again, in a user namespace of its own.
fn in_user_namespace(test: &str) -> Option<std::process::Output> {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("TEAL_TEST_INSIDE", "1")
        .output()
        .ok()?;
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    ran.then_some(output)
}

#[test]
fn without_inotify_the_files_are_looked_at_from_time_to_time() {
    if std::env::var_os("TEAL_TEST_INSIDE").is_none() {
        let Some(output) = in_user_namespace("without_inotify_the_files_are_looked_at_from_time_to_time")
        else {
            // Not by a macro: its output would be swallowed.
            let why = "unshare(1) is missing or may not make a user namespace here";
            std::io::stderr().write_all(format!("SKIPPED the test of polling: {why}\n").as_bytes()).unwrap();
            return;
        };
        assert!(output.status.success(), "{output:?}");
        return;
    }
    fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    let root = root(&[("teal.toml", "old")]);
    let config: PathBuf = root.path().join("teal.toml");
    let watched = Watched::start(&config, NO_SETTLE);
    watched.expect_nothing();
    replace_by_rename(&config, "new");
    watched.expect_change();
    watched.expect_text("new");
}
