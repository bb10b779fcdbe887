//! Promise 15: at a limit teal refuses and counts, and what is not limited goes on.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::clients::{Held, ask, backend, connect, is_reset};
use crate::process::{Place, Teal, service, service_with, until};

fn refused(teal: &Teal, color: &str, reason: &str) -> Option<u64> {
    let labels = format!("service=\"a\",port=\"7080\",color=\"{color}\",reason=\"{reason}\"");
    teal.metric(&format!("teal_connection_errors_total{{{labels}}}"))
}

#[test]
fn each_limit_of_a_service_refuses_with_its_reason_and_a_reload_lifts_it() {
    let (place, blue) = (Place::new(), backend("blue"));
    let with = |keys: &str| place.write("", &[service_with("a", keys, &[("blue", 1, blue)])]);
    with("");
    let teal = place.start();
    let vip = teal.vip("a");
    let _held = Held::new(vip, 4);
    for (keys, color, reason) in [
        ("max_connections = 1", "none", "limit_service"),
        ("max_connections_per_endpoint = 1", "blue", "limit_endpoint"),
    ] {
        // Who was there before the limit counts.
        with(keys);
        place.reload_ok();
        assert!(is_reset(vip), "{keys}");
        assert_eq!(refused(&teal, color, reason), Some(1));
    }
    with("max_connections_per_source = 1\naccept_rate = \"2/m\"");
    place.reload_ok();
    let second = Held::new(vip, 4);
    assert!(is_reset(vip));
    assert_eq!(refused(&teal, "none", "limit_source"), Some(1));
    drop(second);
    until("its place is free", || teal.color("a", "blue").open == 1);
    drop(Held::new(vip, 4));
    until("its place is free", || teal.color("a", "blue").open == 1);
    assert!(is_reset(vip));
    assert_eq!(refused(&teal, "none", "limit_rate"), Some(1));
    with("");
    place.reload_ok();
    assert_eq!(ask(vip), "blue");
}

#[test]
fn restricted_services_admit_their_callers_and_testers_only() {
    let (place, blue) = (Place::new(), backend("blue"));
    let caller = "127.0.77.2:9".parse().unwrap();
    let with = |keys: &str, depends_on: &str| {
        let services = [
            service_with("a", keys, &[("blue", 1, blue)]),
            service_with("b", depends_on, &[("blue", 1, caller)]),
        ];
        place.write("", &services);
    };
    let unchecked = "health = { kind = \"none\" }";
    with("", unchecked);
    let teal = place.start();
    let vip = teal.vip("a");
    assert_eq!(ask(vip), "blue");
    with("restrict_callers = true", &format!("depends_on = [\"a\"]\n{unchecked}"));
    place.reload_ok();
    assert!(is_reset(vip));
    assert_eq!(refused(&teal, "none", "not_a_caller"), Some(1));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.77.2:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.connect(&vip.into()).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(std::io::read_to_string(TcpStream::from(socket)).unwrap(), "blue");
    let preview = teal.color("a", "blue").preview;
    assert_eq!(ask((preview, vip.port()).into()), "blue");
}

/// The daemon with so many descriptors.
fn with_descriptors(place: &Place, count: u32) -> Command {
    let command = place.command();
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn promise_15_with_few_descriptors_names_and_control_have_theirs() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &[service("a", &[("blue", 1, blue)])]);
    let teal = place.start_with(with_descriptors(&place, 256));
    let vip = teal.vip("a");
    let max = teal.status().connections.max;
    assert!((20..128).contains(&max), "{max} connections with 256 descriptors");
    let _held: Vec<_> = (0..max).map(|_| Held::new(vip, 4)).collect();
    for _ in 0..20 {
        assert!(is_reset(vip));
    }
    assert_eq!(refused(&teal, "none", "limit"), Some(20));
    assert_eq!(teal.resolve("a.local."), [teal.service("a").vip]);
    assert!(place.teal(&["status"]).status.success());
    assert_eq!(teal.metric("teal_accept_errors_total{listener=\"proxy\",reason=\"resources\"}"), None);
}

/// Processor time that a process has used so far, in ticks of 10 ms (`proc_pid_stat(5)`).
fn ticks(teal: &Teal) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", teal.child.id())).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    [11, 12].iter().map(|index| fields[*index].parse::<u64>().unwrap()).sum()
}

#[test]
fn without_any_descriptor_accepting_pauses_and_goes_on_afterwards() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &[service("a", &[("blue", 1, blue)])]);
    let teal = place.start();
    let (vip, name) = (teal.vip("a"), teal.resolve("a.local."));
    let dns = teal.status().dns.listen[0];
    let held = Held::new(vip, 4);
    let pid = Pid::from_child(&teal.child);
    let all = getrlimit(Resource::Nofile);
    // Those that are open stay; there is no number left for another one.
    let none = Rlimit { current: Some(0), ..all };
    let before = prlimit(Some(pid), Resource::Nofile, none).unwrap();
    let waiting: Vec<TcpStream> = (0..20).map(|_| connect(vip)).collect();
    until("it says so", || teal.log_has("cannot accept a connection"));
    // A loop that spins takes all of a core in that time.
    let (begun, used) = (Instant::now(), ticks(&teal));
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(crate::clients::resolve(dns, "a.local."), name);
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = ticks(&teal) - used;
    assert!(used < 30, "{used} ticks of 10 ms in a second");
    assert!(teal.log().matches("cannot accept a connection").count() < 20);
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    for stream in waiting {
        assert_served(stream);
    }
    drop(held);
    assert!(teal.metric("teal_accept_errors_total{listener=\"proxy\",reason=\"resources\"}") > Some(0));
}

fn assert_served(mut stream: TcpStream) {
    let mut name = [0; 4];
    std::io::Read::read_exact(&mut stream, &mut name).unwrap();
    assert_eq!(&name, b"blue");
}

#[test]
fn source_ports_in_use_are_shown_by_endpoint() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &[service("a", &[("blue", 1, blue)]), service("b", &[("blue", 1, blue)])]);
    let teal = place.start();
    let _held = (Held::new(teal.vip("a"), 4), Held::new(teal.vip("b"), 4));
    let series = |name: &str| format!("teal_source_ports_{name}{{endpoint=\"{blue}\"}}");
    until("both are counted", || teal.metric(&series("used")) == Some(2));
    assert!(teal.metric(&series("limit")).is_some_and(|limit| limit > 2));
    assert_eq!(teal.problem(&format!("source ports {blue}")), None);
}
