//! Releases by the built binary: one command moves two services at one instant, judges, confirms or rolls back.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;
use teal::admin::report::ReleasesReport;
use teal::release::report::ReleaseReport;

use crate::clients::{Held, ask, backend};
use crate::overrides::weights;
use crate::process::{Place, Teal, said, service, until};

/// An app of two services.
pub struct World {
    pub place: Place,
    blue: SocketAddr,
    green: SocketAddr,
}

const APP: &str = "[apps.shop]\nservices = [\"a\", \"b\"]\n";

impl World {
    pub fn new() -> Self {
        Self { place: Place::new(), blue: backend("blue"), green: backend("green") }
    }

    fn write(&self, blue: u32, green: u32) {
        let both = |name| service(name, &[("blue", blue, self.blue), ("green", green, self.green)]);
        self.place.write(APP, &[both("a"), both("b")]);
    }

    pub fn start(&self) -> Teal {
        self.write(1, 0);
        let teal = self.place.start();
        until("all endpoints are checked", || {
            let status = teal.status();
            let mut endpoints = status.services.iter().flat_map(|s| &s.colors).flat_map(|c| &c.endpoints);
            endpoints.all(|endpoint| endpoint.health == "healthy")
        });
        teal
    }

    /// A release file that is not judged, with these keys of `[release]` and these steps: per cent and bake.
    pub fn spec(&self, keys: &str, steps: &[(u32, &str)]) -> String {
        let path = self.place.path("release.toml");
        let step = |(percent, bake): &(u32, &str)| {
            format!("[[release.steps]]\npercent = {percent}\nbake = \"{bake}\"\nmin_connections = 0\n")
        };
        let steps: String = steps.iter().map(step).collect();
        let judgement = "[release.judgement]\nenabled = false\n";
        let head = "[release]\napp = \"shop\"\nto = \"green\"\nversion = \"2.0\"\nreason = \"test\"\n";
        fs::write(&path, format!("{head}{keys}\n{steps}{judgement}")).unwrap();
        path.display().to_string()
    }

    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.place.teal(&[&["release"], arguments].concat());
        (output.status.code(), said(&output))
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let (found, said) = self.run(arguments);
        assert_eq!(found, Some(code), "{said}");
        said
    }

    pub fn release(&self) -> ReleaseReport {
        let output = self.place.teal(&["release", "status", "shop", "--json"]);
        let report: ReleasesReport = serde_json::from_slice(&output.stdout).unwrap();
        report.releases.into_iter().next().unwrap()
    }

    /// The app's release, if there is one.
    pub fn find_release(&self) -> Option<ReleaseReport> {
        let output = self.place.teal(&["release", "status", "--json"]);
        let report: ReleasesReport = serde_json::from_slice(&output.stdout).unwrap();
        report.releases.into_iter().last()
    }

    /// Waits until commands are answered and endpoints are checked, or the process has ended.
    pub fn wait_until_served(&self, teal: &mut Teal) {
        until("commands are answered", || {
            teal.child.try_wait().unwrap().is_some() || {
                let output = self.place.teal(&["status", "--json"]);
                String::from_utf8_lossy(&output.stdout).matches("\"health\": \"healthy\"").count() == 4
            }
        });
    }

    fn until_phase(&self, phase: &str) {
        until(phase, || self.release().phase == phase);
    }

    fn hold_reason(&self) -> String {
        self.release().hold.unwrap().reason
    }
}

/// The words of an output that is folded.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn both(teal: &Teal) -> (Vec<u16>, Vec<u16>) {
    (weights(teal, "a"), weights(teal, "b"))
}

#[test]
fn promise_12_a_release_survives_kill_9_and_goes_on_only_when_told() {
    let world = World::new();
    let mut teal = world.start();
    let file = world.spec("", &[(10, "1h"), (100, "0s")]);
    world.ok(&["start", &file]);
    world.until_phase("baking");
    assert_eq!(both(&teal), (vec![90, 10], vec![90, 10]));
    teal.signal(Signal::KILL);
    let _ = teal.wait();
    let teal = world.place.start();
    assert_eq!(both(&teal), (vec![90, 10], vec![90, 10]), "those applied last");
    world.until_phase("holding");
    assert_eq!(world.hold_reason(), "restart");
    world.refused(11, &["wait", "shop", "--for", "awaiting", "--timeout", "20s"]);
    world.ok(&["resume", "shop"]);
    world.ok(&["next", "shop"]);
    world.refused(10, &["wait", "shop", "--for", "confirmed", "--timeout", "20s"]);
    assert_eq!(both(&teal), (vec![0, 100], vec![0, 100]));
    let log = words(&world.ok(&["log", "shop"]));
    assert!(log.contains("because test") && log.contains("awaiting_confirm"), "{log}");
    assert!(world.ok(&["log", "--verify"]).contains("records verified"));
}

#[test]
fn promise_11_a_rollback_ends_connections_and_a_confirm_waits_for_the_drain() {
    let world = World::new();
    let teal = world.start();
    let address = teal.vip("a");
    let mut on_blue = Held::new(address, 4);
    let file = world.spec("rollback_close_after = \"0s\"", &[(100, "0s")]);
    world.ok(&["start", &file]);
    world.ok(&["wait", "shop", "--for", "awaiting", "--timeout", "20s"]);
    on_blue.assert_alive();
    let mut on_green = Held::new(address, 5);
    world.ok(&["rollback", "shop", "-m", "no"]);
    assert_eq!(both(&teal), (vec![1, 0], vec![1, 0]));
    on_green.assert_cut();
    on_blue.assert_alive();
    world.ok(&["wait", "shop", "--for", "rolled-back", "--timeout", "20s"]);
    world.ok(&["start", &file]);
    world.ok(&["wait", "shop", "--for", "awaiting", "--timeout", "20s"]);
    world.ok(&["confirm", "shop", "-m", "yes", "--no-save"]);
    let release = world.release();
    assert_eq!((release.phase.as_str(), release.draining.unwrap().0), ("confirming", 1));
    on_blue.assert_alive();
    drop(on_blue);
    world.ok(&["wait", "shop", "--for", "confirmed", "--timeout", "20s"]);
}

#[test]
fn promise_11_a_rollback_that_nobody_asked_for_says_how_many_connections_are_left() {
    let world = World::new();
    let teal = world.start();
    let keys = "rollback_close_after = \"0s\"\nconfirm_deadline = \"1s\"\non_confirm_deadline = \"rollback\"";
    world.ok(&["start", &world.spec(keys, &[(100, "1h")])]);
    world.until_phase("baking");
    let mut on_green: Vec<_> = (0..3).map(|_| Held::new(teal.vip("a"), "green".len())).collect();
    world.ok(&["next", "shop"]);
    world.ok(&["wait", "shop", "--for", "rolled-back", "--timeout", "20s"]);
    on_green.iter_mut().for_each(Held::assert_cut);
    let log = words(&world.ok(&["log", "shop"]));
    assert!(log.contains("(3 connections have to end, the oldest is "), "{log}");
}

#[test]
fn a_confirmed_baseline_outlives_resets_restarts_and_can_be_saved_or_undone() {
    let world = World::new();
    let mut teal = world.start();
    let file = world.spec("", &[(100, "0s")]);
    world.ok(&["start", &file]);
    world.ok(&["wait", "shop", "--for", "awaiting", "--timeout", "20s"]);
    world.refused(2, &["confirm", "shop", "-m", "yes"]);
    world.ok(&["confirm", "shop", "-m", "yes", "--no-save"]);
    world.until_phase("confirmed");
    assert_eq!(teal.metric("teal_config_drift"), Some(2));
    let output = world.place.teal(&["status"]);
    let status = String::from_utf8_lossy(&output.stdout);
    assert!(status.contains("because yes; the baseline is blue=0 green=100; the file says blue=1 green=0"));
    world.place.teal(&["weight", "a", "green=7", "-m", "x"]);
    world.place.teal(&["weight", "a", "--reset", "-m", "x"]);
    teal.signal(Signal::KILL);
    let _ = teal.wait();
    let teal = world.place.start();
    assert_eq!(both(&teal), (vec![0, 100], vec![0, 100]));
    let again = world.refused(14, &["start", &file]);
    assert!(again.contains("has everything already") && again.contains("version 2.0"), "{again}");
    world.ok(&["undo", "shop", "-m", "a customer complains"]);
    assert_eq!(both(&teal), (vec![1, 0], vec![1, 0]));
    world.until_phase("closed");
    assert_eq!(teal.metric("teal_config_drift"), Some(0), "it is what the file says");
    let file = world.spec("", &[(100, "0s")]);
    world.ok(&["start", &file]);
    world.ok(&["wait", "shop", "--for", "awaiting", "--timeout", "20s"]);
    let said = world.ok(&["confirm", "shop", "-m", "yes", "--save"]);
    assert!(said.contains("saved in"), "{said}");
    let text = fs::read_to_string(world.place.config()).unwrap();
    assert_eq!(text.matches("weight = 100").count(), 2, "{text}");
    until("file and baseline agree", || teal.metric("teal_config_drift") == Some(0));
    assert_eq!(both(&teal), (vec![0, 100], vec![0, 100]));
}

#[test]
fn members_of_an_open_release_belong_to_it() {
    let world = World::new();
    let teal = world.start();
    let file = world.spec("", &[(50, "1h"), (100, "0s")]);
    world.ok(&["start", &file]);
    world.until_phase("baking");
    let other = world.refused(14, &["start", "shop", "--to", "green"]);
    assert!(other.contains("confirm it or roll it back"), "{other}");
    let output = world.place.teal(&["weight", "a", "green=7", "-m", "x"]);
    assert!(said(&output).contains("member of the open release shop-"), "{}", said(&output));
    let only_blue = |name| service(name, &[("blue", 1, world.blue)]);
    world.place.write(APP, &[only_blue("a"), only_blue("b")]);
    let (code, said) = world.place.reload(&["--allow-removal"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("color green of a, which the open release shop-"), "{said}");
    assert_eq!(both(&teal), (vec![50, 50], vec![50, 50]));
    world.write(1, 0);
    world.place.reload_ok();
    world.ok(&["set", "shop", "a=25"]);
    assert_eq!(both(&teal), (vec![75, 25], vec![50, 50]));
    world.refused(2, &["set", "shop", "a=101"]);
    world.refused(14, &["confirm", "shop", "-m", "too early", "--no-save"]);
    world.refused(2, &["abort", "shop"]);
    world.ok(&["rollback", "shop", "-m", "no"]);
    assert_eq!(both(&teal), (vec![1, 0], vec![1, 0]));
}

#[test]
fn a_freeze_keeps_releases_from_shifting_and_not_from_going_back() {
    let world = World::new();
    let teal = world.start();
    let file = world.spec("", &[(50, "1h"), (100, "0s")]);
    world.place.teal(&["freeze", "-m", "friday"]);
    let frozen = world.refused(15, &["start", &file]);
    assert!(frozen.contains("friday"), "{frozen}");
    world.place.teal(&["unfreeze", "-m", "monday"]);
    world.ok(&["start", &file]);
    world.until_phase("baking");
    world.place.teal(&["freeze", "shop", "-m", "stop the line"]);
    world.ok(&["next", "shop"]);
    world.until_phase("holding");
    assert_eq!(world.hold_reason(), "frozen");
    assert_eq!(both(&teal), (vec![50, 50], vec![50, 50]));
    assert!(world.ok(&["status"]).contains("FROZEN: shop"));
    world.refused(15, &["resume", "shop"]);
    world.ok(&["rollback", "shop", "-m", "no"]);
    assert_eq!(both(&teal), (vec![1, 0], vec![1, 0]));
}

#[test]
fn an_edit_of_the_file_in_the_middle_holds_and_is_adopted_or_discarded() {
    let world = World::new();
    let teal = world.start();
    let file = world.spec("", &[(50, "1h"), (100, "0s")]);
    world.ok(&["start", &file]);
    world.until_phase("baking");
    world.write(30, 70);
    world.place.reload_ok();
    world.until_phase("holding");
    assert_eq!(world.hold_reason(), "manual_edit");
    assert_eq!(both(&teal), (vec![50, 50], vec![50, 50]), "nothing moves before somebody decides");
    world.ok(&["discard", "shop", "-m", "the release is right"]);
    assert_eq!(both(&teal), (vec![50, 50], vec![50, 50]));
    world.write(40, 60);
    world.place.reload_ok();
    until("it holds again", || world.release().hold.is_some_and(|hold| hold.reason == "manual_edit"));
    world.ok(&["adopt", "shop", "-m", "the file is right"]);
    assert_eq!(both(&teal), (vec![40, 60], vec![40, 60]));
    world.ok(&["rollback", "shop", "-m", "no"]);
    assert_eq!(both(&teal), (vec![1, 0], vec![1, 0]));
}

#[test]
fn a_new_color_that_answers_nothing_is_rolled_back_and_said_why() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let empty = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let world = World { green: empty, ..world };
    let teal = world.start();
    let path = world.place.path("judged.toml");
    let text = "[release]\napp = \"shop\"\nto = \"green\"\nversion = \"2.0\"\nreason = \"test\"\n\
                [[release.steps]]\npercent = 50\nbake = \"1h\"\n[[release.steps]]\npercent = 100\n";
    fs::write(&path, text).unwrap();
    world.ok(&["start", &path.display().to_string()]);
    world.until_phase("baking");
    let address = teal.vip("a");
    until("it was rolled back", || {
        let mut stream = crate::clients::connect(address);
        let _ = std::io::Write::write_all(&mut stream, b"hello");
        let _ = std::io::Read::read(&mut stream, &mut [0; 8]);
        world.release().ending.as_deref() == Some("rolled_back")
    });
    assert_eq!(both(&teal), (vec![1, 0], vec![1, 0]));
    assert_eq!(ask(teal.vip("b")), "blue");
    let status = world.ok(&["status", "shop"]);
    assert!(status.contains("failed in a row") || status.contains("is closed"), "{status}");
    let log = words(&world.ok(&["log", "shop"]));
    assert!(log.contains("failed in a row"), "{log}");
    assert_eq!(teal.metric("teal_release_rollbacks_total{app=\"shop\"}"), Some(1));
}
