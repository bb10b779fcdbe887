//! A release for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::overrides::{Actor, Cause};
use super::release::{Member, Phase, Release, ReleaseId};
use crate::model::release::{
    Guard, Judgement, OnManualEdit, Percent, Reaction, ReleaseOrder, ReleaseSpec, ReleaseStep,
};
use crate::model::{AppName, ColorName, ServiceName, Weight};

/// Two steps of the app `shop` to green: 10 and 100 per cent, a minute each.
pub fn spec() -> ReleaseSpec {
    let step = |percent| ReleaseStep {
        percent: Percent::new(percent).expect("a percent"),
        bake: Duration::from_secs(60),
        min_connections: 0,
        max_wait: Duration::from_secs(60),
        gates: Vec::new(),
        point_of_no_return: false,
    };
    ReleaseSpec {
        app: AppName::parse("shop").expect("a label"),
        version: "2.0".to_owned(),
        reason: "test".to_owned(),
        to: Some(ColorName::parse("green").expect("a label")),
        members: BTreeMap::new(),
        order: ReleaseOrder::Lockstep,
        steps: vec![step(10), step(100)],
        guard: Guard { min_healthy: 1, min_capacity_permille: 0 },
        judgement: Judgement {
            enabled: false,
            on_fail: Reaction::Hold,
            on_inconclusive: Reaction::Hold,
            consecutive_failures_max: 10,
            failures_max_per_10000: None,
            first_byte_ratio_max_percent: 130,
            first_byte_floor: Duration::from_millis(20),
        },
        gates: BTreeMap::new(),
        on_confirmed: Vec::new(),
        on_rolled_back: Vec::new(),
        notify: Vec::new(),
        on_manual_edit: OnManualEdit::Hold,
        resume_after_restart: false,
        confirm_deadline: Duration::from_secs(86_400),
        on_confirm_deadline: Reaction::Hold,
        rollback_close_after: Duration::from_secs(5),
        undo_window: Duration::from_secs(86_400),
        activate_at: None,
    }
}

/// One that moves these services from blue, with weight 1, to green, in this phase.
pub fn release(services: &[&str], phase: Phase) -> Release {
    let color = |name: &str| ColorName::parse(name).expect("a label");
    let before =
        BTreeMap::from([(color("blue"), Weight::new(1).expect("a weight")), (color("green"), Weight::ZERO)]);
    let member = |name: &&str| Member {
        service: ServiceName::parse(name).expect("a label"),
        from: color("blue"),
        to: color("green"),
        before: before.clone(),
        weights: before.clone(),
        percent: Percent::NONE,
    };
    let actor = Actor { name: "alice".to_owned(), ..Actor::default() };
    Release {
        id: ReleaseId("shop-20270115-1".to_owned()),
        spec: spec(),
        members: services.iter().map(member).collect(),
        shared: Vec::new(),
        stages: Vec::new(),
        applied: 0,
        phase,
        since: 1_800_000_000,
        started: Cause { actor, at: 1_800_000_000, why: "test".to_owned() },
        ended: None,
        ending: None,
        entered: 1,
        epoch: 1,
        decided: String::new(),
    }
}
