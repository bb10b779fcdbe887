//! Lanes and `restrict_callers`: over real connections from loopback addresses of their own, in this process.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod support;

use std::collections::HashSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use support::{
    Backend, Down, House, ask, ask_from, assert_refused, assert_refused_from, blue, connect, eventually,
    green, read_all,
};
use teal::model::testing::{catalog, service};
use teal::model::{
    AllowFrom, App, AppName, Catalog, Color, ColorName, HostNetworks, LaneMode, Service, ServiceName, Source,
};
use teal::state::release::{Phase, Release};
use teal::state::{ErrorReason, Sample, release_testing};

const B_BLUE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const B_GREEN: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 9);

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn at(ip: Ipv4Addr) -> [SocketAddr; 1] {
    [SocketAddr::new(ip.into(), 9)]
}

/// Service "b", which calls "a".
fn caller(blue_at: &[SocketAddr], green_at: &[SocketAddr]) -> Service {
    let mut b = service("b", 0, vec![blue(100, blue_at), green(0, green_at)]);
    b.depends_on = vec![name("a")];
    b
}

fn shop(lanes: LaneMode, services: Vec<Service>) -> Catalog {
    let mut catalog = catalog(services);
    let services = catalog.services.keys().cloned().collect();
    catalog.apps.insert(AppName::parse("shop").unwrap(), App { services, lanes });
    catalog
}

/// A release of "a" and "b" from blue to green.
fn release() -> Release {
    release_testing::release(&["a", "b"], Phase::Baking)
}

/// Service "a" of these colors and its caller, with a release of both.
fn house(lanes: LaneMode, colors: &[Color]) -> House {
    let a = service("a", 0, colors.to_vec());
    let house = House::with(shop(lanes, vec![a.clone(), caller(&at(B_BLUE), &at(B_GREEN))]));
    house.apply_release(shop(lanes, vec![a, caller(&at(B_BLUE), &at(B_GREEN))]), release());
    house
}

fn in_lane(house: &House, color: &str) -> u64 {
    house.color(color, |color| color.live.lane_connections().load(Ordering::Relaxed))
}

fn fallbacks(house: &House, color: &str) -> u64 {
    house.color(color, |color| color.live.lane_fallbacks().load(Ordering::Relaxed))
}

fn ambiguous(house: &House) -> u64 {
    house.snapshot.load().services["a"].ports[0].live.lane_ambiguous().load(Ordering::Relaxed)
}

#[test]
fn promise_1_at_ten_percent_each_side_calls_its_own_and_the_split_of_the_others_is_exact() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let house = house(LaneMode::Require, &[blue(90, &[old.address]), green(10, &[new.address])]);
    let vip = house.vip();
    let on_green = std::thread::scope(|scope| {
        scope.spawn(|| (0..300).for_each(|_| assert_eq!(ask_from(B_GREEN, vip), "green")));
        scope.spawn(|| (0..300).for_each(|_| assert_eq!(ask_from(B_BLUE, vip), "blue")));
        let others = scope.spawn(|| (0..400).filter(|_| ask_from(OTHER, vip) == "green").count());
        others.join().unwrap()
    });
    assert_eq!(on_green, 40);
    assert_eq!((house.decided("blue"), house.decided("green")), (360, 40));
    assert_eq!((in_lane(&house, "blue"), in_lane(&house, "green")), (300, 300));
    assert_eq!((house.served("blue"), house.served("green")), (660, 340));
    assert_eq!((house.violations(), ambiguous(&house)), (0, 0));
}

#[test]
fn promise_2_the_lane_to_a_color_of_weight_zero_ends_with_the_release() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let colors = [blue(100, &[old.address]), green(0, &[new.address])];
    let house = house(LaneMode::Prefer, &colors);
    assert_eq!(ask_from(B_GREEN, house.vip()), "green");
    let services = vec![service("a", 0, colors.to_vec()), caller(&at(B_BLUE), &at(B_GREEN))];
    house.apply_release(
        shop(LaneMode::Prefer, services),
        release_testing::release(&["a", "b"], Phase::Closed),
    );
    assert_eq!(ask_from(B_GREEN, house.vip()), "blue");
    assert_eq!((in_lane(&house, "green"), new.accepted(), house.violations()), (1, 1, 0));
}

#[test]
fn a_member_that_only_members_call_is_judged_by_what_comes_in_lanes() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let house = house(LaneMode::Require, &[blue(90, &[old.address]), green(10, &[new.address])]);
    (0..7).for_each(|_| assert_eq!(ask_from(B_GREEN, house.vip()), "green"));
    (0..5).for_each(|_| assert_eq!(ask(house.preview("green")), "green"));
    let sample = || {
        let snapshot = house.snapshot.load();
        Sample::take(&snapshot.services["a"], &ColorName::parse("green").unwrap(), Instant::now()).unwrap()
    };
    eventually("all have ended", || house.open("green") == 0 && sample().ended == 7);
    let seen = sample();
    assert_eq!((seen.tried, seen.served, seen.first_byte.total(), house.decided("green")), (7, 7, 7, 0));
}

#[test]
fn prefer_is_split_when_its_side_is_dead_and_require_is_refused() {
    let (old, dead) = (Backend::saying("blue"), Down::new());
    let colors = [blue(100, &[old.address]), green(0, &[dead.address])];
    let preferring = house(LaneMode::Prefer, &colors);
    for _ in 0..10 {
        assert_eq!(ask_from(B_GREEN, preferring.vip()), "blue");
    }
    assert_eq!((fallbacks(&preferring, "green"), preferring.decided("blue")), (10, 10));
    assert_eq!((in_lane(&preferring, "green"), preferring.violations()), (0, 0));
    let requiring = house(LaneMode::Require, &colors);
    for _ in 0..10 {
        assert_refused_from(B_GREEN, requiring.vip());
    }
    assert_eq!((requiring.errors("green", ErrorReason::Lane), requiring.decided("blue")), (10, 0));
    assert_eq!(ask_from(B_BLUE, requiring.vip()), "blue");
}

#[test]
fn an_address_that_changes_sides_or_leaves_does_so_with_the_reload() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let colors = [blue(100, &[old.address]), green(0, &[new.address])];
    let house = house(LaneMode::Require, &colors);
    let with_caller =
        |b: Service| house.apply_catalog(shop(LaneMode::Require, vec![service("a", 0, colors.to_vec()), b]));
    assert_eq!((ask_from(B_GREEN, house.vip()), in_lane(&house, "green")), ("green".to_owned(), 1));
    with_caller(caller(&at(B_GREEN), &at(B_BLUE)));
    assert_eq!((ask_from(B_GREEN, house.vip()), in_lane(&house, "blue")), ("blue".to_owned(), 1));
    assert_eq!((ask_from(B_BLUE, house.vip()), house.decided("blue")), ("green".to_owned(), 0));
    with_caller(caller(&at(B_BLUE), &at(OTHER)));
    assert_eq!((ask_from(B_GREEN, house.vip()), house.decided("blue")), ("blue".to_owned(), 1));
    // An address with two owners is nobody's.
    with_caller(caller(&at(B_GREEN), &[at(B_GREEN), at(OTHER)].concat()));
    assert_eq!((ask_from(B_GREEN, house.vip()), ambiguous(&house)), ("blue".to_owned(), 1));
    assert_eq!((ask_from(OTHER, house.vip()), house.decided("blue")), ("green".to_owned(), 2));
}

#[test]
fn an_address_of_this_host_is_anybody_s() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let house = house(LaneMode::Require, &[blue(100, &[old.address]), green(0, &[new.address])]);
    let own = HashSet::from([IpAddr::V4(B_GREEN)]);
    house.plane.shared().networks.store(Arc::new(HostNetworks { own, bridges: Vec::new() }));
    assert_eq!(ask_from(B_GREEN, house.vip()), "blue");
    // A process of the host that has the VIP itself as its source.
    let IpAddr::V4(vip) = house.vip().ip() else { unreachable!() };
    assert_eq!(ask_from(vip, house.vip()), "blue");
    assert_eq!((ambiguous(&house), in_lane(&house, "blue"), house.decided("blue")), (2, 0, 2));
}

#[test]
fn a_preview_is_a_preview_and_an_exposed_address_has_lanes_by_the_client_that_a_header_names() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let exposed = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let mut a = service("a", 0, vec![blue(100, &[old.address]), green(0, &[new.address])]);
    a.ports[0].expose = vec![exposed];
    a.policy.proxy_protocol_from = AllowFrom(vec![Source::Network("127.0.0.0/8".parse().unwrap())]);
    let both = || shop(LaneMode::Require, vec![a.clone(), caller(&at(B_BLUE), &at(B_GREEN))]);
    let house = House::with(both());
    house.apply_release(both(), release());
    assert_eq!(ask_from(B_GREEN, house.preview("blue")), "blue");
    assert_eq!(ask_from(B_BLUE, house.preview("green")), "green");
    let through_balancer = |client: Ipv4Addr| {
        let mut stream = connect(house.plane.bound()[&exposed]);
        stream.write_all(format!("PROXY TCP4 {client} 127.0.0.1 5 80\r\n").as_bytes()).unwrap();
        read_all(&mut stream)
    };
    assert_eq!(through_balancer(B_GREEN), "green");
    assert_eq!((through_balancer(OTHER), in_lane(&house, "green")), ("blue".to_owned(), 1));
}

/// An endpoint of "b" that asks "a" at its VIP and says both names.
fn asking(ip: Ipv4Addr, color: &'static str, vip: SocketAddr) -> Backend {
    Backend::at(ip, move |mut stream| {
        let answer = format!("{color} b over {} a", ask_from(ip, vip));
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

#[test]
fn a_preview_name_walks_the_whole_new_chain_before_any_user_does() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let house = house(LaneMode::Require, &[blue(100, &[old.address]), green(0, &[new.address])]);
    let (b_blue, b_green) = (asking(B_BLUE, "blue", house.vip()), asking(B_GREEN, "green", house.vip()));
    let a = service("a", 0, vec![blue(100, &[old.address]), green(0, &[new.address])]);
    house.apply_catalog(shop(LaneMode::Require, vec![a, caller(&[b_blue.address], &[b_green.address])]));
    let preview = |color: usize| house.bound_of("b", &|state| state.previews[color]);
    for _ in 0..50 {
        assert_eq!(ask(preview(1)), "green b over green a");
        assert_eq!(ask(preview(0)), "blue b over blue a");
        assert_eq!(ask(house.bound_of("b", &|state| state.vip)), "blue b over blue a");
    }
}

#[test]
fn restricted_services_refuse_whoever_does_not_depend_on_them() {
    let (old, new) = (Backend::saying("blue"), Backend::saying("green"));
    let exposed = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let mut a = service("a", 0, vec![blue(100, &[old.address]), green(0, &[new.address])]);
    a.restrict_callers = true;
    a.ports[0].expose = vec![exposed];
    let stranger = service("c", 0, vec![blue(1, &at(OTHER))]);
    let house = House::new(vec![a.clone(), caller(&at(B_BLUE), &at(B_GREEN)), stranger.clone()]);
    assert_eq!(ask_from(B_BLUE, house.vip()), "blue");
    assert_eq!(ask_from(B_GREEN, house.vip()), "blue", "any color of a caller may");
    assert_refused_from(OTHER, house.vip());
    assert_refused(house.vip());
    assert_eq!((house.early_errors(ErrorReason::NotCaller), house.decided("blue")), (2, 2));
    // Testers come by the preview names, others by what is exposed.
    assert_eq!(ask_from(OTHER, house.preview("green")), "green");
    assert_eq!(ask_from(OTHER, house.plane.bound()[&exposed]), "blue");
    // Who depends on it from now on may come from now on, and who leaves may not.
    let mut friend = stranger;
    friend.depends_on = vec![name("a")];
    house.apply(vec![a, caller(&at(B_BLUE), &at(B_BLUE)), friend]);
    assert_eq!(ask_from(OTHER, house.vip()), "blue");
    assert_refused_from(B_GREEN, house.vip());
}
