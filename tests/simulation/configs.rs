//! Random services, and random changes of them.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use teal::model::testing::{catalog, color, service};
use teal::model::{
    ActiveCheck, Affinity, App, AppName, Balance, Catalog, CheckKind, Color, ColorName, Endpoint,
    EndpointWeight, HealthCheck, LaneMode, OnAllDown, OnColorDown, Outlier, Policy, Port, Service,
    ServiceName, Weight,
};
use teal::state::release::{Member, Phase, Release};
use teal::state::release_testing;

use crate::dice::Dice;

const APP: &str = "shop";
const COLORS: [&str; 5] = ["amber", "blue", "cyan", "green", "red"];
pub const PORTS: [u16; 2] = [80, 81];

/// A backend. One service has few, so that its colors often share one; the other, which calls it, has some more, so that
/// most are of one color. Two are of both.
fn backend(dice: &mut Dice, service: &str) -> IpAddr {
    let number = if service == "a" { 1 + dice.below(6) } else { 5 + dice.below(24) };
    IpAddr::from([10, 0, 0, u8::try_from(number).expect("small")])
}

/// Somebody who connects: mostly a backend of one of these services.
pub fn client<'s>(dice: &mut Dice, callers: impl Iterator<Item = &'s Service>) -> IpAddr {
    let colors: Vec<_> = callers.flat_map(|service| &service.colors).collect();
    if !colors.is_empty() && dice.chance(60) {
        let color = *dice.pick(&colors);
        return dice.pick(&color.endpoints).ip;
    }
    IpAddr::from([192, 0, 2, u8::try_from(dice.below(20)).expect("small")])
}

/// An app of these services with these lanes.
pub fn catalog_of(services: &[Service], lanes: LaneMode) -> Catalog {
    let mut catalog = catalog(services.to_vec());
    let services = catalog.services.keys().cloned().collect();
    catalog.apps.insert(AppName::parse(APP).expect("a name"), App { services, lanes });
    catalog
}

/// What the app says.
pub fn lane_mode(dice: &mut Dice) -> LaneMode {
    match dice.below(10) {
        0 => LaneMode::Off,
        1..7 => LaneMode::Prefer,
        _ => LaneMode::Require,
    }
}

/// A release of most services that have two colors, between any two of them.
pub fn release<'s>(dice: &mut Dice, services: impl Iterator<Item = &'s Service>) -> Release {
    let mut release = release_testing::release(&[], Phase::Baking);
    for service in services {
        let from = dice.pick(&service.colors).name.clone();
        let others: Vec<_> = service.colors.iter().filter(|color| color.name != from).collect();
        if !others.is_empty() && dice.chance(90) {
            let to = dice.pick(&others).name.clone();
            let [member] = &release_testing::release(&[service.name.as_str()], Phase::Baking).members[..]
            else {
                unreachable!()
            };
            release.members.push(Member { from, to, ..member.clone() });
        }
    }
    release
}

/// A weight: 0 often, round ones and small ones mostly.
pub fn weight(dice: &mut Dice) -> i64 {
    i64::from(match dice.below(100) {
        0..25 => 0,
        25..40 => 100,
        40..50 => 50,
        50..80 => dice.between(1, 9),
        80..98 => dice.between(1, 100),
        _ => dice.between(1, 1000),
    })
}

fn endpoints(dice: &mut Dice, service: &str) -> Vec<Endpoint> {
    let mut endpoints = Vec::<Endpoint>::new();
    for _ in 0..=dice.below(3) {
        let ip = backend(dice, service);
        if endpoints.iter().all(|endpoint| endpoint.ip != ip) {
            let weight = EndpointWeight::new(i64::from(dice.between(1, 3))).expect("a weight");
            endpoints.push(Endpoint { ip, port: None, weight });
        }
    }
    endpoints
}

fn random_color(dice: &mut Dice, service: &str, name: &str) -> Color {
    let weight = weight(dice);
    let mut color = color(name, weight, &[SocketAddr::from(([10, 0, 0, 1], 1))]);
    color.endpoints = endpoints(dice, service);
    color.max_connections = few(dice);
    color
}

/// A limit that is reached now and then; mostly none.
fn few(dice: &mut Dice) -> Option<NonZeroU32> {
    if dice.chance(8) { NonZeroU32::new(u32::from(dice.between(1, 3))) } else { None }
}

/// A service with some colors.
pub fn random_service(dice: &mut Dice, name: &str) -> Service {
    let names = (0..=dice.below(4)).map(|_| *dice.pick(&COLORS)).collect::<std::collections::BTreeSet<_>>();
    let colors = names.iter().map(|color| random_color(dice, name, color)).collect();
    let mut service = service(name, PORTS[0], colors);
    if dice.chance(40) {
        let port = Port { listen: PORTS[1], target: 10, name: None, expose: Vec::new() };
        service.ports.push(port);
    }
    service.policy = policy(dice);
    set_fallbacks(dice, &mut service);
    let (other, calls) = if name == "a" { ("b", 20) } else { ("a", 80) };
    if dice.chance(calls) {
        service.depends_on.push(ServiceName::parse(other).expect("a name"));
    }
    service
}

fn policy(dice: &mut Dice) -> Policy {
    let base = teal::model::testing::policy();
    Policy {
        retries: u32::from(dice.between(0, 4)),
        on_color_down: if dice.chance(75) { OnColorDown::Spill } else { OnColorDown::Reject },
        on_all_down: if dice.chance(60) { OnAllDown::Try } else { OnAllDown::Reject },
        balance: *dice.pick(&[Balance::RoundRobin, Balance::LeastConnections, Balance::SourceHash]),
        affinity: if dice.chance(15) { Affinity::SourceIp } else { Affinity::None },
        health: if dice.chance(80) { HealthCheck::Active(check(dice)) } else { HealthCheck::None },
        outlier: dice.chance(60).then(|| outlier(dice)),
        limits: teal::model::ConnectionLimits { endpoint: few(dice), ..base.limits },
        ..base
    }
}

fn check(dice: &mut Dice) -> Arc<ActiveCheck> {
    let (rise, fall) = (u32::from(dice.between(1, 3)), u32::from(dice.between(1, 3)));
    Arc::new(ActiveCheck { rise, fall, ..ActiveCheck::new(CheckKind::Tcp) })
}

fn outlier(dice: &mut Dice) -> Outlier {
    Outlier {
        consecutive_failures: u32::from(dice.between(1, 3)),
        ejection: Duration::from_secs(10),
        max_ejection: Duration::from_secs(25),
        max_ejected_percent: *dice.pick(&[0, 34, 50, 100]),
        // Bytes are not simulated.
        resets: false,
    }
}

fn set_fallbacks(dice: &mut Dice, service: &mut Service) {
    let names: Vec<ColorName> = service.colors.iter().map(|color| color.name.clone()).collect();
    for color in &mut service.colors {
        let other = dice.pick(&names);
        color.fallback = (dice.chance(30) && *other != color.name).then(|| other.clone());
    }
}

/// Changes something of a service, as somebody who edits its file would.
pub fn edit(dice: &mut Dice, service: &mut Service) {
    let index = dice.index(service.colors.len());
    match dice.below(12) {
        0..4 => service.colors[index].weight = Weight::new(weight(dice)).expect("a weight"),
        4..6 => service.colors[index].endpoints = endpoints(dice, service.name.as_str()),
        6 => service.colors[index].endpoints.reverse(),
        7 => set_fallbacks(dice, service),
        8 => service.policy = policy(dice),
        9 => service.policy.health = HealthCheck::Active(check(dice)),
        10 if service.colors.len() > 1 => {
            let gone = service.colors.remove(index).name;
            for color in &mut service.colors {
                color.fallback.take_if(|name| *name == gone);
            }
        }
        _ => {
            let name = *dice.pick(&COLORS);
            if service.colors.iter().all(|color| color.name.as_str() != name) {
                let color = random_color(dice, service.name.as_str(), name);
                service.colors.push(color);
                service.colors.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
    }
}
