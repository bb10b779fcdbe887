//! Every fixture below `tests/config` against the whole report it must give, and `conf/teal.toml`
//! against the built-in defaults.
//!
//! A fixture is `NAME.toml`, or a folder `NAME` with `teal.toml` and `conf.d`; its report is
//! `NAME.expected`. `TEAL_BLESS=1 cargo test --test config` writes the reports anew: read them before
//! committing.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not there")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use teal::config::{self, Diagnostic, ReportStyle, Severity, SourceFile, Sources};
use teal::model::{LaneMode, ServiceName};

const BROKEN_MIN: usize = 45;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The fixtures of a folder by name, without those that are only reports.
fn fixtures(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let fixtures = entries.filter(|path| path.is_dir() || path.extension().is_some_and(|ext| ext == "toml"));
    fixtures.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn source(path: &Path, shown: &str) -> SourceFile {
    SourceFile { path: shown.into(), text: fs::read_to_string(path).unwrap() }
}

fn sources(folder: &Path, name: &str) -> Sources {
    let single = folder.join(format!("{name}.toml"));
    if single.is_file() {
        return Sources { files: vec![source(&single, &format!("{name}.toml"))] };
    }
    let dir = folder.join(name);
    let mut files = vec![source(&dir.join("teal.toml"), "teal.toml")];
    let mut parts: Vec<_> =
        fs::read_dir(dir.join("conf.d")).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    for part in parts {
        let shown = format!("conf.d/{}", part.file_name().unwrap().to_str().unwrap());
        files.push(source(&part, &shown));
    }
    Sources { files }
}

/// Everything that is found, and whether it was taken.
fn findings(sources: &Sources) -> (Vec<Diagnostic>, &'static str) {
    match config::load(sources) {
        Ok(loaded) => (loaded.warnings, "taken"),
        Err(rejected) => (rejected.diagnostics, "refused"),
    }
}

/// What is wrong with a release file.
fn release_findings(sources: &Sources) -> (Vec<Diagnostic>, &'static str) {
    let SourceFile { path, text } = &sources.files[0];
    match config::release::read(&path.display().to_string(), text) {
        Ok(_) => (Vec::new(), "taken"),
        Err(rejected) => (rejected.diagnostics, "refused"),
    }
}

type Findings = fn(&Sources) -> (Vec<Diagnostic>, &'static str);

/// Compares all reports of a folder, and tells all differences at once.
fn check_folder(name: &str, verdict: &str, findings: Findings) -> usize {
    let folder = folder(name);
    let names = fixtures(&folder);
    let mut wrong = Vec::new();
    for name in &names {
        let sources = sources(&folder, name);
        let (found, given) = findings(&sources);
        assert_eq!(given, verdict, "{name}");
        assert!(!found.is_empty(), "{name} says nothing");
        let report = config::render(&found, &sources, ReportStyle::Plain);
        let expected_path = folder.join(format!("{name}.expected"));
        if std::env::var_os("TEAL_BLESS").is_some() {
            fs::write(&expected_path, &report).unwrap();
        }
        match fs::read_to_string(&expected_path) {
            Ok(expected) if expected == report => {}
            Ok(expected) => wrong.push(format!("== {name}: expected\n{expected}== but got\n{report}")),
            Err(_) => wrong.push(format!("== {name} has no report; it gives\n{report}")),
        }
    }
    let reports = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    for report in reports.filter(|path| path.extension().is_some_and(|ext| ext == "expected")) {
        let name = report.file_stem().unwrap().to_str().unwrap();
        assert!(names.contains(name), "{name}.expected has no fixture");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    names.len()
}

#[test]
fn promise_4_each_broken_file_gives_its_whole_report() {
    let count = check_folder("broken", "refused", findings);
    assert!(count >= BROKEN_MIN, "only {count} broken fixtures");
}

#[test]
fn each_broken_release_file_gives_its_whole_report() {
    assert!(check_folder("release", "refused", release_findings) >= 8);
}

#[test]
fn each_doubtful_file_is_taken_with_its_warnings() {
    assert!(check_folder("warned", "taken", findings) >= 3);
}

#[test]
fn promise_4_a_file_with_many_errors_reports_each_of_them() {
    let sources = sources(&folder("broken"), "many_errors");
    let (found, _) = findings(&sources);
    let errors = found.iter().filter(|finding| finding.severity == Severity::Error);
    let lines: BTreeSet<_> = errors.map(|finding| sources.position(finding.primary.place).line).collect();
    assert!(lines.len() >= 8, "errors on lines {lines:?} only");
}

#[test]
fn the_example_file_is_valid_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/teal.toml");
    let example = Sources { files: vec![source(&path, "conf/teal.toml")] };
    let loaded = config::load(&example).unwrap_or_else(|rejected| {
        panic!("{}", config::render(&rejected.diagnostics, &example, ReportStyle::Plain))
    });
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.catalog.settings, config::default_settings());
    for service in loaded.catalog.services.values() {
        assert_eq!(service.policy, config::default_policy(), "{}", service.name);
        assert!(!service.restrict_callers);
    }
    assert!(loaded.catalog.apps.values().all(|app| app.lanes == LaneMode::default()));
    let names: Vec<_> = loaded.catalog.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["servicea", "serviceb"]);
}

#[test]
fn an_empty_file_means_the_defaults() {
    let loaded = config::load(&Sources::single("teal.toml", "")).unwrap();
    assert_eq!(loaded.catalog.settings, config::default_settings());
    assert!(loaded.catalog.services.is_empty() && loaded.catalog.apps.is_empty());
}
