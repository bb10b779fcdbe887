//! Lanes of a release that the daemon itself runs.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::clients::backend;
use crate::process::{Teal, service_with, until};
use crate::releases::World;

const UNCHECKED: &str = "health = { kind = \"none\" }\n";
const B_BLUE: Ipv4Addr = Ipv4Addr::new(127, 0, 78, 1);
const B_GREEN: Ipv4Addr = Ipv4Addr::new(127, 0, 78, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 78, 9);

/// What a client with this address is told.
fn ask_from(source: Ipv4Addr, address: SocketAddr) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    std::io::read_to_string(TcpStream::from(socket)).unwrap()
}

fn all_from(source: Ipv4Addr, address: SocketAddr, color: &str) -> bool {
    (0..100).all(|_| ask_from(source, address) == color)
}

fn lane_connections(teal: &Teal, color: &str) -> Option<u64> {
    teal.metric(&format!("teal_lane_connections_total{{service=\"a\",port=\"7080\",color=\"{color}\"}}"))
}

#[test]
fn lanes_begin_with_a_release_and_end_with_its_rollback() {
    let (world, blue, green) = (World::new(), backend("blue"), backend("green"));
    let app = "[apps.shop]\nservices = [\"a\", \"b\"]\nlanes = \"require\"\n";
    let a = service_with("a", UNCHECKED, &[("blue", 1, blue), ("green", 0, green)]);
    let callers = [("blue", 1, (B_BLUE, 9).into()), ("green", 0, (B_GREEN, 9).into())];
    let b = service_with("b", &format!("depends_on = [\"a\"]\n{UNCHECKED}"), &callers);
    world.place.write(app, &[a, b]);
    let teal = world.place.start();
    let vip = teal.vip("a");
    assert!(all_from(B_GREEN, vip, "blue"), "no release is open");
    world.ok(&["start", &world.spec("rollback_close_after = \"0s\"", &[(10, "1h"), (100, "0s")])]);
    until("green has its tenth", || teal.color("a", "green").weight == 10);
    assert!(all_from(B_GREEN, vip, "green") && all_from(B_BLUE, vip, "blue"));
    let others = (0..100).filter(|_| ask_from(OTHER, vip) == "green").count();
    assert_eq!(others, 10);
    assert_eq!((lane_connections(&teal, "blue"), lane_connections(&teal, "green")), (Some(100), Some(100)));
    let lanes = teal.service("a").lanes.unwrap();
    assert_eq!((lanes.mode.as_str(), lanes.served, lanes.refused, lanes.ambiguous), ("require", 200, 0, 0));
    let shown = String::from_utf8(world.place.teal(&["status", "a"]).stdout).unwrap();
    assert!(shown.contains("a: lanes require, 200 kept, "), "{shown}");
    world.ok(&["rollback", "shop", "-m", "no"]);
    // Who is still on green has its lane until then.
    world.ok(&["wait", "shop", "--for", "rolled-back", "--timeout", "20s"]);
    assert!(all_from(B_GREEN, vip, "blue"), "its lane went with the release");
    assert_eq!(teal.service("a").lanes, None);
    assert_eq!(teal.metric("teal_weight_zero_violations_total"), Some(0));
}
