//! A random app, a random specification, and the release that is planned from them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use teal::model::release::{
    Gate, GateCheck, Guard, OnManualEdit, Percent, Reaction, ReleaseOrder, ReleaseSpec, ReleaseStep,
};
use teal::model::{App, AppName, ColorName, Service, ServiceName, Weight, testing};
use teal::release::machine::PoolFacts;
use teal::release::plan::{World, plan};
use teal::state::overrides::{Actor, Cause};
use teal::state::release::Release;

use super::dice::Dice;

pub type Weights = BTreeMap<ColorName, Weight>;

/// Endpoints of every color.
pub const ENDPOINTS: u32 = 3;
/// When every release starts.
pub const START: u64 = 1_795_428_000;

pub fn color(name: &str) -> ColorName {
    ColorName::parse(name).expect("a label")
}

pub fn weight(number: u16) -> Weight {
    Weight::new(number.into()).expect("small enough")
}

fn reaction(dice: &mut Dice) -> Reaction {
    *dice.pick(&[Reaction::Hold, Reaction::Rollback])
}

fn steps(dice: &mut Dice) -> Vec<ReleaseStep> {
    let percents = dice.pick::<&[i64]>(&[&[100], &[0, 100], &[10, 100], &[0, 30, 100], &[5, 10, 50, 100]]);
    let mut steps: Vec<_> =
        percents.iter().map(|percent| ReleaseStep::at(Percent::new(*percent).expect("a percent"))).collect();
    for step in &mut steps {
        step.bake = Duration::from_secs(dice.below(4) * 60);
        step.max_wait = Duration::from_secs(dice.below(4) * 60);
        step.min_connections = dice.below(3) * 100;
        step.point_of_no_return = dice.chance(5);
        if dice.chance(25) {
            step.gates = vec!["smoke".to_owned()];
        }
    }
    steps
}

fn spec(dice: &mut Dice, app: AppName) -> ReleaseSpec {
    let mut spec = ReleaseSpec { to: Some(color("green")), ..ReleaseSpec::by_default(app) };
    spec.steps = steps(dice);
    spec.order =
        *dice.pick(&[ReleaseOrder::Lockstep, ReleaseOrder::BackendsFirst, ReleaseOrder::FrontendsFirst]);
    spec.on_manual_edit = *dice.pick(&[OnManualEdit::Hold, OnManualEdit::Adopt, OnManualEdit::Discard]);
    spec.resume_after_restart = dice.chance(40);
    spec.judgement.enabled = dice.chance(85);
    spec.judgement.on_fail = reaction(dice);
    spec.judgement.on_inconclusive = reaction(dice);
    spec.on_confirm_deadline = reaction(dice);
    spec.confirm_deadline = Duration::from_secs(600);
    spec.undo_window = Duration::from_secs(dice.below(3) * 300);
    spec.guard = Guard { min_healthy: 1, min_capacity_permille: *dice.pick(&[0, 500, 1000]) };
    spec.activate_at = dice.chance(20).then(|| START + dice.below(300));
    spec.on_confirmed = vec!["retire-old".to_owned()];
    spec.on_rolled_back = vec!["retire-new".to_owned()];
    let check = GateCheck::Exec { program: "smoke".to_owned() };
    let gate = Gate { name: "smoke".to_owned(), check, timeout: Duration::from_secs(60) };
    spec.gates.insert("smoke".to_owned(), gate);
    spec
}

fn services(dice: &mut Dice) -> Vec<Service> {
    let endpoints: Vec<SocketAddr> = (1..=3).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
    let names = ["api", "db", "web"];
    let count = 1 + dice.index(3);
    let service = |(index, name): (usize, &&str)| {
        let old = i64::from(*dice.pick(&[1_u16, 100, 250]));
        let mut colors =
            vec![testing::color("blue", old, &endpoints), testing::color("green", 0, &endpoints)];
        if dice.chance(20) {
            colors.push(testing::color("red", 0, &endpoints));
        }
        let mut service = testing::service(name, 80, colors);
        if index > 0 {
            service.depends_on = vec![ServiceName::parse(names[index - 1]).expect("a label")];
        }
        service
    };
    names.iter().take(count).enumerate().map(service).collect()
}

/// A release that has moved nothing yet.
pub fn release(dice: &mut Dice) -> Release {
    let services = services(dice);
    let app = AppName::parse("shop").expect("a label");
    let spec = spec(dice, app.clone());
    let pool = PoolFacts { working: ENDPOINTS, all: ENDPOINTS, ..PoolFacts::default() };
    let pools = services.iter().map(|service| {
        (service.name.clone(), service.colors.iter().map(|color| (color.name.clone(), pool)).collect())
    });
    let pools = pools.collect();
    let weights = services.iter().map(|service| {
        let weights = service.colors.iter().map(|color| (color.name.clone(), color.weight));
        (service.name.clone(), weights.collect())
    });
    let weights = weights.collect();
    let members = App {
        services: services.iter().map(|service| service.name.clone()).collect(),
        lanes: teal::model::LaneMode::Off,
    };
    let mut catalog = testing::catalog(services);
    catalog.apps.insert(app, members);
    let world = World { catalog: &catalog, weights: &weights, pools: &pools, kept: &[], frozen: None };
    let cause = Cause { actor: Actor::default(), at: START, why: "a simulation".to_owned() };
    plan(&spec, &world, &cause).expect("nothing is in the way").release
}
