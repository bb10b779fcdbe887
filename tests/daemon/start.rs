//! Starting: what runs all the same, and what is refused with words that help.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::clients::{ask, backend};
use crate::process::{Place, said, service, until};

/// Somebody without rights.
const NOBODY: u32 = 65_534;

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part} is missing in:\n{message}");
    }
}

fn good(place: &Place) -> String {
    place.text("", &[service("a", &[("blue", 1, backend("blue"))])])
}

/// A place that is no secret from [`NOBODY`], in which it can write.
fn open_place() -> Place {
    let place = Place::new();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    place
}

/// The same command without root's rights.
fn unprivileged(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn a_broken_file_without_a_last_good_one_is_reported_whole() {
    let place = Place::new();
    place.rename(
        &good(&place).replace("weight = 1\n", "weight = 5000\ncolour = 1\n").replace("[vip]", "[vop]"),
    );
    let message = place.refused(place.command());
    assert_says(&message, &["vop", "5000", "colour", "teal.toml:", "no last good configuration is kept in"]);
    assert_says(&message, &[&place.state().display().to_string()]);
}

#[test]
fn promise_16_a_broken_file_at_boot_runs_the_last_good_one_until_it_is_mended() {
    let place = Place::new();
    place.rename(&good(&place));
    let teal = place.start();
    assert_eq!(teal.metric("teal_config_degraded"), Some(0));
    assert_eq!(teal.metric("teal_config_last_reload_successful"), Some(1));
    teal.stop();
    place.rename(&good(&place).replace("weight = 1\n", "weight = 5000\n"));
    let teal = place.start();
    assert_eq!(ask(teal.vip("a")), "blue");
    assert!(teal.status().configuration.degraded);
    assert_says(&teal.problem("configuration").unwrap(), &["the last good configuration runs", "5000"]);
    assert_eq!(teal.metric("teal_config_degraded"), Some(1));
    assert_eq!(teal.metric("teal_config_last_reload_successful"), Some(0));
    assert!(teal.log_has("the last good configuration runs"));
    assert_says(&said(&place.teal(&["status"])), &["DEGRADED", "problem: configuration:"]);
    // Still broken: still degraded.
    assert_eq!(place.reload(&[]).0, Some(1));
    assert!(teal.status().configuration.degraded);
    place.rename(&good(&place));
    until("it is mended", || !teal.status().configuration.degraded);
    until("no problem is left", || teal.status().problems.is_empty());
    assert_eq!(teal.metric("teal_config_degraded"), Some(0));
}

#[test]
fn the_last_good_configuration_is_that_of_the_same_path() {
    let place = Place::new();
    place.rename(&good(&place));
    place.start().stop();
    // Another file, also where both are named in the same way from two folders.
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("teal.toml"), "broken").unwrap();
    let named = |folder: &std::path::Path| {
        let mut command = place.command_for(std::path::Path::new("teal.toml"));
        command.current_dir(folder);
        command
    };
    place.start_with(named(place.folder.path())).stop();
    assert_says(&place.refused(named(&other)), &["no last good configuration is kept"]);
    fs::remove_file(place.config()).unwrap();
    let teal = place.start_with(named(place.folder.path()));
    assert_says(&teal.problem("configuration").unwrap(), &["does not exist"]);
}

#[test]
fn damaged_state_does_not_hide_what_is_wrong_with_the_configuration() {
    let place = Place::new();
    place.rename("broken");
    fs::create_dir(place.state()).unwrap();
    fs::write(place.state().join("last-good.json"), "{").unwrap();
    let message = place.refused(place.command());
    assert_says(&message, &["teal.toml:1", "last-good.json is damaged"]);
}

#[test]
fn a_second_daemon_is_kept_out() {
    let place = Place::new();
    place.rename(&good(&place));
    let teal = place.start();
    let message = place.refused(place.command());
    assert_says(&message, &["is in use by another teal", "--state-dir"]);
    let mut command = place.command();
    command.arg("--state-dir").arg(place.path("other"));
    let mut elsewhere = Command::new(command.get_program());
    elsewhere.args(["run", "--config"]).arg(place.config()).arg("--socket").arg(place.socket());
    elsewhere.arg("--state-dir").arg(place.path("other"));
    let message = place.refused(elsewhere);
    assert_says(&message, &["another teal answers at", "admin.sock", "--socket"]);
    assert_eq!(ask(teal.vip("a")), "blue");
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let place = Place::new();
    place.rename(&good(&place));
    let mut teal = place.start();
    teal.child.kill().unwrap();
    teal.wait();
    assert!(place.socket().exists());
    let teal = place.start();
    assert_eq!(ask(teal.vip("a")), "blue");
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_the_reason() {
    let place = Place::new();
    let message = place.refused(place.command());
    assert_says(&message, &["teal.toml does not exist", "--config"]);
    let message = place.refused(place.command_for(place.folder.path()));
    assert_says(&message, &["a configuration folder needs the file teal.toml"]);
    fs::write(place.config(), b"[dns]\n# \xff\n").unwrap();
    assert_says(&place.refused(place.command()), &["is not UTF-8", "offset 8"]);
}

#[test]
fn a_configuration_that_is_not_for_this_user_is_named_with_its_mode() {
    let place = open_place();
    place.rename(&good(&place));
    fs::set_permissions(place.config(), fs::Permissions::from_mode(0o000)).unwrap();
    let message = place.refused(unprivileged(place.command()));
    assert_says(&message, &["permission denied reading", "teal.toml", "teal runs as"]);
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let place = open_place();
    place.rename(&good(&place));
    fs::create_dir(place.state()).unwrap();
    fs::set_permissions(place.state(), fs::Permissions::from_mode(0o555)).unwrap();
    let message = place.refused(unprivileged(place.command()));
    assert_says(&message, &["cannot use the state directory", "make it writable", "--state-dir"]);

    let locked = place.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command.args(["run", "--config"]).arg(place.config()).arg("--state-dir").arg(place.path("state2"));
    command.arg("--socket").arg(locked.join("admin.sock"));
    let message = place.refused(unprivileged(command));
    assert_says(&message, &["cannot make the control socket", "make its folder writable", "--socket"]);
}

/// The daemon with at most so many descriptors.
fn limited(place: &Place, descriptors: u32) -> Command {
    let command = place.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn more_connections_than_descriptors_allow_are_refused() {
    let place = Place::new();
    let services = [service("a", &[("blue", 1, backend("blue"))])];
    place.write("[limits]\nmax_connections = 5000\n", &services);
    let message = place.refused(limited(&place, 512));
    assert_says(
        &message,
        &["max_connections = 5000 needs", "the limit is 512", "LimitNOFILE=", "ask for at most"],
    );
    place.write("[limits]\nmax_connections = 50\n", &services);
    let teal = place.start_with(limited(&place, 512));
    assert_eq!(teal.status().connections.max, 50);
    // The same at a reload: nothing changes.
    place.write("[limits]\nmax_connections = 5000\n", &services);
    let (code, message) = place.reload(&[]);
    assert_eq!(code, Some(1), "{message}");
    assert_says(&message, &["max_connections = 5000 needs", "nothing was changed"]);
    assert_eq!(teal.status().connections.max, 50);
    assert!(teal.status().problems.is_empty());
    place.write("[limits]\nmax_connections = 60\n", &services);
    place.reload_ok();
    assert_eq!(teal.status().connections.max, 60);
}

#[test]
fn a_port_without_the_right_to_it_says_what_to_grant() {
    if fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .is_ok_and(|port| port.trim() == "0")
    {
        return; // Here everybody may have every port.
    }
    let place = open_place();
    place.rename(&good(&place).replace("listen = 7080", "listen = 80"));
    let teal = place.start_with(unprivileged(place.command()));
    let problem = teal.problem(&format!("listen {}:80", teal.service("a").vip)).unwrap();
    assert_says(&problem, &["Permission denied", "CAP_NET_BIND_SERVICE"]);
}
