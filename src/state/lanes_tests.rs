//! Whose connections have a lane, and who may call.

use std::net::SocketAddr;

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::model::{App, AppName};
use crate::state::release::{Phase, ReleaseId};
use crate::state::release_testing::release;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A service with one endpoint for each color.
fn two_colors(name: &str, blue: &str, green: &str, depends_on: &[&str]) -> Service {
    let at = |ip: &str| [SocketAddr::new(address(ip), 9)];
    let mut service = service(name, 80, vec![color("blue", 1, &at(blue)), color("green", 0, &at(green))]);
    service.depends_on = depends_on.iter().map(|name| ServiceName::parse(name).unwrap()).collect();
    service
}

fn app(mut catalog: Catalog, lanes: LaneMode) -> Catalog {
    let app = App { services: catalog.services.keys().cloned().collect(), lanes };
    catalog.apps.insert(AppName::parse("shop").unwrap(), app);
    catalog
}

/// Open releases of these members each, from blue to green.
fn releases(each: &[&[&str]]) -> Releases {
    let mut releases = Releases::default();
    for (number, members) in each.iter().enumerate() {
        releases.note(Release { id: ReleaseId(number.to_string()), ..release(members, Phase::Baking) });
    }
    releases
}

/// The color that `service` has for a source: "none", "ambiguous" or a name.
fn lane(catalog: &Catalog, releases: &Releases, service: &str, source: &str) -> String {
    let all = lanes(catalog, releases);
    match all.get(service).map_or(Lane::None, |lanes| lanes.lane(address(source))) {
        Lane::None => "none".to_owned(),
        Lane::Ambiguous => "ambiguous".to_owned(),
        Lane::Color(color) => color.to_string(),
    }
}

fn chain() -> Vec<Service> {
    vec![
        two_colors("a", "10.0.0.1", "10.0.0.2", &[]),
        two_colors("b", "10.0.1.1", "10.0.1.2", &["a"]),
        two_colors("c", "10.0.2.1", "10.0.2.2", &["b"]),
    ]
}

#[test]
fn each_side_calls_its_own_side_along_the_arrows_only() {
    let (shop, open) = (app(catalog(chain()), LaneMode::Prefer), releases(&[&["a", "b", "c"]]));
    assert_eq!(lane(&shop, &open, "a", "10.0.1.1"), "blue");
    assert_eq!(lane(&shop, &open, "a", "10.0.1.2"), "green");
    assert_eq!(lane(&shop, &open, "a", "::ffff:10.0.1.2"), "green");
    assert_eq!(lane(&shop, &open, "b", "10.0.2.2"), "green");
    // Not its caller, its callee, itself, a stranger.
    assert_eq!(lane(&shop, &open, "a", "10.0.2.2"), "none");
    assert_eq!(lane(&shop, &open, "b", "10.0.0.2"), "none");
    assert_eq!(lane(&shop, &open, "a", "10.0.0.2"), "none");
    assert_eq!(lane(&shop, &open, "a", "192.0.2.1"), "none");
}

#[test]
fn there_are_no_lanes_without_an_open_release_of_both_or_the_app_s_word() {
    let shop = app(catalog(chain()), LaneMode::Require);
    assert!(lanes(&shop, &Releases::default()).is_empty());
    assert_eq!(lane(&shop, &releases(&[&["a", "c"]]), "a", "10.0.1.2"), "none");
    // Members of two releases do not call each other in lanes.
    assert_eq!(lane(&shop, &releases(&[&["a"], &["b"]]), "a", "10.0.1.2"), "none");
    for phase in [Phase::Confirming, Phase::Confirmed, Phase::RolledBack, Phase::Closed] {
        let mut over = Releases::default();
        over.note(release(&["a", "b"], phase));
        assert!(lanes(&shop, &over).is_empty());
    }
    let off = app(catalog(chain()), LaneMode::Off);
    assert!(lanes(&off, &releases(&[&["a", "b"]])).is_empty());
}

#[test]
fn who_is_still_on_the_new_side_stays_there_while_it_is_rolled_back() {
    let shop = app(catalog(chain()), LaneMode::Require);
    let mut going_back = Releases::default();
    going_back.note(release(&["a", "b"], Phase::RollingBack));
    assert_eq!(lane(&shop, &going_back, "a", "10.0.1.2"), "green");
    assert_eq!(lane(&shop, &going_back, "a", "10.0.1.1"), "blue");
}

#[test]
fn an_address_of_several_services_or_colors_is_ambiguous() {
    let open = releases(&[&["a", "b"]]);
    let mut shared = chain();
    shared.push(two_colors("other", "10.0.1.2", "10.0.9.9", &[]));
    let shared = app(catalog(shared), LaneMode::Prefer);
    assert_eq!(lane(&shared, &open, "a", "10.0.1.2"), "ambiguous");
    assert_eq!(lane(&shared, &open, "a", "10.0.1.1"), "blue");
    let mut both = chain();
    both[1] = two_colors("b", "10.0.1.1", "10.0.1.1", &["a"]);
    assert_eq!(lane(&app(catalog(both), LaneMode::Prefer), &open, "a", "10.0.1.1"), "ambiguous");
    // Several ports of one address are one endpoint here.
    let mut ports = chain();
    ports[1].colors[1] = color(
        "green",
        0,
        &[SocketAddr::new(address("10.0.1.2"), 1), SocketAddr::new(address("10.0.1.2"), 2)],
    );
    assert_eq!(lane(&app(catalog(ports), LaneMode::Prefer), &open, "a", "10.0.1.2"), "green");
}

#[test]
fn a_third_color_has_no_lane() {
    let mut services = chain();
    services[1].colors.push(color("red", 1, &[SocketAddr::new(address("10.0.1.3"), 9)]));
    let shop = app(catalog(services), LaneMode::Prefer);
    assert_eq!(lane(&shop, &releases(&[&["a", "b"]]), "a", "10.0.1.3"), "none");
}

#[test]
fn restricted_services_admit_endpoints_of_those_that_depend_on_them() {
    let mut services = chain();
    services[0].restrict_callers = true;
    services[2].restrict_callers = true;
    let all = callers(&catalog(services));
    let inbound = |name: &str| Inbound { lanes: None, callers: all.get(name).cloned() };
    assert!(inbound("a").may_call(address("10.0.1.1")) && inbound("a").may_call(address("::ffff:10.0.1.2")));
    assert!(!inbound("a").may_call(address("10.0.2.1")) && !inbound("a").may_call(address("10.0.0.1")));
    assert!(inbound("b").may_call(address("192.0.2.1")), "it is not restricted");
    assert!(!inbound("c").may_call(address("10.0.1.1")), "nobody depends on it");
}
