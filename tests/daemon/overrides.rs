//! Promises 12 and 13: what is set at run time has who, when and why, and survives whatever ends the daemon.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use teal::admin::report::JournalReport;

use crate::clients::{Held, ask, backend, http};
use crate::process::{PORT, Place, Teal, said, service, service_with, until};

pub struct World {
    pub place: Place,
    pub blue: SocketAddr,
    pub green: SocketAddr,
}

impl World {
    pub fn new() -> Self {
        Self { place: Place::new(), blue: backend("blue"), green: backend("green") }
    }

    pub fn service(&self, name: &str, blue: u32, green: u32) -> String {
        service(name, &[("blue", blue, self.blue), ("green", green, self.green)])
    }

    pub fn write(&self, blue: u32, green: u32) {
        self.place.write("", &[self.service("a", blue, green), self.service("b", 1, 0)]);
    }

    pub fn start(&self) -> Teal {
        self.write(100, 0);
        self.place.start()
    }

    /// A command, its exit code and what it said.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.place.teal(arguments);
        (output.status.code(), said(&output))
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let (found, said) = self.run(arguments);
        assert_eq!(found, Some(code), "{said}");
        said
    }

    pub fn journal(&self) -> JournalReport {
        let output = self.place.teal(&["journal", "--json", "-n", "1000"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub fn weights(teal: &Teal, name: &str) -> Vec<u16> {
    teal.service(name).colors.iter().map(|color| color.weight).collect()
}

/// This user, as the daemon names them.
fn me() -> String {
    let uid = rustix::process::getuid().as_raw();
    nix::unistd::User::from_uid(uid.into()).unwrap().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

#[test]
fn promise_13_every_change_has_who_when_why_before_and_after() {
    let world = World::new();
    let teal = world.start();
    let said = world.ok(&["weight", "a", "blue=30", "green=70", "-m", "try green"]);
    assert!(said.contains("changed on this host: a: blue=100 green=0 -> blue=30 green=70"), "{said}");
    assert_eq!(weights(&teal, "a"), [30, 70]);
    let blue = teal.color("a", "blue");
    assert_eq!(blue.baseline, 100);
    assert!(blue.origin.starts_with(&format!("override by {}", me())), "{}", blue.origin);
    assert!(blue.origin.ends_with(" because try green"), "{}", blue.origin);
    let status = world.ok(&["status"]);
    assert!(status.contains("because try green; the file says blue=100 green=0"), "{status}");
    let metric = |name: &str| teal.metric(&format!("teal_{name}{{service=\"a\",color=\"green\"}}"));
    assert_eq!((metric("color_weight"), metric("color_weight_baseline")), (Some(70), Some(0)));
    let records = world.journal().records;
    let kinds: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["checkpoint", "intent", "applied"]);
    let intent = &records[1];
    assert_eq!(intent["cause"]["actor"]["uid"], Value::from(rustix::process::getuid().as_raw()));
    assert_eq!(intent["cause"]["actor"]["command"], Value::from("teal"));
    assert_eq!(intent["cause"]["why"], Value::from("try green"));
    assert_eq!(intent["edits"][0]["before"]["blue"], Value::from(100));
    assert_eq!(intent["edits"][0]["after"]["green"], Value::from(70));
    assert!(intent["cause"]["at"].as_u64().unwrap() > 1_700_000_000);
    // The head is in the log too.
    let head = world.journal().hash;
    assert_eq!(records[2]["hash"], Value::from(head.as_str()));
    until("the log has the head", || teal.log_has(&head));
    let said = world.ok(&["journal"]);
    assert!(said.contains("because try green") && said.contains("applied 2"), "{said}");
    assert!(world.ok(&["journal", "--verify"]).contains("3 records verified"));
}

#[test]
fn promise_13_nobody_changes_anything_without_a_reason() {
    let world = World::new();
    let teal = world.start();
    let blue = world.blue.to_string();
    world.refused(2, &["weight", "a", "green=1"]);
    world.refused(2, &["weight", "a", "--reset"]);
    world.refused(2, &["endpoint", "disable", "a", "blue", &blue]);
    world.refused(2, &["journal", "accept"]);
    let empty = world.refused(1, &["weight", "a", "green=1", "-m", "  "]);
    assert!(empty.contains("say why"), "{empty}");
    let lines = world.refused(1, &["endpoint", "disable", "a", "blue", &blue, "-m", "one\ntwo"]);
    assert!(lines.contains("one line"), "{lines}");
    assert_eq!(weights(&teal, "a"), [100, 0]);
    assert!(world.journal().records.is_empty());
}

#[test]
fn promise_3_an_override_takes_effect_at_once_and_touches_no_open_connection() {
    let world = World::new();
    let teal = world.start();
    let vip = teal.vip("a");
    let mut held = Held::new(vip, 4);
    world.ok(&["weight", "a.local", "blue=0", "green=5", "-m", "switch"]);
    for _ in 0..10 {
        assert_eq!(ask(vip), "green");
    }
    held.assert_alive();
    assert_eq!(teal.color("a", "blue").draining, 1);
    world.ok(&["weight", "a", "--reset", "-m", "back"]);
    assert_eq!(ask(vip), "blue");
    assert_eq!(teal.color("a", "blue").origin, "file");
    assert!(world.ok(&["weight", "a", "--reset", "-m", "again"]).contains("nothing to change on this host"));
    assert_eq!(teal.metric("teal_weight_zero_violations_total"), Some(0));
}

#[test]
fn unknown_names_and_wrong_numbers_are_explained_and_change_nothing() {
    let world = World::new();
    let teal = world.start();
    let why = ["-m", "x"];
    let refused = |code, arguments: &[&str]| world.refused(code, &[arguments, &why].concat());
    assert!(
        refused(1, &["weight", "x", "blue=1"])
            .contains("no service is called \"x\" on this host; it knows a, b")
    );
    assert!(refused(1, &["weight", "a", "red=1"]).contains("it has blue, green"));
    assert!(refused(2, &["weight", "a", "blue=1001"]).contains("from 0 to 1000"));
    assert!(refused(2, &["weight", "a", "blue"]).contains("COLOR=N"));
    refused(2, &["weight", "a"]);
    assert!(refused(2, &["weight", "a", "blue=1", "Blue=2"]).contains("two weights"));
    refused(2, &["weight", "a", "blue=1", "--reset"]);
    let unknown = refused(1, &["endpoint", "disable", "a", "blue", "10.9.9.9:1"]);
    assert!(unknown.contains(&format!("it has {}", world.blue)), "{unknown}");
    assert!(refused(1, &["endpoint", "disable", "a", "blue", "nonsense"]).contains("is no address"));
    assert_eq!(weights(&teal, "a"), [100, 0]);
    assert!(refused(0, &["weight", "a", "blue=0"]).contains("every color of a has weight 0"));
}

fn post(world: &World, path: &str, body: &str) -> (String, String) {
    let stream = UnixStream::connect(world.place.socket()).unwrap();
    let mut head = stream.try_clone().unwrap();
    // The helper ends the head; what comes before is part of the request line's headers.
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: teal\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    head.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut head, &mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_api_refuses_what_it_does_not_understand_as_json() {
    let world = World::new();
    let teal = world.start();
    let weights_path = "/v1/services/a/weights";
    for (path, body, status) in [
        (weights_path, "{", "400"),
        (weights_path, r#"{"colors": {}, "why": "x"}"#, "400"),
        (weights_path, r#"{"colors": {"blue": 1}}"#, "400"),
        (weights_path, r#"{"colors": {"blue": -1}, "why": "x"}"#, "400"),
        (weights_path, r#"{"colors": {"b ue": 1}, "why": "x"}"#, "400"),
        (weights_path, r#"{"colors": {"blue": 1}, "why": "x", "wy": "y"}"#, "422"),
        (weights_path, r#"{"colors": {"red": 1}, "why": "x"}"#, "404"),
        ("/v1/services/x/weights", r#"{"colors": {"blue": 1}, "why": "x"}"#, "404"),
    ] {
        let (head, answer) = post(&world, path, body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {head}");
        let error: Value = serde_json::from_str(&answer).unwrap();
        assert!(!error["error"].as_str().unwrap().is_empty(), "{answer}");
    }
    let long = format!(r#"{{"colors": {{"blue": 1}}, "why": "{}"}}"#, "x".repeat(70_000));
    assert!(post(&world, weights_path, &long).0.starts_with("HTTP/1.1 413"));
    assert_eq!(weights(&teal, "a"), [100, 0]);
    // Never on the listener that may be open to the network.
    assert!(teal.get("/v1/journal").0.starts_with("HTTP/1.1 404"));
    let (head, _) = http(UnixStream::connect(world.place.socket()).unwrap(), "GET /v1/journal?limit=x");
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}

#[test]
fn a_reload_of_something_else_and_a_restart_keep_an_override_and_a_change_of_its_weights_ends_it() {
    let world = World::new();
    let teal = world.start();
    world.ok(&["weight", "a", "green=70", "-m", "try green"]);
    world.place.write("", &[world.service("a", 100, 0), world.service("b", 0, 1)]);
    world.place.reload_ok();
    assert_eq!((weights(&teal, "a"), weights(&teal, "b")), (vec![100, 70], vec![0, 1]));
    teal.stop();
    let teal = world.place.start();
    assert_eq!(weights(&teal, "a"), [100, 70]);
    assert!(teal.color("a", "green").origin.ends_with("because try green"));
    // The file's word is newer now.
    world.write(90, 10);
    world.place.reload_ok();
    until("the log says so", || teal.log_has("a: blue=100 green=70 -> blue=90 green=10 (override ended)"));
    assert_eq!(weights(&teal, "a"), [90, 10]);
    world.write(100, 0);
    world.place.reload_ok();
    assert_eq!(weights(&teal, "a"), [100, 0], "what ended does not come back");
    let last = world.journal().records.pop().unwrap();
    assert_eq!(
        (last["kind"].as_str(), last["cause"]["actor"]["name"].as_str()),
        (Some("ended"), Some("(configuration)"))
    );
    // Also when the file changes while nobody looks.
    world.ok(&["weight", "a", "green=70", "-m", "try again"]);
    teal.stop();
    world.write(80, 20);
    let teal = world.place.start();
    assert_eq!(weights(&teal, "a"), [80, 20]);
    assert_eq!(teal.color("a", "blue").origin, "file");
    assert!(teal.status().problems.is_empty());
}

#[test]
fn a_color_that_appears_under_an_override_starts_at_zero() {
    let world = World::new();
    let teal = world.start();
    world.ok(&["weight", "a", "green=70", "-m", "try green"]);
    let red = backend("red");
    let colors = [("blue", 100, world.blue), ("green", 0, world.green), ("red", 50, red)];
    world.place.write("", &[service("a", &colors), world.service("b", 1, 0)]);
    world.place.reload_ok();
    assert_eq!(weights(&teal, "a"), [100, 70, 0]);
    assert_eq!(teal.color("a", "red").baseline, 50);
}

#[test]
fn a_color_that_has_weight_by_override_is_not_removed_by_half_a_file() {
    let world = World::new();
    let teal = world.start();
    world.ok(&["weight", "a", "blue=0", "green=1", "-m", "all to green"]);
    world.place.write("", &[service("a", &[("blue", 100, world.blue)]), world.service("b", 1, 0)]);
    let (code, said) = world.place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("color green has weight 1"), "{said}");
    assert_eq!(ask(teal.vip("a")), "green");
    assert_eq!(world.place.reload(&["--allow-removal"]).0, Some(0));
    assert_eq!(ask(teal.vip("a")), "blue");
}

#[test]
fn two_changes_at_once_both_happen_one_after_the_other() {
    let world = World::new();
    let teal = world.start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..5 {
                    let weight = format!("{}={}", ["blue", "green"][thread % 2], thread * 10 + round + 1);
                    world.ok(&["weight", ["a", "b"][thread / 2], &weight, "-m", "race"]);
                }
            });
        }
    });
    assert_eq!((weights(&teal, "a"), weights(&teal, "b")), (vec![5, 15], vec![25, 35]));
    let journal = world.journal();
    assert_eq!((journal.verified, journal.damage), (1 + 2 * 20, None));
}

#[test]
fn a_disabled_endpoint_gets_no_connection_and_drains_like_a_removed_one() {
    let (place, one, two) = (Place::new(), backend("one"), backend("two"));
    let text = format!(
        "[services.a]\nports = [{{ listen = {PORT} }}]\ndrain_timeout = \"1s\"\n[services.a.colors.blue]\nweight = 1\n\
         endpoints = [\"{one}\", \"{two}\"]\n"
    );
    place.write("", &[text]);
    let teal = place.start();
    let vip = teal.vip("a");
    let mut held: Vec<Held> = (0..2).map(|_| Held::new(vip, 3)).collect();
    held.sort_by(|a, b| a.name.cmp(&b.name));
    let arguments = ["endpoint", "disable", "a", "blue", &one.to_string(), "-m", "new disk"];
    let output = place.teal(&arguments);
    assert!(said(&output).contains("changed on this host: a: blue "), "{}", said(&output));
    let preview = SocketAddr::from((teal.resolve("blue.a.local.")[0], PORT));
    for _ in 0..6 {
        assert_eq!((ask(vip).as_str(), ask(preview).as_str()), ("two", "two"));
    }
    let endpoint = |teal: &Teal| {
        let endpoints = teal.color("a", "blue").endpoints;
        endpoints.into_iter().find(|endpoint| endpoint.address == one).unwrap()
    };
    assert!(endpoint(&teal).disabled.unwrap().ends_with("because new disk"));
    assert_eq!(teal.color("a", "blue").draining, 1);
    let disabled =
        format!("teal_color_endpoints{{service=\"a\",port=\"{PORT}\",color=\"blue\",state=\"disabled\"}}");
    assert_eq!(teal.metric(&disabled), Some(1));
    held[0].assert_cut();
    held[1].assert_alive();
    drop(held);
    // A restart does not forget it.
    teal.stop();
    let teal = place.start();
    let vip = teal.vip("a");
    assert_eq!((ask(vip).as_str(), ask(vip).as_str()), ("two", "two"));
    assert_eq!(
        place.teal(&["endpoint", "enable", "a", "blue", &one.to_string(), "-m", "done"]).status.code(),
        Some(0)
    );
    assert_eq!(endpoint(&teal).disabled, None);
    let mut names = [ask(vip), ask(vip)];
    names.sort();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn the_last_endpoint_may_be_disabled_and_the_answer_warns() {
    let world = World::new();
    let teal = world.start();
    let said = world.ok(&["endpoint", "disable", "a", "blue", &world.blue.to_string(), "-m", "x"]);
    assert!(said.contains("no enabled endpoint"), "{said}");
    world.ok(&["weight", "a", "green=1", "-m", "instead"]);
    assert_eq!(ask(teal.vip("a")), "green", "a color without enabled endpoints spills");
}

#[test]
fn promise_12_a_kill_at_any_time_leaves_the_weights_last_applied() {
    let world = World::new();
    world.write(100, 0);
    let mut answered = 0;
    let mut seed = 0x9e37_79b9_u32 ^ std::process::id();
    println!("seed {seed:#x}");
    for round in 0..12 {
        let teal = world.place.start();
        // What was answered is in effect; what was asked when the kill came may be, but nothing else.
        let found = weights(&teal, "a")[1];
        assert!(found == answered || found == answered + 1, "round {round}: {found} after {answered}");
        let journal = world.journal();
        assert_eq!(journal.damage, None);
        assert!(teal.status().problems.is_empty());
        answered = found;
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let delay = Duration::from_micros(u64::from(seed >> 16));
        let last = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut last = answered;
                while world.run(&["weight", "a", &format!("green={}", last + 1), "-m", "kill"]).0 == Some(0) {
                    last += 1;
                }
                last
            });
            std::thread::sleep(delay);
            teal.signal(Signal::KILL);
            asking.join().unwrap()
        });
        answered = last;
    }
    assert!(answered > 0, "nothing was ever answered");
}

#[test]
fn promise_12_an_intent_that_was_not_applied_is_abandoned() {
    let world = World::new();
    let teal = world.start();
    world.ok(&["weight", "a", "green=1", "-m", "first"]);
    world.ok(&["weight", "a", "green=2", "-m", "second"]);
    drop(teal);
    let path = world.place.state().join("journal");
    let text = fs::read_to_string(&path).unwrap();
    // Without its last record, and with half of it.
    let whole = text.trim_end().rfind('\n').unwrap() + 1;
    for end in [whole, whole + 20] {
        fs::write(&path, &text[..end]).unwrap();
        let teal = world.place.start();
        assert_eq!(weights(&teal, "a"), [100, 1]);
        let last = world.journal().records.pop().unwrap();
        assert_eq!(last["kind"].as_str(), Some("abandoned"));
        assert!(teal.status().problems.is_empty());
        world.ok(&["weight", "a", "green=3", "-m", "third"]);
        assert_eq!(teal.log_has("never written to its end"), end != whole);
    }
}

#[test]
fn promise_12_damage_keeps_the_last_verified_weights_and_refuses_changes_until_it_is_accepted() {
    let world = World::new();
    let teal = world.start();
    world.ok(&["weight", "a", "green=1", "-m", "first"]);
    world.ok(&["weight", "a", "green=2", "-m", "second"]);
    drop(teal);
    let path = world.place.state().join("journal");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("second", "sec0nd")).unwrap();
    let teal = world.place.start();
    assert_eq!(weights(&teal, "a"), [100, 1]);
    assert_eq!(teal.metric("teal_journal_damaged"), Some(1));
    assert!(teal.problem("journal").unwrap().contains("teal journal accept"));
    assert!(teal.log_has("ERROR") && teal.log_has("the journal is damaged"));
    let said = world.refused(1, &["weight", "a", "green=3", "-m", "third"]);
    assert!(said.contains("damaged") && said.contains("teal journal accept -m WHY"), "{said}");
    assert!(world.refused(1, &["journal", "--verify"]).contains("line 4"));
    // Reloads go on, and so does an emergency.
    world.place.write("", &[world.service("a", 100, 0), world.service("b", 0, 1)]);
    world.place.reload_ok();
    assert_eq!(weights(&teal, "b"), [0, 1]);
    let said = world.ok(&["weight", "b", "blue=9", "-m", "now", "--emergency"]);
    assert!(said.contains("NOT RECORDED"), "{said}");
    assert!(world.ok(&["journal", "accept", "-m", "I looked at it"]).contains("accepted"));
    assert_eq!(teal.metric("teal_journal_damaged"), Some(0));
    assert!(teal.status().problems.is_empty());
    world.ok(&["weight", "a", "green=3", "-m", "third"]);
    teal.stop();
    let teal = world.place.start();
    assert_eq!((weights(&teal, "a"), weights(&teal, "b")), (vec![100, 3], vec![9, 1]));
    assert!(teal.status().problems.is_empty());
    assert!(world.ok(&["journal"]).contains("because I looked at it"));
}

#[test]
fn save_writes_the_file_and_the_override_ends() {
    let world = World::new();
    let teal = world.start();
    let text = fs::read_to_string(world.place.config()).unwrap();
    let commented = text.replacen("weight = 0", "weight = 0 # not yet", 1);
    world.place.rename(&commented);
    world.place.reload_ok();
    let said = world.ok(&["weight", "a", "green=50", "-m", "keep it", "--save"]);
    assert!(said.contains("saved in") && said.contains("teal.toml, lines "), "{said}");
    let expected = commented.replacen("weight = 0 # not yet", "weight = 50 # not yet", 1);
    assert_eq!(fs::read_to_string(world.place.config()).unwrap(), expected);
    let green = teal.color("a", "green");
    assert_eq!((green.weight, green.baseline, green.origin.as_str()), (50, 50, "file"));
    assert_eq!(world.journal().records.pop().unwrap()["kind"].as_str(), Some("ended"));
}

#[test]
fn save_changes_nothing_when_the_file_cannot_be_saved() {
    let world = World::new();
    let teal = world.start();
    // Another text than the one in effect.
    world.place.rename("broken");
    until("it is rejected", || teal.log_has("configuration rejected"));
    let said = world.refused(1, &["weight", "a", "green=50", "-m", "x", "--save"]);
    assert!(said.contains("is not what is in effect"), "{said}");
    assert_eq!(weights(&teal, "a"), [100, 0]);
    assert!(world.journal().records.is_empty());
}

#[test]
fn an_endpoint_that_the_file_drops_and_brings_back_is_enabled() {
    let world = World::new();
    let teal = world.start();
    world.ok(&["endpoint", "disable", "b", "green", &world.green.to_string(), "-m", "x"]);
    let keys = "drain_timeout = \"1s\"";
    let other = service_with("b", keys, &[("blue", 1, world.blue), ("green", 0, world.blue)]);
    world.place.write("", &[world.service("a", 100, 0), other]);
    world.place.reload_ok();
    world.write(100, 0);
    world.place.reload_ok();
    assert!(teal.color("b", "green").endpoints.iter().all(|endpoint| endpoint.disabled.is_none()));
}
