//! One line for each connection of a service with `log_connections`, in the log that an operator reads.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::clients::{Held, ask, backend, connect, is_reset};
use crate::process::{PORT, Place, Teal, service, service_with, until};

fn logging(name: &str, more: &str, colors: &[(&str, u32, SocketAddr)]) -> String {
    service_with(name, &format!("log_connections = true\nhealth = {{ kind = \"none\" }}\n{more}"), colors)
}

fn start(place: &Place) -> Teal {
    let teal = place.spawn(place.command_with_json());
    until("teal answers", || place.teal(&["status"]).status.success());
    teal
}

/// The lines about connections of a service, in order.
fn lines(teal: &Teal, service: &str) -> Vec<Value> {
    let log = teal.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "teal::connection" && line["service"] == service).collect()
}

/// Waits for exactly one line.
fn line(teal: &Teal, service: &str) -> Value {
    until("the line is written", || !lines(teal, service).is_empty());
    let mut lines = lines(teal, service);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}

fn end(line: &Value) -> (&str, &str) {
    (line["ended_by"].as_str().unwrap(), line["ended_how"].as_str().unwrap())
}

/// A port that nobody listens at, and that nobody else takes meanwhile.
fn down() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

#[test]
fn a_served_connection_has_a_line_with_everything_about_it() {
    let (place, blue, (dead, _hold)) = (Place::new(), backend("blue"), down());
    let mut config = logging("a", "", &[("blue", 1, blue)]);
    config = config.replace("endpoints = [", &format!("endpoints = [\"{dead}\", "));
    place.write("", &[config, service("quiet", &[("blue", 1, blue)])]);
    let teal = start(&place);
    let client = connect(teal.vip("a"));
    let source = client.local_addr().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(std::io::read_to_string(&client).unwrap(), "blue");
    assert_eq!(ask(teal.vip("quiet")), "blue");
    let line = line(&teal, "a");
    for (field, value) in [
        ("level", json!("INFO")),
        ("message", json!("connection")),
        ("port", json!(7080)),
        ("color", json!("blue")),
        ("endpoint", json!(blue.to_string())),
        ("source", json!(source.to_string())),
        ("why", json!("weight")),
        ("tries", json!(2)),
        ("bytes_in", json!(0)),
        ("bytes_out", json!(4)),
    ] {
        assert_eq!(line[field], value, "{field} in {line:#}");
    }
    let [connect, first_byte, duration] =
        ["connect_ms", "first_byte_ms", "duration_ms"].map(|field| line[field].as_f64().unwrap());
    assert!(connect > 0.0 && connect + first_byte <= duration + 0.002, "{line:#}");
    assert_eq!(end(&line), ("client", "fin"));
    assert!(lines(&teal, "quiet").is_empty(), "it did not ask for lines");
    assert_eq!(teal.metric("teal_connection_log_dropped_total"), None);
}

#[test]
fn each_way_to_come_to_a_color_has_its_word() {
    let (place, green, (dead, _hold)) = (Place::new(), backend("green"), down());
    let fallback = logging("fallback", "", &[("blue", 1, dead), ("green", 0, green)]).replace(
        "[services.fallback.colors.green]",
        "fallback = \"green\"\n[services.fallback.colors.green]",
    );
    place.write(
        "",
        &[
            logging("spill", "", &[("blue", 1000, dead), ("green", 1, green)]),
            fallback,
            logging("preview", "", &[("blue", 1, dead), ("green", 0, green)]),
        ],
    );
    let teal = start(&place);
    for name in ["spill", "fallback"] {
        assert_eq!(ask(teal.vip(name)), "green");
    }
    let preview = teal.resolve("green.preview.local.")[0];
    assert_eq!(ask(SocketAddr::from((preview, 7080))), "green");
    for why in ["spill", "fallback", "preview"] {
        let line = line(&teal, why);
        assert_eq!((&line["why"], &line["color"]), (&json!(why), &json!("green")), "{line:#}");
    }
}

#[test]
fn who_is_refused_has_a_line_without_what_never_was() {
    let (place, blue, (dead, _hold)) = (Place::new(), backend("blue"), down());
    place.write("", &[logging("down", "", &[("blue", 1, dead)]), logging("zero", "", &[("blue", 0, blue)])]);
    let teal = start(&place);
    for name in ["down", "zero"] {
        assert!(is_reset(teal.vip(name)));
    }
    let tried = line(&teal, "down");
    assert_eq!(end(&tried), ("backend", "refused"));
    assert_eq!((&tried["tries"], &tried["endpoint"]), (&json!(1), &json!(dead.to_string())));
    let undecided = line(&teal, "zero");
    assert_eq!(end(&undecided), ("teal", "no_weight"));
    assert_eq!(undecided["tries"], 0);
    for line in [&tried, &undecided] {
        for absent in ["connect_ms", "first_byte_ms"] {
            assert_eq!(line.get(absent), None, "{line:#}");
        }
    }
    assert_eq!(undecided.get("color"), None);
}

#[test]
fn every_end_names_who_and_how() {
    let (place, blue) = (Place::new(), backend("blue"));
    let speaker = TcpListener::bind("127.0.0.1:0").unwrap();
    place.write(
        "[shutdown]\ngrace = \"0s\"\n",
        &[
            logging("idle", "idle_timeout = \"1s\"", &[("blue", 1, blue)]),
            logging("age", "max_connection_age = \"1s\"", &[("blue", 1, blue)]),
            logging("rst", "", &[("blue", 1, blue)]),
            logging("backend", "", &[("blue", 1, speaker.local_addr().unwrap())]),
            logging("stop", "", &[("blue", 1, blue)]),
        ],
    );
    let mut teal = start(&place);
    let mut idle = Held::new(teal.vip("idle"), 4);
    let mut age = Held::new(teal.vip("age"), 4);
    let reset = connect(teal.vip("rst"));
    socket2::SockRef::from(&reset).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    let client = connect(teal.vip("backend"));
    drop(speaker.accept().unwrap());
    assert_eq!(std::io::read_to_string(&client).unwrap(), "");
    drop(client);
    let _held = Held::new(teal.vip("stop"), 4);
    idle.assert_cut();
    age.assert_cut();
    assert_eq!(end(&line(&teal, "idle")), ("teal", "idle"));
    assert_eq!(end(&line(&teal, "age")), ("teal", "age"));
    assert_eq!(line(&teal, "rst")["ended_by"], "client");
    assert_eq!(end(&line(&teal, "backend")), ("backend", "fin"));
    teal.terminate();
    assert_eq!(teal.wait().code(), Some(0));
    assert_eq!(end(&line(&teal, "stop")), ("teal", "shutdown"));
}

#[test]
fn the_line_names_the_client_of_the_proxy_header() {
    let (place, blue) = (Place::new(), backend("blue"));
    let address = format!("{}:7093", place.outside());
    let ports = format!("listen = {PORT}, expose = [\"{address}\"]");
    let a = logging("a", "proxy_protocol_from = [\"127.0.0.0/8\"]", &[("blue", 1, blue)]);
    place.write("", &[a.replace(&format!("listen = {PORT}"), &ports)]);
    let teal = start(&place);
    let mut client = connect(address.parse().unwrap());
    client.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(std::io::read_to_string(&client).unwrap(), "blue");
    let line = line(&teal, "a");
    assert_eq!((&line["source"], &line["bytes_in"]), (&json!("192.0.2.7:56324"), &json!(0)), "{line:#}");
}
