//! What is planned, and what is in its way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Obstacle, Plan, World, plan};
use crate::model::release::{Percent, ReleaseOrder, ReleaseSpec, ReleaseStep};
use crate::model::{App, AppName, Catalog, ColorName, ServiceName, Weight, testing};
use crate::release::machine::PoolFacts;
use crate::state::overrides::{Actor, Cause};
use crate::state::release::{Ending, HoldReason, Phase, Release};

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn color(name: &str) -> ColorName {
    ColorName::parse(name).unwrap()
}

/// An app `shop` of web, which calls api, which calls db; db has no green.
struct Stand {
    catalog: Catalog,
    weights: BTreeMap<ServiceName, BTreeMap<ColorName, Weight>>,
    pools: BTreeMap<ServiceName, BTreeMap<ColorName, PoolFacts>>,
    kept: Vec<Release>,
    frozen: Option<&'static str>,
    spec: ReleaseSpec,
}

impl Stand {
    fn new() -> Self {
        let at = |port: u16| std::net::SocketAddr::from(([10, 0, 0, 1], port));
        let colors = |names: &[&str]| {
            let color =
                |name: &&str| testing::color(name, if *name == "blue" { 100 } else { 0 }, &[at(1), at(2)]);
            names.iter().map(color).collect::<Vec<_>>()
        };
        let mut web = testing::service("web", 80, colors(&["blue", "green", "red"]));
        let mut api = testing::service("api", 80, colors(&["blue", "green"]));
        web.depends_on = vec![service("api"), service("web")];
        api.depends_on = vec![service("db")];
        let db = testing::service("db", 80, colors(&["blue"]));
        let pool = PoolFacts { working: 2, all: 2, ..PoolFacts::default() };
        let pools = [&web, &api, &db].map(|service| {
            (service.name.clone(), service.colors.iter().map(|color| (color.name.clone(), pool)).collect())
        });
        let mut catalog = testing::catalog(vec![web, api, db]);
        let shop = AppName::parse("shop").unwrap();
        let services = vec![service("web"), service("api"), service("db")];
        catalog.apps.insert(shop.clone(), App { services, lanes: crate::model::LaneMode::Off });
        let spec = ReleaseSpec { to: Some(color("green")), ..ReleaseSpec::by_default(shop) };
        let weights = BTreeMap::new();
        Self { catalog, weights, pools: pools.into(), kept: Vec::new(), frozen: None, spec }
    }

    fn plan(&self) -> Result<Plan, Vec<Obstacle>> {
        let Self { catalog, weights, pools, kept, frozen, spec } = self;
        let world = World { catalog, weights, pools, kept, frozen: *frozen };
        // 2026-11-23.
        plan(spec, &world, &Cause { actor: Actor::default(), at: 1_795_428_000, why: "a test".into() })
    }

    /// What is in the way, in words.
    fn obstacles(&self) -> Vec<String> {
        self.plan().unwrap_err().iter().map(ToString::to_string).collect()
    }

    fn weigh(&mut self, name: &str, weights: &[(&str, i64)]) {
        let weights = weights.iter().map(|(name, weight)| (color(name), Weight::new(*weight).unwrap()));
        self.weights.insert(service(name), weights.collect());
    }

    fn members(&mut self, members: &[(&str, &str)]) {
        self.spec.to = None;
        self.spec.members = members.iter().map(|(name, to)| (service(name), color(to))).collect();
    }
}

#[test]
fn members_are_the_services_that_have_the_color_and_the_others_are_shared() {
    let Plan { release, warnings, expected, longest, supersedes } = Stand::new().plan().unwrap();
    assert_eq!(release.id.0, "shop-20261123-1");
    let members: Vec<_> = release.members.iter().map(|member| member.service.as_str()).collect();
    assert_eq!((members, release.shared), (vec!["api", "web"], vec![service("db")]));
    assert!(
        release.members.iter().all(|member| member.from == color("blue") && member.weights == member.before)
    );
    assert_eq!(release.stages.len(), 3);
    assert_eq!((release.phase, release.applied), (Phase::Shifting, 0));
    assert_eq!((expected, longest), (Duration::from_secs(15 * 60), Duration::from_secs(105 * 60)));
    assert!(warnings.is_empty() && supersedes.is_empty(), "{warnings:?}");
}

#[test]
fn waves_follow_the_calls_among_members() {
    let mut stand = Stand::new();
    let waves = |stand: &Stand| {
        let stages = stand.plan().unwrap().release.stages;
        stages.iter().map(|stage| (stage.step, stage.services[0].to_string())).collect::<Vec<_>>()
    };
    stand.spec.steps.truncate(1);
    stand.spec.order = ReleaseOrder::BackendsFirst;
    assert_eq!(waves(&stand), [(0, "api".into()), (0, "web".into())]);
    stand.spec.order = ReleaseOrder::FrontendsFirst;
    assert_eq!(waves(&stand), [(0, "web".into()), (0, "api".into())]);
}

#[test]
fn a_circle_of_calls_refuses_ordered_releases_only() {
    let mut stand = Stand::new();
    let mut api = (*stand.catalog.services[&service("api")]).clone();
    api.depends_on = vec![service("web")];
    stand.catalog.services.insert(api.name.clone(), api.into());
    assert!(stand.plan().is_ok());
    stand.spec.order = ReleaseOrder::BackendsFirst;
    assert_eq!(
        stand.obstacles(),
        ["`depends_on` goes round in a circle (api -> web -> api): an ordered release needs an end, \
          use order = \"lockstep\""]
    );
}

#[test]
fn everything_in_the_way_is_said_at_once() {
    let mut stand = Stand::new();
    stand.frozen = Some("year's end");
    stand.members(&[("web", "gren"), ("api", "green"), ("db", "blue"), ("mail", "green")]);
    stand.pools.get_mut(&service("api")).unwrap().get_mut(&color("green")).unwrap().working = 0;
    assert_eq!(
        stand.obstacles(),
        [
            "shifts are frozen: year's end",
            "mail is no service of shop (services: api, db, web)",
            "green of api: 0 of 2 endpoints work, the first step needs 1",
            "blue of db has everything already",
            "web has no color gren (colors: blue, green, red)",
        ]
    );
}

#[test]
fn an_app_a_color_or_a_move_that_is_not_there_is_refused() {
    let mut stand = Stand::new();
    stand.spec.app = AppName::parse("shp").unwrap();
    assert_eq!(stand.obstacles(), ["there is no app shp (apps: shop)"]);
    let mut stand = Stand::new();
    stand.spec.to = Some(color("pink"));
    assert_eq!(stand.obstacles(), ["no service of shop has a color pink"]);
    stand.spec.to = Some(color("blue"));
    assert_eq!(
        stand.obstacles(),
        ["nothing to move: blue has everything already in every service of shop that has it"]
    );
}

#[test]
fn a_release_moves_from_one_color_to_another() {
    let mut stand = Stand::new();
    stand.weigh("web", &[("blue", 50), ("green", 0), ("red", 50)]);
    stand.weigh("api", &[("blue", 0), ("green", 0)]);
    assert_eq!(
        stand.obstacles(),
        [
            "no color of api has weight: give its old color some first",
            "web has weight on blue, red: a release moves from one color to another, set one of them to 0",
        ]
    );
}

#[test]
fn a_start_never_takes_back_what_the_new_color_has() {
    let mut stand = Stand::new();
    stand.weigh("web", &[("blue", 300), ("green", 100), ("red", 0)]);
    assert_eq!(
        stand.obstacles(),
        [
            "green of web has 25 % already, the first step would take it back to 10 %: set it to 0 or begin higher"
        ]
    );
    stand.spec.steps = vec![ReleaseStep::at(Percent::ALL)];
    let release = stand.plan().unwrap().release;
    assert_eq!(release.members[1].percent.get(), 25);
    stand.weigh("web", &[("blue", 0), ("green", 100), ("red", 0)]);
    let members = stand.plan().unwrap().release.members;
    assert_eq!(members.len(), 1, "web is there already");
}

/// The release that a stand plans, in another phase.
fn earlier(stand: &Stand, phase: Phase, ending: Option<Ending>) -> Release {
    let release = stand.plan().unwrap().release;
    Release { phase, ending, ended: ending.map(|_| 5), ..release }
}

#[test]
fn members_of_a_release_that_has_not_ended_are_refused() {
    let mut stand = Stand::new();
    stand.members(&[("api", "green")]);
    let holding =
        Phase::Holding { reason: HoldReason::Operator, note: String::new(), then: Box::new(Phase::Baking) };
    for (phase, ending, refused) in [
        (holding, None, true),
        (Phase::AwaitingConfirm, None, true),
        (Phase::Confirming, Some(Ending::Confirmed), true),
        (Phase::RollingBack, Some(Ending::RolledBack), true),
        (Phase::RolledBack, Some(Ending::RolledBack), true),
        (Phase::Closed, Some(Ending::RolledBack), false),
    ] {
        stand.kept.clear();
        stand.kept = vec![earlier(&stand, phase.clone(), ending)];
        assert_eq!(stand.plan().is_err(), refused, "{phase:?}");
    }
    stand.kept[0].phase = Phase::Baking;
    assert_eq!(stand.obstacles(), ["api is in shop-20261123-1 (baking): confirm it or roll it back"]);
    stand.members(&[("web", "green")]);
    assert_eq!(stand.plan().unwrap().release.id.0, "shop-20261123-2", "other members are free");
}

#[test]
fn a_version_is_not_released_twice_in_a_row_unless_it_was_taken_back() {
    let mut stand = Stand::new();
    stand.spec.version = "2.0".into();
    stand.kept = vec![earlier(&stand, Phase::Closed, Some(Ending::Confirmed))];
    assert_eq!(
        stand.obstacles(),
        ["version 2.0 of shop was confirmed last, by shop-20261123-1: name another version"]
    );
    for ending in [Ending::RolledBack, Ending::Undone] {
        stand.kept[0].ending = Some(ending);
        assert!(stand.plan().is_ok());
    }
    stand.kept[0].ending = Some(Ending::Confirmed);
    let mut newer = stand.kept[0].clone();
    newer.spec.version = "3.0".into();
    newer.ended = Some(6);
    stand.kept.push(newer);
    assert!(stand.plan().is_ok(), "back to a version that was in use before");
}

#[test]
fn a_start_ends_the_undo_window_of_earlier_releases_of_its_members() {
    let mut stand = Stand::new();
    stand.kept = vec![earlier(&stand, Phase::Confirmed, Some(Ending::Confirmed))];
    let plan = stand.plan().unwrap();
    assert_eq!(plan.supersedes, [stand.kept[0].id.clone()]);
    assert!(plan.warnings[0].contains("cannot be undone any more"), "{:?}", plan.warnings);
}

#[test]
fn what_will_be_in_the_way_later_is_warned_of() {
    let mut stand = Stand::new();
    stand.pools.get_mut(&service("api")).unwrap().get_mut(&color("green")).unwrap().working = 1;
    stand.spec.steps[2].point_of_no_return = true;
    stand.spec.activate_at = Some(7);
    let warnings = stand.plan().unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "green of api: 1 of 2 endpoints work, the step to 100 % will hold unless 2 do",
            "after the step to 100 % a rollback needs --force",
            "`activate_at` is over: the first shift comes at once",
        ]
    );
}
