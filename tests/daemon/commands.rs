//! The metrics listener, and the other commands of the binary.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::clients::{ask, backend, connect, http};
use crate::process::{DEADLINE, Place, Teal, said, service, service_with};
use teal::admin::report::{ReloadReport, ReloadResult, StatusReport};

fn start(place: &Place) -> Teal {
    let (blue, green) = (backend("blue"), backend("green"));
    place.write("", &[service("a", &[("blue", 3, blue), ("green", 1, green)])]);
    place.start()
}

#[test]
fn the_metrics_listener_serves_three_paths_and_nothing_else() {
    let place = Place::new();
    let teal = start(&place);
    assert_eq!(ask(teal.vip("a")).len() / 4, 1);
    let (head, text) = teal.get("/metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(text.contains("\nteal_weight_zero_violations_total 0\n"), "{text}");
    for family in
        ["teal_build_info{", "teal_color_weight{service=\"a\",color=\"blue\"} 3", "teal_config_info{"]
    {
        assert!(text.contains(family), "{family} is missing in:\n{text}");
    }
    // Each family has one help and one type line.
    for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
        assert_eq!(text.matches(&format!("{line}\n")).count(), 1, "{line}");
    }
    assert_eq!(teal.get("/healthz").1, "alive\n");
    let (head, body) = teal.get("/readyz");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "ready\n");
    for path in ["/", "/v1/status", "/v1/reload", "/metrics/x", "/../etc/passwd"] {
        assert!(teal.get(path).0.starts_with("HTTP/1.1 404"), "{path}");
    }
    let address = teal.status().metrics.unwrap();
    assert!(http(connect(address), "POST /metrics").0.starts_with("HTTP/1.1 405"));
}

#[test]
fn promise_15_clients_that_say_nothing_do_not_block_others() {
    let place = Place::new();
    let teal = start(&place);
    let address = teal.status().metrics.unwrap();
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: t").unwrap();
            stream
        })
        .collect();
    assert!(teal.metrics().contains("teal_build_info"));
    drop(slow);
}

#[test]
fn promise_15_a_request_s_body_is_read_up_to_its_bound_only() {
    let place = Place::new();
    let teal = start(&place);
    for (path, most) in [("/v1/services/a/weights", 64 << 10), ("/v1/releases/plan", 1 << 20)] {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            1 << 30
        );
        stream.write_all(head.as_bytes()).unwrap();
        // More than the bound, and far from all of it; teal may close before it has come.
        let _ = stream.write_all(&vec![b' '; 2 * most]);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[..10], b"HTTP/1.1 4", "{path}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(ask(teal.vip("a")).len() / 4, 1);
}

#[test]
fn status_finds_a_service_by_its_name_with_or_without_the_zone() {
    let place = Place::new();
    let teal = start(&place);
    let vip = teal.service("a").vip.to_string();
    for name in ["a", "a.local", "A.LOCAL."] {
        let output = place.teal(&["status", name]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains(&vip) && text.contains("75.0%") && text.contains("127.0.0.1:"), "{text}");
    }
    let socket = place.socket().display().to_string();
    let output =
        Command::new(env!("CARGO_BIN_EXE_teal")).args(["status", "--socket", &socket]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = place.teal(&["status", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no service is called \"nobody\" on this host"), "{}", said(&output));
    let output = place.teal(&["status", "--json"]);
    let report: StatusReport = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report.services[0].name.as_str(), report.phase.as_str()), ("a", "ready"));
    assert_eq!(report.pid, teal.child.id());
    let output = place.teal(&["reload", "--json"]);
    let report: ReloadReport = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.result, ReloadResult::Unchanged);
}

#[test]
fn status_says_when_affinity_makes_a_split_inexact() {
    let place = Place::new();
    let backend = SocketAddr::from(([127, 0, 0, 1], 9));
    let service = |keys| service_with("a", keys, &[("blue", 1, backend), ("green", 1, backend)]);
    place.write("", &[service("affinity = \"source_ip\"")]);
    let teal = place.start();
    let note = "a: affinity source_ip, the split is by client and not exact";
    let shown = || String::from_utf8(place.teal(&["status"]).stdout).unwrap();
    assert_eq!(teal.service("a").affinity.as_deref(), Some("source_ip"));
    assert!(shown().contains(note), "{}", shown());
    place.write("", &[service("")]);
    place.reload_ok();
    assert_eq!(teal.service("a").affinity, None);
    assert!(!shown().contains("affinity"), "{}", shown());
}

#[test]
fn a_reader_that_has_read_enough_is_no_panic() {
    let place = Place::new();
    let _teal = start(&place);
    let config = place.config().display().to_string();
    for arguments in [&["status"][..], &["status", "--json"], &["reload"], &["check", &config]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
        command.args(arguments).env("TEAL_SOCKET", place.socket()).stdout(writer);
        let output =
            command.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(said(&output), "", "{arguments:?}");
    }
}

#[test]
fn without_a_daemon_commands_exit_with_3() {
    let place = Place::new();
    for command in [&["status"][..], &["reload"]] {
        let output = place.teal(command);
        assert_eq!(output.status.code(), Some(3));
        let said = said(&output);
        assert!(said.contains("no teal answers at") && said.contains("--socket"), "{said}");
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    let place = Place::new();
    for command in [&["stauts"][..], &["status", "--nonsense"], &["status", "-w", "--json"], &[]] {
        assert_eq!(place.teal(command).status.code(), Some(2), "{command:?}");
    }
    assert_eq!(place.teal(&["--version"]).status.code(), Some(0));
    assert_eq!(place.teal(&["--help"]).status.code(), Some(0));
}

#[test]
fn check_knows_files_from_folders_and_counts_descriptors() {
    let place = Place::new();
    let blue = backend("blue");
    place.write("", &[service("a", &[("blue", 1, blue), ("green", 0, blue)])]);
    let check = |path: &std::path::Path| place.teal(&["check", path.to_str().unwrap()]);
    let parts = place.path("conf.d");
    fs::create_dir(&parts).unwrap();
    fs::write(parts.join("b.toml"), service("b", &[("blue", 1, blue)])).unwrap();
    // The file alone is one service: its VIP and two previews, and TCP and UDP for DNS, UDP once for each core.
    let output = check(&place.config());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("valid: 1 services, 2 colors"), "{text}");
    let of_dns = 1 + std::thread::available_parallelism().unwrap().get();
    let line = format!("listening takes {} descriptors: 3 for services, {of_dns} for DNS", 3 + of_dns);
    assert!(text.contains(&line), "{text}");
    // The folder is the file and its parts.
    let text = said(&check(place.folder.path()));
    assert!(text.contains("valid: 2 services, 3 colors"), "{text}");
    fs::write(parts.join("c.toml"), "[dns]\nttl = \"1s\"\n").unwrap();
    let output = check(place.folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("c.toml:1"), "{}", said(&output));
}
