//! The route of the pool and the networks of the host, against a real kernel.
//!
//! Each test runs itself again in a network namespace of its own, made by unshare(1): as root, or in a
//! user namespace. Where neither is allowed it says on standard error that it was skipped.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use teal::model::{HostNetworks, VipPool};
use teal::net::host;
use teal::net::ports::SourcePorts;
use teal::net::route::{Removal, RouteError, RouteState, ensure, remove};
use tokio_util::sync::CancellationToken;

const INSIDE: &str = "TEAL_TEST_INSIDE";
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a test runs.
enum Place {
    /// In a network namespace of its own.
    Inside,
    /// Where cargo started it: it has run itself again, or could not.
    Outside,
}

/// Runs the test of that name again inside, after `prepare`, a shell script.
fn enter(test: &str, prepare: &str) -> Place {
    if std::env::var_os(INSIDE).is_some() {
        return Place::Inside;
    }
    let ways: [&[&str]; 2] = [&["--net"], &["--net", "--user", "--map-root-user"]];
    let usable = |way: &&&[&str]| {
        Command::new("unshare").args(**way).args(["ip", "link"]).output().is_ok_and(|o| o.status.success())
    };
    let Some(way) = ways.iter().find(usable) else {
        // Not by a macro: its output would be swallowed.
        let why = "needs unshare(1) and ip(8), and to be root or to have user namespaces";
        std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).unwrap();
        return Place::Outside;
    };
    let output = run_inside(way, test, prepare);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "the test did not run inside: {said}");
    Place::Outside
}

fn run_inside(way: &[&str], test: &str, prepare: &str) -> Output {
    let script = format!("set -e; ip link set lo up; {prepare} exec \"$0\" --exact \"$1\" --nocapture");
    Command::new("unshare")
        .args(way)
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .output()
        .unwrap()
}

#[track_caller]
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn pool(text: &str) -> VipPool {
    VipPool(text.parse().unwrap())
}

#[test]
fn the_route_makes_the_pool_reachable_and_is_set_and_removed_once() {
    let test = "the_route_makes_the_pool_reachable_and_is_set_and_removed_once";
    let Place::Inside = enter(test, "") else { return };
    let vip = Ipv4Addr::new(198, 18, 7, 9);
    TcpListener::bind((vip, 0)).expect_err("no address of this host yet");
    assert_eq!(block_on(ensure(pool("198.18.0.0/16"))).unwrap(), RouteState::Added);
    let listener = TcpListener::bind((vip, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    assert_eq!(block_on(ensure(pool("198.18.0.0/16"))).unwrap(), RouteState::AlreadyThere);
    // Just what the command does, which is what the packaged unit runs.
    let ours = ip("route show table local 198.18.0.0/16");
    assert_eq!(block_on(remove(pool("198.18.0.0/16"))).unwrap(), Removal::Removed);
    assert_eq!(block_on(remove(pool("198.18.0.0/16"))).unwrap(), Removal::NotThere);
    ip("route add local 198.18.0.0/16 dev lo");
    assert_eq!(ours, ip("route show table local 198.18.0.0/16"));
    assert_eq!(block_on(ensure(pool("198.18.0.0/16"))).unwrap(), RouteState::AlreadyThere);
    assert_eq!(block_on(ensure(pool("127.80.0.0/16"))).unwrap(), RouteState::NotNeeded);
    assert_eq!(block_on(remove(pool("127.0.0.0/8"))).unwrap(), Removal::NotThere);
}

#[test]
fn a_pool_that_is_in_use_is_refused_and_nothing_changes() {
    let test = "a_pool_that_is_in_use_is_refused_and_nothing_changes";
    let prepare = "ip link add teal0 type veth peer name teal1; ip addr add 10.80.1.1/24 dev teal0; \
                   ip link set teal0 up; ip link set teal1 up; \
                   ip route add default via 10.80.1.2; ip route add unreachable 10.90.0.0/15;";
    let Place::Inside = enter(test, prepare) else { return };
    let before = ip("route show table all");
    for (taken, by) in [
        ("10.80.0.0/16", "the route 10.80.1.0/24 of device teal0"),
        ("10.80.1.128/25", "the route 10.80.1.0/24 of device teal0"),
        ("10.91.0.0/16", "the route 10.90.0.0/15"),
    ] {
        let refused = block_on(ensure(pool(taken))).unwrap_err();
        assert!(matches!(refused, RouteError::Overlap { .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(by) && text.contains("choose another"), "{text}");
    }
    assert_eq!(ip("route show table all"), before);
    ip("link set teal0 down");
    let refused = block_on(ensure(pool("10.80.0.0/16"))).unwrap_err().to_string();
    assert!(refused.contains("the address 10.80.1.1/24 of device teal0"), "{refused}");
    assert_eq!(block_on(ensure(pool("198.18.0.0/16"))).unwrap(), RouteState::Added);
}

#[test]
fn without_the_capability_the_error_says_what_to_do_unless_the_route_is_there() {
    let test = "without_the_capability_the_error_says_what_to_do_unless_the_route_is_there";
    let drop = "setpriv --bounding-set=-net_admin --inh-caps=-net_admin";
    let prepare =
        format!("ip route add local 198.19.0.0/16 dev lo; exec {drop} \"$0\" --exact \"$1\" --nocapture;");
    let Place::Inside = enter(test, &prepare) else { return };
    let refused = block_on(ensure(pool("198.18.0.0/16"))).unwrap_err();
    assert!(matches!(refused, RouteError::NotPermitted { .. }), "{refused}");
    let text = refused.to_string();
    for part in ["CAP_NET_ADMIN", "ip route add local 198.18.0.0/16 dev lo", "127.0.0.0/8"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(block_on(ensure(pool("198.19.0.0/16"))).unwrap(), RouteState::AlreadyThere);
    let refused = block_on(remove(pool("198.19.0.0/16"))).unwrap_err().to_string();
    assert!(refused.contains("ip route del local 198.19.0.0/16 dev lo"), "{refused}");
}

#[test]
fn bridges_are_followed_as_they_come_and_go() {
    let test = "bridges_are_followed_as_they_come_and_go";
    let Place::Inside = enter(test, "") else { return };
    let networks = Arc::new(ArcSwap::from_pointee(HostNetworks::default()));
    let stop = CancellationToken::new();
    let (followed, token) = (Arc::clone(&networks), stop.clone());
    let thread = std::thread::spawn(move || block_on(host::follow(followed, token)));
    let wait = |what: &str, holds: &dyn Fn(&HostNetworks) -> bool| {
        let begin = Instant::now();
        while !holds(&networks.load()) {
            assert!(begin.elapsed() < DEADLINE, "{what}: {:?}", networks.load());
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("{what}: seen after {:?}", begin.elapsed());
    };
    let subnet = |text: &str| -> IpNet { text.parse().unwrap() };
    wait("the first look", &|seen| seen.own.contains(&"127.0.0.1".parse().unwrap()));
    ip("link add br0 type bridge");
    ip("addr add 172.30.0.1/24 dev br0");
    wait("a bridge", &|seen| seen.bridges == [subnet("172.30.0.0/24")]);
    assert!(networks.load().own.contains(&"172.30.0.1".parse().unwrap()));
    ip("addr add fd00:30::1/64 dev br0 nodad");
    wait("its second subnet", &|seen| seen.bridges.contains(&subnet("fd00:30::/64")));
    ip("link add teal0 type veth peer name teal1");
    ip("addr add 172.31.0.1/24 dev teal0");
    wait("no bridge", &|seen| seen.own.contains(&"172.31.0.1".parse().unwrap()));
    assert_eq!(networks.load().bridges.len(), 2);
    ip("addr del 172.30.0.1/24 dev br0");
    wait("one subnet less", &|seen| seen.bridges == [subnet("fd00:30::/64")]);
    ip("link del br0");
    wait("no bridge is left", &|seen| seen.bridges.is_empty());
    assert!(!networks.load().own.contains(&"fd00:30::1".parse().unwrap()));
    stop.cancel();
    thread.join().unwrap();
}

#[test]
fn the_source_ports_are_those_of_the_kernel() {
    let prepare = "echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range; \
                   echo 40010-40019 >/proc/sys/net/ipv4/ip_local_reserved_ports; \
                   echo 0 >/proc/sys/net/ipv4/tcp_tw_reuse;";
    if let Place::Inside = enter("the_source_ports_are_those_of_the_kernel", prepare) {
        let ports = SourcePorts::read();
        assert_eq!((ports.count(), ports.contains(40_000), ports.contains(39_999)), (90, true, false));
        assert!(ports.keeps_waiting(Ipv4Addr::LOCALHOST.into()));
    }
}
