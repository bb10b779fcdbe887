//! Promises 3 and 4: what changes a running configuration, what does not, and who is told.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::clients::{Held, ask, backend, is_refused};
use crate::process::{PORT, Place, Teal, service, service_with, until};

/// How long a change of a file may take to have its effect; 100 ms is promised, debug builds on busy
/// machines get more.
const EFFECT: Duration = Duration::from_secs(1);

struct World {
    place: Place,
    blue: std::net::SocketAddr,
    green: std::net::SocketAddr,
}

impl World {
    fn new() -> Self {
        Self { place: Place::new(), blue: backend("blue"), green: backend("green") }
    }

    fn services(&self, blue: u32, green: u32) -> Vec<String> {
        vec![service("a", &[("blue", blue, self.blue), ("green", green, self.green)])]
    }

    fn text(&self, blue: u32, green: u32) -> String {
        self.place.text("", &self.services(blue, green))
    }

    fn start(&self) -> Teal {
        self.place.write("", &self.services(100, 0));
        self.place.start()
    }
}

fn until_weight(teal: &Teal, green: u16) {
    until("the weights are in effect", || teal.weight("a", "green") == green);
}

fn applied(teal: &Teal) -> u64 {
    teal.metric("teal_config_reloads_total{result=\"applied\"}").unwrap_or(0)
}

#[test]
fn a_name_leads_to_its_vip_and_that_to_a_backend() {
    let world = World::new();
    let teal = world.start();
    let vip = teal.vip("a");
    assert_eq!(teal.resolve("a.local."), [vip.ip()]);
    assert_eq!(ask(vip), "blue");
    let preview = teal.resolve("green.a.local.");
    assert_eq!(ask((preview[0], PORT).into()), "green");
    assert!(teal.resolve("nobody.local.").is_empty());
}

#[test]
fn promise_4_a_rename_over_the_file_takes_effect_at_once() {
    let world = World::new();
    let teal = world.start();
    let text = world.text(0, 100);
    let begin = Instant::now();
    world.place.rename(&text);
    until_weight(&teal, 100);
    let took = begin.elapsed();
    println!("rename to effect: {took:?}");
    assert!(took < EFFECT, "{took:?}");
    assert_eq!(ask(teal.vip("a")), "green");
    until("the log says so", || teal.log_has("configuration applied"));
}

#[test]
fn a_swapped_symlink_is_a_change() {
    let world = World::new();
    let place = &world.place;
    for (folder, green) in [("one", 0), ("two", 100)] {
        fs::create_dir(place.path(folder)).unwrap();
        fs::write(place.path(folder).join("teal.toml"), world.text(100 - green, green)).unwrap();
    }
    symlink("one", place.path("current")).unwrap();
    symlink("current/teal.toml", place.config()).unwrap();
    let teal = place.start();
    assert_eq!(teal.weight("a", "green"), 0);
    symlink("two", place.path("fresh")).unwrap();
    fs::rename(place.path("fresh"), place.path("current")).unwrap();
    until_weight(&teal, 100);
}

#[test]
fn promise_4_a_half_written_file_is_not_read_before_it_is_closed() {
    let world = World::new();
    let teal = world.start();
    let text = world.text(0, 100);
    let (half, rest) = text.split_at(text.len() / 2);
    let mut file = OpenOptions::new().write(true).truncate(true).open(world.place.config()).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    file.sync_all().unwrap();
    // Whoever asks by hand hears that somebody writes, and nothing changes.
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is being written"), "{said}");
    assert_eq!(teal.weight("a", "green"), 0);
    assert_eq!(ask(teal.vip("a")), "blue");
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    until_weight(&teal, 100);
    assert!(!teal.log_has("error:"), "half a file was parsed");
}

#[test]
fn sighup_reloads_what_is_not_watched() {
    let world = World::new();
    let unwatched = "[reload]\nwatch = false\n";
    world.place.write(unwatched, &world.services(100, 0));
    let teal = world.place.start();
    world.place.write(unwatched, &world.services(0, 100));
    teal.signal(Signal::HUP);
    until_weight(&teal, 100);
    world.place.write(unwatched, &world.services(50, 50));
    let said = world.place.reload_ok();
    assert!(said.contains("applied on this host") && said.contains("a: blue 0 -> 50"), "{said}");
    assert_eq!(teal.weight("a", "green"), 50);
    assert!(world.place.reload_ok().contains("unchanged on this host"));
}

#[test]
fn promise_4_a_folder_takes_effect_as_a_whole_once_it_has_settled() {
    let world = World::new();
    let folder = world.place.path("folder");
    let parts = folder.join("conf.d");
    fs::create_dir_all(&parts).unwrap();
    let head = world.place.text("[reload]\nsettle = \"50ms\"\n", &[]);
    fs::write(folder.join("teal.toml"), head).unwrap();
    fs::write(parts.join("a.toml"), &world.services(100, 0)[0]).unwrap();
    let teal = world.place.start_with(world.place.command_for(&folder));
    assert_eq!(ask(teal.vip("a")), "blue");
    fs::write(parts.join("b.toml"), service("b", &[("blue", 1, world.blue)])).unwrap();
    until("b is there", || teal.status().services.len() == 2);
    assert_eq!(ask(teal.vip("b")), "blue");
    // A name defined twice names both places and changes nothing.
    fs::write(parts.join("c.toml"), service("b", &[("blue", 1, world.green)])).unwrap();
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("b.toml") && said.contains("c.toml"), "{said}");
    assert_eq!(ask(teal.vip("b")), "blue");
    fs::remove_file(parts.join("c.toml")).unwrap();
    fs::remove_file(parts.join("b.toml")).unwrap();
    until("b is gone", || teal.status().services.len() == 1);
}

#[test]
fn promise_4_a_broken_file_changes_nothing_and_everybody_is_told() {
    let world = World::new();
    let teal = world.start();
    let vip = teal.vip("a");
    let mut held = Held::new(vip, 4);
    world.place.rename(&world.text(0, 100).replace("weight = 100", "wieght = 5000\nweight = -1"));
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    for part in ["wieght", "did you mean", "teal.toml:", "nothing was changed on this host"] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    let status = world.place.teal(&["status"]);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("the last reload was rejected"), "{status}");
    assert_eq!(teal.metric("teal_config_last_reload_successful"), Some(0));
    assert_eq!(ask(vip), "blue");
    held.assert_alive();
    world.place.rename(&world.text(0, 100));
    until_weight(&teal, 100);
    until("it is told", || teal.metric("teal_config_last_reload_successful") == Some(1));
    held.assert_alive();
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let world = World::new();
    let teal = world.start();
    fs::remove_file(world.place.config()).unwrap();
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not exist"), "{said}");
    assert_eq!(ask(teal.vip("a")), "blue");
    world.place.rename(&world.text(0, 100));
    until_weight(&teal, 100);
}

#[test]
fn what_only_a_restart_can_change_is_refused() {
    let world = World::new();
    let teal = world.start();
    let changed = world.text(0, 100).replace("[dns]\n", "[dns]\nzones = [\"internal\"]\n");
    world.place.rename(&changed);
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("restart needed: [dns] zones"), "{said}");
    assert_eq!(teal.weight("a", "green"), 0);
    assert!(teal.metric("teal_config_reloads_total{result=\"refused\"}").unwrap() >= 1);
}

#[test]
fn promise_4_removing_much_at_once_needs_a_hand() {
    let world = World::new();
    let blue = |name| service(name, &[("blue", 1, world.blue)]);
    let three: Vec<String> = ["a", "b", "c"].map(blue).into();
    world.place.write("", &three);
    let teal = world.place.start();
    let (vip_b, vip_a) = (teal.vip("b"), teal.vip("a"));
    world.place.write("", &three[..1]);
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2 of 3 services would be removed: b, c"), "{said}");
    assert!(said.contains("teal reload --allow-removal"), "{said}");
    assert_eq!(ask(vip_b), "blue");
    let (code, said) = world.place.reload(&["--allow-removal"]);
    assert_eq!(code, Some(0), "{said}");
    until("b is closed", || is_refused(vip_b));
    assert_eq!(ask(vip_a), "blue");
    // A color with weight is guarded in the same way.
    world.place.write("", &[service("a", &[("green", 1, world.green)])]);
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a: color blue has weight 1"), "{said}");
    assert_eq!(ask(vip_a), "blue");
    assert_eq!(world.place.reload(&["--allow-removal"]).0, Some(0));
    assert_eq!(ask(vip_a), "green");
}

#[test]
fn an_address_wanted_twice_is_an_error_that_names_both() {
    let world = World::new();
    let teal = world.start();
    let vip = format!("vip = \"{}\"", world.place.address(7));
    let both = ["a", "b"].map(|name| service_with(name, &vip, &[("blue", 1, world.blue)]));
    world.place.write("", &both);
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&world.place.address(7).to_string()), "{said}");
    assert_eq!(teal.status().services.len(), 1);
}

#[test]
fn an_exposed_address_can_move_to_another_service() {
    let world = World::new();
    let address = format!("{}:7092", world.place.outside());
    let exposed = |name, color, backend| {
        let ports = format!("listen = {PORT}, expose = [\"{address}\"]");
        service(name, &[(color, 1, backend)]).replace(&format!("listen = {PORT}"), &ports)
    };
    let b = service("b", &[("green", 1, world.green)]);
    world.place.write("", &[exposed("a", "blue", world.blue), b]);
    let teal = world.place.start();
    let mut held = Held::new(address.parse().unwrap(), 4);
    let a = service("a", &[("blue", 1, world.blue)]);
    world.place.write("", &[a, exposed("b", "green", world.green)]);
    world.place.reload_ok();
    assert_eq!(ask(address.parse().unwrap()), "green");
    assert_eq!(ask(teal.vip("a")), "blue");
    held.assert_alive();
}

#[test]
fn promise_3_many_changes_by_rename_lose_no_connection() {
    let world = World::new();
    let teal = world.start();
    let vip = teal.vip("a");
    let mut held: Vec<Held> = (0..20).map(|_| Held::new(vip, 4)).collect();
    for round in 0..40 {
        world.place.rename(&world.text(round % 7, 7 - round % 7));
        assert!(["blue", "green"].contains(&ask(vip).as_str()));
    }
    world.place.rename(&world.text(0, 9));
    until_weight(&teal, 9);
    for held in &mut held {
        held.assert_alive();
    }
    assert!(applied(&teal) >= 1);
    assert_eq!(teal.metric("teal_weight_zero_violations_total"), Some(0));
    assert!(!teal.metrics().contains("teal_connection_errors_total{service=\"a\""));
}
