//! The original's labels, and what each means to teal: a route, a check, a number, or nothing, with the reason.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Report;
use super::compose::Declared;

const PORT_LABEL: &str = "aliyun.routing.port_";
/// How often the original asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// Containers of one service that make sense.
const SCALE_MAX: u32 = 4096;
/// Octets of a path that a check takes.
const PATH_OCTETS_MAX: usize = 1024;

/// Labels without a meaning here, by their beginnings, and why. The first that fits counts.
const IGNORED: &[(&str, &str)] = &[
    (
        "aliyun.probe.cmd",
        "a command inside the container cannot be run from the host; write a `health` check",
    ),
    (
        "aliyun.probe.initial_delay_seconds",
        "not needed: a new endpoint gets connections only after its first good check",
    ),
    ("aliyun.probe.", "unknown to this import"),
    ("aliyun.lb.port_", "a load balancer outside the host; use `expose`"),
    ("aliyun.rolling_updates", "teal starts no containers"),
    ("aliyun.latest_image", "teal starts no containers"),
    ("aliyun.auto_scaling", "teal starts no containers; `conf.d` is reloaded when endpoints come and go"),
    ("aliyun.logs", "teal keeps no logs of containers"),
    ("aliyun.log_store_", "teal keeps no logs of containers"),
    ("aliyun.addon", "an addition of the original's platform"),
    ("aliyun.custom_addon", "an addition of the original's platform"),
    ("aliyun.proxy.", "a proxy of its own, whose rules look into HTTP; only TCP_PORTS can be taken over"),
    ("aliyun.routing.", "unknown to this import"),
    ("aliyun.", "unknown to this import"),
];

/// A way to a service by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The first label of the name, in lower case.
    pub name: String,
    /// Where clients connect.
    pub listen: u16,
    /// Where the container listens.
    pub target: u16,
    /// How it was reached from outside the cluster, if it was.
    pub outside: Option<String>,
}

/// How the original asked whether a container works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where.
    pub port: u16,
    /// For HTTP.
    pub path: Option<String>,
    /// How long an answer may take.
    pub timeout: Option<Duration>,
    /// Between two checks; not less than the timeout.
    pub interval: Duration,
}

/// What the labels of a service say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// By `aliyun.routing.port_N`.
    pub routes: Vec<Route>,
    /// Ports by `aliyun.proxy.TCP_PORTS`.
    pub tcp_ports: Vec<u16>,
    /// Whether clients stayed with one container.
    pub is_sticky: bool,
    /// Whether the name may be shared with another service.
    pub may_coexist: bool,
    /// How many containers there are.
    pub scale: u32,
    /// The check.
    pub probe: Option<Probe>,
    /// Services that this one needs, by `aliyun.depends`.
    pub depends: Vec<String>,
}

/// Reads the labels of a service; what has no meaning here is reported.
pub fn read(service: &str, declared: &Declared, report: &mut Report) -> Labels {
    let mut labels = Labels { scale: scale(service, declared, report), ..Labels::default() };
    for (name, value) in &declared.labels {
        let value = value.trim();
        if let Some(port) = name.strip_prefix(PORT_LABEL) {
            routes(service, port, value, &mut labels.routes, report);
            continue;
        }
        match name.as_str() {
            "aliyun.scale" | "aliyun.probe.url" | "aliyun.probe.timeout_seconds" => {}
            "aliyun.routing.session_sticky" => labels.is_sticky = is_true(value),
            "aliyun.routing.coexist" => labels.may_coexist = is_true(value),
            "aliyun.depends" => labels.depends = list(value, ','),
            "aliyun.proxy.TCP_PORTS" => labels.tcp_ports = tcp_ports(service, value, report),
            "aliyun.global" if !is_true(value) => {}
            "aliyun.global" => report.ignored(
                service,
                name,
                "one container on each host: name each host's endpoint with --endpoint",
            ),
            _ => {
                let known = IGNORED.iter().find(|(beginning, _)| name.starts_with(beginning));
                report.ignored(service, name, known.map_or("no label of the original", |(_, why)| why));
            }
        }
    }
    labels.probe = probe(service, &declared.labels, report);
    labels
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

fn list(value: &str, mark: char) -> Vec<String> {
    value.split(mark).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn scale(service: &str, declared: &Declared, report: &mut Report) -> u32 {
    let Some(text) = declared.labels.get("aliyun.scale").or(declared.replicas.as_ref()) else { return 1 };
    if let Ok(scale @ 1..=SCALE_MAX) = text.trim().parse() {
        return scale;
    }
    report.error(format!(
        "{service}: {text:?} is no number of containers: write 1 to {SCALE_MAX} at `aliyun.scale`"
    ));
    1
}

fn tcp_ports(service: &str, value: &str, report: &mut Report) -> Vec<u16> {
    let mut ports = Vec::new();
    for item in list(value, ',') {
        match item.parse() {
            Ok(port @ 1..) => ports.push(port),
            _ => report.ignored(service, &format!("aliyun.proxy.TCP_PORTS {item:?}"), "no plain TCP port"),
        }
    }
    ports
}

/// `[http://]DOMAIN[:/PATH]` or `[http://]PREFIX[:/PATH]`, several with semicolons between.
fn routes(service: &str, port: &str, value: &str, routes: &mut Vec<Route>, report: &mut Report) {
    let label = format!("{PORT_LABEL}{port}");
    let Ok(target @ 1..) = port.parse() else {
        return report.error(format!("{service}: `{label}` does not end with a port of the container"));
    };
    let items = list(value, ';');
    if items.is_empty() {
        report.error(format!("{service}: `{label}` names nothing: write for example `servicea.local`"));
    }
    for item in items {
        let (scheme, rest) = item.split_once("://").unwrap_or(("http", &item));
        let listen = match scheme {
            "http" => 80,
            "https" => {
                report.warning(format!(
                    "{service}: `{label}`: TLS ended at the original's load balancer; teal passes it on to the container"
                ));
                443
            }
            _ => {
                report.error(format!(
                    "{service}: `{label}` has scheme {scheme:?}: `http` and `https` are known"
                ));
                continue;
            }
        };
        let (domain, path) = rest.split_once([':', '/']).unwrap_or((rest, ""));
        if !path.trim_matches('/').is_empty() {
            report.error(format!(
                "{service}: `{label}` routes {item:?} by its path, which only HTTP has: teal splits TCP connections. \
                 Give what is below the path a name of its own"
            ));
            continue;
        }
        let domain = domain.to_ascii_lowercase();
        match domain.split('.').collect::<Vec<_>>()[..] {
            [name, "local"] => routes.push(Route { name: name.to_owned(), listen, target, outside: None }),
            [.., "local"] => report.error(format!(
                "{service}: `{label}` names {domain:?}: a service's name is one label before `.local`"
            )),
            [name, ..] => {
                let name = name.to_owned();
                routes.push(Route { name, listen, target, outside: Some(domain) });
            }
            [] => {}
        }
    }
}

fn probe(service: &str, labels: &BTreeMap<String, String>, report: &mut Report) -> Option<Probe> {
    let timeout = labels.get("aliyun.probe.timeout_seconds").and_then(|text| {
        let seconds = text.trim().parse().ok().filter(|seconds| (1..=60).contains(seconds));
        if seconds.is_none() {
            report.ignored(service, "aliyun.probe.timeout_seconds", "no whole number of 1 to 60 seconds");
        }
        seconds.map(Duration::from_secs)
    });
    let url = labels.get("aliyun.probe.url")?.trim();
    let probe = parse_probe(url).map(|(port, path)| Probe {
        port,
        path,
        timeout,
        interval: timeout.unwrap_or_default().max(INTERVAL),
    });
    if probe.is_none() {
        let why = "`http://container:PORT/PATH` and `tcp://container:PORT` can be taken over; write a `health` check";
        report.ignored(service, "aliyun.probe.url", why);
    }
    probe
}

fn parse_probe(url: &str) -> Option<(u16, Option<String>)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let is_path = path.len() <= PATH_OCTETS_MAX && path.bytes().all(|byte| byte.is_ascii_graphic());
    if host != "container" || !is_path {
        return None;
    }
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0));
    match (scheme, port) {
        ("http", None) => Some((80, Some(path.to_owned()))),
        ("http", Some(port)) => Some((port?, Some(path.to_owned()))),
        ("tcp", Some(port)) => Some((port?, None)),
        _ => None,
    }
}
