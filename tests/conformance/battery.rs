//! A daemon with one of everything, its sockets, and the table of the cases.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

use teal::dns::{DropReason, Verdict};

use crate::cases::{Case, all, with_upstreams};
use crate::process::{DEADLINE, Place, Teal};
use crate::support::{Query, Reply};

/// A daemon with a service, own records, and names that fill any datagram.
pub struct Battery {
    pub place: Place,
    pub teal: Teal,
    pub server: SocketAddr,
}

impl Battery {
    pub fn start() -> Self {
        Self::start_with("upstreams = []")
    }

    /// With these keys of `[dns]` in place of `upstreams = []`.
    pub fn start_with(dns: &str) -> Self {
        let place = Place::new();
        let large: Vec<String> = (0..16).map(|n| format!("\"{n:02}{}\"", "x".repeat(100))).collect();
        let text = format!(
            "{}[services.servicea]\nvip = \"{}\"\nports = [{{ listen = 7080, name = \"http\" }}]\n\
             colors.blue = {{ weight = 1, endpoints = [\"127.0.0.1:9\"] }}\nhealth = {{ kind = \"none\" }}\n\
             [dns.records.\"printer.local\"]\na = [\"192.0.2.10\", \"192.0.2.11\"]\naaaa = [\"2001:db8::10\"]\n\
             [dns.records.\"large.local\"]\ntxt = [{}]\n\
             [dns.records]\n\"www.local\" = {{ cname = \"servicea.local\" }}\n\
             \"far.local\" = {{ cname = \"www.example.org\" }}\n\"dead.local\" = {{ cname = \"nobody.local\" }}\n",
            place.head().replacen("upstreams = []", dns, 1),
            place.address(10),
            large.join(", ")
        );
        place.rename(&text);
        let teal = place.start();
        let server = teal.status().dns.listen[0];
        Self { place, teal, server }
    }

    /// A line of [`Reply::line`] in the words of the cases: what differs from run to run has a name.
    fn plain(&self, line: &str) -> String {
        let vip = self.place.address(10);
        let reversed = Ipv4Addr::from(u32::from(vip).swap_bytes());
        let line = line.replace(&format!("{reversed}.in-addr"), "REVERSE").replace(&vip.to_string(), "VIP");
        let mut words: Vec<&str> = line.split(' ').collect();
        for at in 1..words.len() {
            if words[at - 1].starts_with("hostmaster.") {
                words[at] = "SERIAL";
            }
        }
        words.join(" ")
    }
}

/// A client's UDP socket at `ip`, which takes replies of the server alone.
pub fn udp_from(ip: IpAddr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(server).unwrap();
    socket
}

pub fn udp(server: SocketAddr) -> UdpSocket {
    udp_from([127, 0, 0, 1].into(), server)
}

pub fn ask_udp(socket: &UdpSocket, packet: &[u8]) -> Vec<u8> {
    socket.send(packet).unwrap();
    receive(socket)
}

pub fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut space = vec![0; 65536];
    let octets = socket.recv(&mut space).unwrap();
    space[..octets].to_vec()
}

pub fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat()
}

/// The next message; none at the end, however it ends.
pub fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it hangs"),
        Err(_) => return None,
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).expect("a message that has begun comes to its end");
    Some(message)
}

pub fn ask_tcp(stream: &mut TcpStream, packet: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(&framed(packet)).ok()?;
    read_message(stream)
}

/// A reply, of which nothing is known but its bytes.
pub fn parsed(bytes: Vec<u8>) -> Reply {
    Reply::parse(bytes, Verdict::Drop(DropReason::Short))
}

fn check(battery: &Battery, case: &Case, over: &str, query: &Query, reply: Vec<u8>) {
    let name = format!("RFC {} over {over}: {}", case.section, case.what);
    assert_eq!(reply[..2], query.bytes()[..2], "{name}: the ID");
    assert_eq!(reply[2] & 0x80, 0x80, "{name}: QR");
    assert_eq!(reply[2] & 0x78, query.bytes()[2] & 0x78, "{name}: the opcode");
    if reply[5] == 1 {
        assert_eq!(reply[12..12 + query.question.len()], query.question, "{name}: the question");
    }
    let octets = reply.len();
    let most = if over == "UDP" { case.octets_max } else { usize::from(u16::MAX) };
    assert!(octets <= most, "{name}: {octets} octets");
    let expected =
        if over == "UDP" { &case.expected } else { case.over_tcp.as_ref().unwrap_or(&case.expected) };
    let line = battery.plain(&parsed(reply).line());
    let holds = match expected.strip_suffix(" ...") {
        Some(begin) => line.starts_with(begin),
        None => line == *expected,
    };
    assert!(holds, "{name}\nexpected {expected}\nbut got  {line}");
}

#[test]
fn every_case_over_udp_and_tcp() {
    let battery = Battery::start();
    check_all(&battery, &all(battery.place.address(10)));
    battery.teal.stop();
}

#[test]
fn every_case_of_a_teal_with_upstreams_over_udp_and_tcp() {
    // Nobody is there: what is answered was not asked elsewhere.
    let battery = Battery::start_with("upstreams = [\"127.0.0.1:9\"]");
    check_all(&battery, &with_upstreams());
    let forwarded = battery.teal.metrics().lines().any(|line| line.contains("scope=\"forwarded\""));
    assert!(!forwarded, "something was asked elsewhere");
    battery.teal.stop();
}

fn check_all(battery: &Battery, cases: &[Case]) {
    let socket = udp(battery.server);
    let mut stream = crate::clients::connect(battery.server);
    for (id, case) in (1..).zip(cases) {
        let query = Query { id, ..case.query.clone() };
        check(battery, case, "UDP", &query, ask_udp(&socket, &query.bytes()));
        let reply = ask_tcp(&mut stream, &query.bytes()).expect("a reply over TCP");
        check(battery, case, "TCP", &query, reply);
    }
}

/// The cases as a table.
fn table() -> String {
    let mut text = String::from("| RFC | case |\n|---|---|\n");
    for case in all([127, 80, 0, 10].into()).iter().chain(&with_upstreams()) {
        writeln!(text, "| {} | {} |", case.section, case.what).unwrap();
    }
    text
}

#[test]
fn the_document_shows_every_case() {
    const MARKS: [&str; 2] = ["<!-- cases: begin -->\n", "<!-- cases: end -->"];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dns.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (shown, after) = rest.split_once(MARKS[1]).unwrap();
    if std::env::var_os("TEAL_BLESS").is_some() {
        fs::write(&path, [before, MARKS[0], &table(), MARKS[1], after].concat()).unwrap();
    } else {
        assert_eq!(shown, table(), "write it by TEAL_BLESS=1 cargo test --test conformance");
    }
}

#[test]
fn all_sections_of_rfc8906_8_have_a_case() {
    let cases = all([127, 80, 0, 10].into());
    let minor = ["1.1", "1.2", "1.3.1", "1.3.2", "1.3.3", "1.3.4", "1.4", "1.5"].map(str::to_owned);
    let edns = (1..=10).map(|number| format!("2.{number}"));
    for section in minor.into_iter().chain(edns) {
        let section = format!("8906 §8.{section}");
        assert!(cases.iter().any(|case| case.section == section), "{section}");
    }
}
