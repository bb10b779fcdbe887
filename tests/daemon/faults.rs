//! Promise 16: what runs keeps running, whatever around it is dead.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::clients::{Held, ask, backend, connect};
use crate::process::{Place, service, until};

#[test]
fn promise_16_without_its_state_directory_it_goes_on_and_says_so_until_it_is_back() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    let a = |blue_weight| service("a", &[("blue", blue_weight, blue), ("green", 1 - blue_weight, green)]);
    place.write("", &[a(1)]);
    let teal = place.start();
    let mut held = Held::new(teal.vip("a"), 4);
    fs::remove_dir_all(place.state()).unwrap();
    place.write("", &[a(0), service("b", &[("blue", 1, blue)])]);
    until("it is applied", || teal.status().services.len() == 2);
    assert_eq!(ask(teal.vip("a")), "green");
    assert_eq!(ask(teal.vip("b")), "blue");
    held.assert_alive();
    for subject in ["state", "state: last good configuration"] {
        let problem = teal.problem(subject).unwrap();
        assert!(problem.contains("cannot write") && problem.contains("a restart may forget"), "{problem}");
    }
    // Once it can be written, what was missed is written without anybody's help.
    fs::create_dir(place.state()).unwrap();
    until("the problems are over", || teal.status().problems.is_empty());
    let kept = fs::read_to_string(place.state().join("vips.json")).unwrap();
    assert!(kept.contains(&teal.service("b").vip.to_string()), "{kept}");
    let kept = fs::read_to_string(place.state().join("last-good.json")).unwrap();
    assert!(kept.contains("[services.b]"), "{kept}");
}

#[test]
fn promise_16_without_its_control_socket_it_reloads_by_file() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    place.write("", &[service("a", &[("blue", 1, blue), ("green", 0, green)])]);
    let teal = place.start();
    let vip = teal.vip("a");
    let mut held = Held::new(vip, 4);
    fs::remove_file(place.socket()).unwrap();
    assert_eq!(place.reload(&[]).0, Some(3));
    place.write("", &[service("a", &[("blue", 0, blue), ("green", 1, green)])]);
    until("it is applied", || teal.log_has("configuration applied"));
    assert_eq!(ask(vip), "green");
    held.assert_alive();
    drop(held);
    teal.stop();
}

#[test]
fn promise_16_a_log_that_nobody_reads_any_more_stops_nothing() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    place.write("", &[service("a", &[("blue", 1, blue), ("green", 0, green)])]);
    let (reader, writer) = std::io::pipe().unwrap();
    let teal = place.spawn_unread(place.command(), writer);
    until("teal is ready", || place.teal(&["status"]).status.success());
    drop(reader);
    place.write("", &[service("a", &[("blue", 0, blue), ("green", 1, green)])]);
    place.reload_ok();
    assert_eq!(ask(teal.vip("a")), "green");
    place.rename("broken");
    assert_eq!(place.reload(&[]).0, Some(1));
    assert_eq!(ask(teal.vip("a")), "green");
    teal.stop();
}

#[test]
fn promise_16_a_metrics_listener_without_room_does_not_touch_the_rest() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &[service("a", &[("blue", 1, blue)])]);
    let teal = place.start();
    let (vip, metrics) = (teal.vip("a"), teal.status().metrics.unwrap());
    let mut open: Vec<_> = (0..64).map(|_| connect(metrics)).collect();
    // One more is closed at once instead of waiting.
    until("there is no room", || connect(metrics).read(&mut [0]).is_ok_and(|bytes| bytes == 0));
    assert_eq!(ask(vip), "blue");
    assert_eq!(teal.resolve("a.local."), [teal.service("a").vip]);
    open.clear();
    until("there is room again", || {
        let mut stream = connect(metrics);
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.ends_with("alive\n")
    });
}

/// The daemon with a state directory of 64 KiB, in a mount namespace of its own.
pub fn with_small_disk(place: &Place) -> Command {
    fs::create_dir(place.state()).unwrap();
    let command = place.command();
    let mut unshare = Command::new("unshare");
    let mount =
        format!("mount -t tmpfs -o size=64k none '{}' && exec \"$0\" \"$@\"", place.state().display());
    unshare.args(["--map-root-user", "--mount", "sh", "-c", &mount]);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// Whether this user may make mount namespaces.
pub fn can_mount(place: &Place) -> bool {
    let probe = place.path("probe");
    fs::create_dir(&probe).unwrap();
    let mount = format!("mount -t tmpfs none '{}'", probe.display());
    let output = Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &mount]).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn promise_16_a_full_disk_stops_nothing_and_is_shown() {
    let (place, blue, green) = (Place::new(), backend("blue"), backend("green"));
    if !can_mount(&place) {
        eprintln!("not tested: this user cannot mount a small file system (unshare --map-root-user --mount)");
        return;
    }
    place.write("", &[service("a", &[("blue", 1, blue), ("green", 0, green)])]);
    let teal = place.start_with(with_small_disk(&place));
    let mut held = Held::new(teal.vip("a"), 4);
    // Its own view of the folder.
    let inside = PathBuf::from(format!("/proc/{}/root", teal.child.id()));
    let filler = inside.join(place.state().strip_prefix("/").unwrap()).join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    place.write(
        "",
        &[service("a", &[("blue", 0, blue), ("green", 1, green)]), service("b", &[("blue", 1, blue)])],
    );
    place.reload_ok();
    assert_eq!(ask(teal.vip("a")), "green");
    assert_eq!(ask(teal.vip("b")), "blue");
    held.assert_alive();
    let problem = teal.problem("state").unwrap();
    assert!(problem.contains("vips.json") && problem.contains("free some space there"), "{problem}");
    fs::remove_file(filler).unwrap();
    until("the problems are over", || teal.status().problems.is_empty());
}
