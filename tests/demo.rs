//! `teal demo` as a process: the built binary, its plain lines, and its exit code.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not there")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a fast demo may take on a busy machine; it needs a second or two.
const DEADLINE: Duration = Duration::from_secs(60);

/// A demo that ends with its handle.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str], folder: &Path) -> Demo {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command.arg("demo").args(arguments).env("TMPDIR", folder).env_remove("TEAL_LOG");
    Demo(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

impl Demo {
    /// Waits for the end, and kills what takes too long.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the demo does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its exit code and what it printed: less than a pipe holds.
    fn finish(mut self) -> (Option<i32>, String, String) {
        let status = self.end();
        let (mut out, mut log) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), out, log)
    }
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().unwrap().next().is_none()
}

/// 50 % of 101 is one more for one of them: which one depends on the host.
fn halves(text: &str, service: &str) -> bool {
    ["blue 51, green 50", "blue 50, green 51"]
        .iter()
        .any(|counts| text.contains(&format!("{service} 50%: {counts} of 101 (off 0.50 of 0.50)")))
}

#[test]
fn a_demo_shows_all_releases_and_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, log) = start(&["--fast"], folder.path()).finish();
    assert_eq!((code, log.as_str()), (Some(0), ""), "{out}");
    for (service, others) in
        [("serviceb", "\"Hello world!\" 77"), ("servicea", "\"Welcome to the world!\" 77")]
    {
        for counts in
            ["0%: blue 40, green 0 of 40", "25%: blue 77, green 26 of 103", "100%: blue 0, green 42 of 42"]
        {
            assert!(out.contains(&format!("{service} {counts}")), "{service} {counts}:\n{out}");
        }
        assert!(halves(&out, service), "{service}:\n{out}");
        assert!(out.contains(others), "{others}:\n{out}");
        let preview = format!("green.{service}.local at weight 0");
        assert!(out.contains(&preview), "{preview}:\n{out}");
    }
    let chain = "blue.serviceb.local at 0%: \"Hello world!\"";
    assert!(out.contains(chain), "the whole new chain by its preview name:\n{out}");
    for counts in
        [" 25%: 26 all new, 77 all old of 103, 0 mixed", "100%: 42 all new, 0 all old of 42, 0 mixed"]
    {
        assert!(out.contains(&format!("both {counts}, 0 failed; exact")), "{counts}:\n{out}");
    }
    let answers = ["Hello world!", "Welcome to the world!", "Welcome to the teal world!"];
    let places: Vec<_> = answers.iter().map(|answer| out.find(answer)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{out}");
    assert_eq!(out.lines().last(), Some("everything exact, no connection failed"), "{out}");
    assert!(!out.contains('\x1b'), "escape sequences where there is no terminal:\n{out}");
    assert!(is_empty(folder.path()), "the temporary folder is left behind");
}

#[test]
fn two_demos_at_once_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let demos = [start(&["--fast"], folder.path()), start(&["--fast"], folder.path())];
    let ends = demos.map(Demo::finish);
    let dns = |out: &str| out.lines().find(|line| line.starts_with("  dig ")).unwrap().to_owned();
    for (code, out, log) in &ends {
        assert_eq!((*code, log.as_str()), (Some(0), ""), "{out}");
        assert!(out.ends_with("everything exact, no connection failed\n"), "{out}");
    }
    assert_ne!(dns(&ends[0].1), dns(&ends[1].1));
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(&[], folder.path());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("  dig ")));
    let pid = rustix::process::Pid::from_child(&demo.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.end().code(), Some(130));
    assert!(is_empty(folder.path()), "the temporary folder is left behind");
}

#[test]
fn a_reader_that_leaves_ends_the_demo_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(&["--fast"], folder.path());
    drop(demo.0.stdout.take());
    assert_eq!(demo.end().code(), Some(1));
    let mut log = String::new();
    demo.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(log, "");
    assert!(is_empty(folder.path()), "the temporary folder is left behind");
}
