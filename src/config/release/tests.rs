//! What a release file means; what is wrong with broken ones is in `tests/config/release`.

use std::time::Duration;

use super::{Flags, from_flags, read, report};
use crate::config::ReportStyle;
use crate::model::AppName;
use crate::model::release::{
    Bound, GateCheck, OnManualEdit, Percent, Reaction, ReleaseOrder, ReleaseSpec, ReleaseStep,
};

fn spec(text: &str) -> ReleaseSpec {
    read("release.toml", text)
        .unwrap_or_else(|rejected| panic!("{}", report("release.toml", text, &rejected, ReportStyle::Plain)))
}

fn by_default() -> ReleaseSpec {
    ReleaseSpec {
        to: Some("green".parse_color()),
        ..ReleaseSpec::by_default(AppName::parse("shop").unwrap())
    }
}

trait ParseColor {
    fn parse_color(&self) -> crate::model::ColorName;
}

impl ParseColor for str {
    fn parse_color(&self) -> crate::model::ColorName {
        crate::model::ColorName::parse(self).unwrap()
    }
}

fn at(percent: i64) -> ReleaseStep {
    ReleaseStep::at(Percent::new(percent).unwrap())
}

const SHORT: &str = include_str!("../../../conf/examples/release-short.toml");
const SHOP: &str = include_str!("../../../conf/examples/release-shop.toml");

#[test]
fn the_short_example_means_the_defaults() {
    assert_eq!(spec(SHORT), by_default());
}

#[test]
fn the_long_example_shows_every_key_with_its_default() {
    let keys = super::keys::ALL.iter().flat_map(|schema| schema.keys);
    for key in keys.filter(|key| key.name != "release") {
        let shown = SHOP.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            let written = line.strip_prefix(key.name).is_some_and(|rest| rest.starts_with(" ="));
            written || line.contains(&format!("[release.{}]", key.name)) || line.contains("{ service = ")
        });
        assert!(shown, "{} is not shown", key.name);
    }
    let shown = spec(SHOP);
    assert_eq!(shown.activate_at, Some(1_795_428_000));
    assert_eq!(shown.judgement.failures_max_per_10000, Some(100));
    let mut same = ReleaseSpec { version: "2.0".into(), reason: "new welcome text".into(), ..by_default() };
    same.on_confirmed = vec!["retire-old".into()];
    same.on_rolled_back = vec!["retire-new".into()];
    same.activate_at = shown.activate_at;
    same.judgement.failures_max_per_10000 = Some(100);
    same.gates.clone_from(&shown.gates);
    same.notify.clone_from(&shown.notify);
    same.steps = vec![at(0), at(10), at(100)];
    same.steps[0].gates = vec!["smoke".into(), "approval".into()];
    same.steps[1].gates = vec!["errors".into()];
    assert_eq!(shown, same);
}

#[test]
fn every_key_does_what_it_says() {
    let text = r#"
        [release]
        app = "Shop"
        members = [{ service = "servicea", to = "green" }, { service = "serviceb", to = "red" }]
        order = "backends-first"
        on_manual_edit = "discard"
        on_restart = "resume"
        confirm_deadline = "1h"
        on_confirm_deadline = "rollback"
        rollback_close_after = "0s"
        undo_window = "0s"
        activate_at = 2026-11-23T12:30:00+02:30
        [[release.steps]]
        percent = 25
        bake = "0s"
        min_connections = 0
        max_wait = "0s"
        point_of_no_return = true
        [[release.steps]]
        percent = 100
        gates = ["load"]
        [release.guard]
        min_healthy = 3
        min_capacity = 0.25
        [release.judgement]
        enabled = false
        on_fail = "rollback"
        on_inconclusive = "rollback"
        consecutive_failures_max = 3
        failures_max = "0.25%"
        first_byte_ratio_max = 2
        first_byte_floor = "0ms"
        [[release.gates]]
        name = "load"
        prometheus = "http://[::1]:9090"
        query = "up"
        min = -1
        timeout = "5s"
    "#;
    let spec = spec(text);
    assert_eq!(spec.members.len(), 2);
    assert_eq!((spec.to, spec.order), (None, ReleaseOrder::BackendsFirst));
    assert_eq!((spec.on_manual_edit, spec.resume_after_restart), (OnManualEdit::Discard, true));
    assert_eq!((spec.confirm_deadline, spec.undo_window), (Duration::from_secs(3600), Duration::ZERO));
    assert_eq!((spec.on_confirm_deadline, spec.rollback_close_after), (Reaction::Rollback, Duration::ZERO));
    assert_eq!(spec.activate_at, Some(1_795_428_000));
    let first = &spec.steps[0];
    assert_eq!((first.percent.get(), first.bake, first.min_connections), (25, Duration::ZERO, 0));
    assert!(first.point_of_no_return && first.max_wait.is_zero());
    assert_eq!((spec.guard.min_healthy, spec.guard.min_capacity_permille), (3, 250));
    assert!(!spec.judgement.enabled);
    assert_eq!(spec.judgement.failures_max_per_10000, Some(25));
    assert_eq!(spec.judgement.first_byte_ratio_max_percent, 200);
    let GateCheck::Prometheus { min, max, .. } = &spec.gates["load"].check else { panic!("another gate") };
    assert_eq!((*min, *max), (Some(Bound(-1.0)), None));
}

#[test]
fn flags_say_what_a_file_would() {
    let flags = Flags { app: "shop", to: "green", ..Flags::default() };
    assert_eq!(spec(&from_flags(&flags)), by_default());
    let flags = Flags {
        version: Some("2.0"),
        reason: Some("a \"quoted\" word"),
        steps: &[5, 100],
        bake: Some("90s"),
        min_connections: Some(10),
        order: Some("frontends-first"),
        ..flags
    };
    let read = spec(&from_flags(&flags));
    assert_eq!(read.reason, "a \"quoted\" word");
    assert_eq!(read.order, ReleaseOrder::FrontendsFirst);
    let step = |percent| ReleaseStep { bake: Duration::from_secs(90), min_connections: 10, ..at(percent) };
    assert_eq!(read.steps, [step(5), step(100)]);
    let flags = Flags { app: "shop", to: "green", bake: Some("1m"), ..Flags::default() };
    assert_eq!(spec(&from_flags(&flags)).steps.len(), 3);
}

#[test]
fn a_specification_survives_the_journal() {
    let shown = spec(SHOP);
    let kept = serde_json::to_string(&shown).unwrap();
    assert_eq!(serde_json::from_str::<ReleaseSpec>(&kept).unwrap(), shown);
}

#[test]
fn a_file_that_ends_anywhere_is_read_or_reported() {
    for end in (0..SHOP.len()).step_by(41) {
        let text = &SHOP[..end];
        if let Err(rejected) = read("release.toml", text) {
            assert!(!report("release.toml", text, &rejected, ReportStyle::Plain).is_empty(), "{end}");
        }
    }
}
