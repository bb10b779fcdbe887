//! Gates and hooks that are programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use teal::model::release::GateCheck;
use teal::release::outside::process::{Ended, run};
use teal::release::outside::{GateOutcome, Outside, run_hook};
use tempfile::TempDir;

use crate::{asked, gate, within};

const LONG: Duration = Duration::from_secs(50);

/// All programs, written before any is run: while one is open for writing it cannot be.
static GATES: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let programs = [
        ("passes", "exit 0"),
        ("fails", "echo looking; echo 'green answers 500' >&2; echo; exit 3"),
        ("dies", "kill -9 $$"),
        ("environment", "/usr/bin/env; exit 1"),
        ("one", "printf '%s' \"$TEAL_PREVIEW_SERVICEB/$TEAL_PREVIEW_SERVICE_A/$TEAL_PERCENT\"; exit 1"),
        ("input", "read line && exit 0; pwd; exit 1"),
        ("floods", "yes 'a line of many' | head -c 20000000; echo; echo the end; exit 1"),
        ("escapes", "printf 'red \\033[31malert\\a\\n'; exit 1"),
        ("hangs", "echo waiting; sleep 1000 & echo $! > \"$0.child\"; wait"),
        ("stubborn", "trap '' TERM; echo $$ > \"$0.child\"; while :; do sleep 1000; done"),
        ("leaves", "sleep 1000 & echo $! > \"$0.child\"; exit 0"),
    ];
    for (name, script) in programs {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = folder.path().join("no-format");
    fs::write(&path, "neither script nor binary").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
});

fn folder() -> PathBuf {
    GATES.path().canonicalize().unwrap()
}

async fn outcome(program: &str, limit: Duration) -> GateOutcome {
    let gate = gate(GateCheck::Exec { program: program.to_owned() }, limit);
    within(Outside::default().run_gate(&gate, &asked(), &folder())).await
}

async fn failure(program: &str) -> String {
    match outcome(program, LONG).await {
        GateOutcome::Failed(words) => words,
        other => panic!("{program}: {other:?}"),
    }
}

/// Waits until the process that a program noted in a file is gone.
async fn gone(program: &str) {
    let note = folder().join(format!("{program}.child"));
    let pid: i32 = fs::read_to_string(note).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let state = || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    within(async {
        // What nobody has waited for yet does nothing any more.
        while !(state().is_empty() || state().contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn exit_code_0_passes_and_others_fail_with_the_last_line() {
    assert_eq!(outcome("passes", LONG).await, GateOutcome::Passed);
    assert_eq!(failure("fails").await, "\"fails\" ended with exit code 3: green answers 500");
    assert_eq!(failure("dies").await, "\"dies\" was killed by signal 9");
}

#[tokio::test]
async fn the_environment_is_the_release_and_a_path_and_nothing_else() {
    let words = failure("environment").await;
    assert!(!words.is_empty());
    let path = folder().join("environment");
    let ran = within(run(&path, &asked().environment(), LONG)).await.unwrap();
    assert_eq!(ran.ended, Ended::Exited(1));
    // What a shell adds by itself is no part of what it was given.
    let names: Vec<_> = asked().environment().into_iter().map(|(name, _)| name).collect();
    let expected = [
        "TEAL_RELEASE",
        "TEAL_APP",
        "TEAL_VERSION",
        "TEAL_STEP",
        "TEAL_PERCENT",
        "TEAL_MEMBERS",
        "TEAL_FROM_SERVICE_A",
        "TEAL_TO_SERVICE_A",
        "TEAL_PREVIEW_SERVICE_A",
        "TEAL_FROM_SERVICEB",
        "TEAL_TO_SERVICEB",
        "TEAL_PREVIEW_SERVICEB",
    ];
    assert_eq!(names, expected);
    let one = failure("one").await;
    assert!(one.ends_with(": green.serviceb.local/green.service-a.local/10"), "{one}");
}

#[tokio::test]
async fn there_is_no_input_and_the_folder_is_the_root() {
    assert_eq!(failure("input").await, "\"input\" ended with exit code 1: /");
}

#[tokio::test]
async fn of_a_flood_of_output_the_end_is_kept() {
    assert_eq!(failure("floods").await, "\"floods\" ended with exit code 1: the end");
}

#[tokio::test]
async fn words_are_no_commands_for_a_terminal() {
    assert_eq!(failure("escapes").await, "\"escapes\" ended with exit code 1: red  [31malert");
}

#[tokio::test]
async fn at_the_timeout_the_whole_group_is_ended() {
    let words = match outcome("hangs", Duration::from_millis(300)).await {
        GateOutcome::Failed(words) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(words, "\"hangs\" did not end within 300ms and was killed: waiting");
    gone("hangs").await;
}

#[tokio::test]
async fn who_ignores_to_be_ended_is_killed() {
    let started = Instant::now();
    let outcome = outcome("stubborn", Duration::from_millis(300)).await;
    assert!(matches!(outcome, GateOutcome::Failed(_)), "{outcome:?}");
    assert!(started.elapsed() >= Duration::from_secs(2), "it got no time to end by itself");
    gone("stubborn").await;
}

#[tokio::test]
async fn what_a_program_leaves_running_ends_with_it() {
    assert_eq!(outcome("leaves", LONG).await, GateOutcome::Passed);
    gone("leaves").await;
}

#[tokio::test]
async fn nobody_waiting_any_more_ends_the_group_too() {
    let path = folder().join("hangs-alone");
    fs::copy(folder().join("hangs"), &path).unwrap();
    let note = folder().join("hangs-alone.child");
    let environment = asked().environment();
    let running = run(&path, &environment, LONG);
    within(async {
        tokio::select! {
            ran = running => panic!("{ran:?}"),
            () = async {
                while fs::read_to_string(&note).unwrap_or_default().trim().is_empty() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    })
    .await;
    gone("hangs-alone").await;
}

#[tokio::test]
async fn what_cannot_be_run_is_inconclusive() {
    for (program, why) in
        [("no-format", "Exec format error"), ("absent", "No such file"), ("../passes", "without a path")]
    {
        match outcome(program, LONG).await {
            GateOutcome::Inconclusive(words) => assert!(words.contains(why), "{words}"),
            other => panic!("{program}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn hooks_follow_the_same_rules() {
    assert_eq!(within(run_hook(&folder(), "passes", &asked())).await, Ok(()));
    let error = within(run_hook(&folder(), "fails", &asked())).await.unwrap_err();
    assert_eq!(error, "\"fails\" ended with exit code 3: green answers 500");
    assert!(within(run_hook(&folder(), "/bin/true", &asked())).await.is_err());
}
