//! Properties of the whole room: nothing panics, lowering keeps what was written, reports are bounded.

use proptest::prelude::*;

use super::*;
use crate::model::{MaxConnections, ServiceName};

const EXAMPLE: &str = include_str!("../../conf/teal.toml");

/// Loads and renders: what every text must survive.
fn survive(text: &str) -> Vec<Diagnostic> {
    let sources = Sources::single("t.toml", text);
    let found = match load(&sources) {
        Ok(loaded) => loaded.warnings,
        Err(rejected) => rejected.diagnostics,
    };
    render(&found, &sources, ReportStyle::Plain);
    render(&found, &sources, ReportStyle::Coloured);
    for finding in &found {
        assert!(!finding.one_line(&sources).contains('\n'));
    }
    found
}

fn service(text: &str) -> crate::model::Service {
    let loaded = load(&Sources::single("t.toml", text)).expect("valid");
    loaded.catalog.services.values().next().expect("a service").as_ref().clone()
}

proptest! {
    #[test]
    fn random_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn text_made_of_toml_never_panics(
        parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..40)
    ) {
        survive(&parts.concat());
    }

    #[test]
    fn a_truncated_file_never_panics(length in 0..EXAMPLE.len()) {
        if let Some(text) = EXAMPLE.get(..length) {
            survive(text);
        }
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0..EXAMPLE.len(), byte in any::<u8>(), removed in 0_usize..40) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = (at + removed).min(bytes.len());
        bytes.splice(at..end, [byte]);
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn an_integer_anywhere_never_panics(number in any::<i128>()) {
        let text = format!(
            "[dns]\nttl = {number}\n[limits]\nmax_connections = {number}\n[services.a]\n\
             ports = [{{ listen = {number} }}]\n\
             colors.b = {{ weight = {number}, endpoints = [\"10.0.0.1\"] }}\n"
        );
        survive(&text);
    }
}

const PARTS: [&str; 38] = [
    "[dns]\n",
    "[services.a]\n",
    "[[services.a]]\n",
    "[services.a.colors.blue]\n",
    "[[services.a.ports]]\n",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    " = ",
    ",",
    ".",
    "\n",
    "\r\n",
    "#",
    "a",
    "ports",
    "colors",
    "weight",
    "ttl",
    "listen",
    "10",
    "-1",
    "1e9",
    "0x",
    "inf",
    "true",
    "1979-05-27",
    "\"10.0.0.1\"",
    "\"30s\"",
    "ö",
    "\u{1b}[31m",
    "\u{0}",
    "\u{feff}",
    "services.a.b",
];

#[test]
fn colors_are_sorted_and_names_are_in_lower_case() {
    let service = service(
        "[services.Web]\nports = [{ listen = 80 }]\n\
         colors.BLUE = { weight = 3, endpoints = [\"10.0.0.2\"], fallback = \"GREEN\" }\n\
         colors.green = { weight = 1, endpoints = [\"10.0.0.1\"] }\n\
         colors.amber = { weight = 1, endpoints = [\"10.0.0.3\"] }\n",
    );
    assert_eq!(service.name.as_str(), "web");
    let names: Vec<_> = service.colors.iter().map(|color| color.name.as_str()).collect();
    assert_eq!(names, ["amber", "blue", "green"]);
    assert_eq!(service.colors[1].fallback, Some(service.colors[2].name.clone()));
}

#[test]
fn endpoints_take_the_port_of_the_service_unless_they_say_one() {
    let service = service(
        "[services.web]\nports = [{ listen = 80, target = 5000 }]\n\
         [services.web.colors.blue]\nweight = 1\n\
         endpoints = [\"10.0.0.1\", \"10.0.0.2:81\", \"fd00::1\", \"[fd00::2]:82\"]\n",
    );
    let addresses: Vec<_> = service.colors[0]
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address(&service.ports[0]).to_string())
        .collect();
    assert_eq!(addresses, ["10.0.0.1:5000", "10.0.0.2:81", "[fd00::1]:5000", "[fd00::2]:82"]);
}

#[test]
fn a_service_keeps_the_defaults_that_it_does_not_set() {
    let service = service(
        "[defaults]\nretries = 5\nidle_timeout = \"1h\"\nmax_connection_age = \"30d\"\nkeepalive = \"off\"\n\
         slow_start = \"1m\"\n[services.web]\nretries = 0\nidle_timeout = \"off\"\nhalf_close_timeout = \"90s\"\nports = [{ listen = 80 }]\n\
         colors.blue = { weight = 1, endpoints = [\"10.0.0.1\"] }\n",
    );
    let expected = crate::model::Policy {
        retries: 0,
        idle_timeout: None,
        half_close_timeout: Some(std::time::Duration::from_secs(90)),
        max_connection_age: Some(std::time::Duration::from_secs(30 * 86_400)),
        keepalive: None,
        slow_start: Some(std::time::Duration::from_secs(60)),
        ..default_policy()
    };
    assert_eq!(service.policy, expected);
}

#[test]
fn words_mean_what_they_say() {
    use crate::model::{Affinity, Balance};
    let policy = |keys: &str| {
        let text = format!(
            "[services.web]\n{keys}\nports = [{{ listen = 80 }}]\n\
             colors.blue = {{ weight = 1, endpoints = [\"10.0.0.1\"] }}\n"
        );
        service(&text).policy.clone()
    };
    for (word, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("source_hash", Balance::SourceHash),
    ] {
        assert_eq!(policy(&format!("balance = \"{word}\"")).balance, balance);
    }
    assert_eq!(policy("affinity = \"none\"").affinity, Affinity::None);
    assert_eq!(policy("affinity = \"source_ip\"").affinity, Affinity::SourceIp);
    assert_eq!(policy("retry_budget_percent = 0").retry_budget_percent, 0);
}

#[test]
fn listeners_may_leave_the_port_to_the_kernel_any_number_of_times() {
    let text = "[dns]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
                [limits]\nmax_connections = 7\n";
    let loaded = load(&Sources::single("t.toml", text)).expect("valid");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.catalog.settings.limits.max_connections, MaxConnections::Exactly(7));
}

#[test]
fn services_of_all_files_come_together() {
    let part = |name: &str| {
        format!(
            "[services.{name}]\nports = [{{ listen = 80 }}]\n\
             colors.blue = {{ weight = 1, endpoints = [\"10.0.0.1\"] }}\n"
        )
    };
    let files =
        [("teal.toml", part("a")), ("conf.d/b.toml", part("b") + "[apps.x]\nservices = [\"a\", \"b\"]\n")];
    let files = files.map(|(path, text)| SourceFile { path: path.into(), text });
    let catalog = load(&Sources { files: files.to_vec() }).expect("valid").catalog;
    let names: Vec<_> = catalog.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(catalog.apps.values().next().map(|app| app.services.len()), Some(2));
}

#[test]
fn a_flood_of_errors_is_cut_and_counted() {
    let lines: Vec<_> = (0..5000).map(|n| format!("key{n} = 1")).collect();
    let found = survive(&lines.join("\n"));
    assert_eq!(found.len(), 1001);
    assert_eq!(found[1000].title, "4000 more findings");
}

#[test]
fn a_finding_in_one_line_begins_with_its_place() {
    let sources = Sources::single("conf/teal.toml", "[dns]\nttl = 30\n");
    let rejected = load(&sources).expect_err("a number has no unit");
    let line = rejected.diagnostics[0].one_line(&sources);
    assert_eq!(line, "conf/teal.toml:2:7: error: `ttl` needs a unit");
}

/// The example with its commented keys as keys, and sections as sections.
fn example_in_full() -> String {
    let lines = EXAMPLE.lines().map(|line| {
        let inner = line.strip_prefix("# ").unwrap_or(line);
        let is_key = inner
            .split_once(" = ")
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        let is_header = inner.starts_with("[dns.") && inner.ends_with(']');
        if is_key || is_header { inner } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_file_shows_every_key_in_its_place() {
    let text = example_in_full();
    assert_eq!(survive(&text), []);
    let root: toml::Table = text.parse().expect("TOML");
    let service = &root["services"]["servicea"];
    let records = &root["dns"]["records"];
    let places: [(&keys::Schema, Vec<&toml::Value>); 17] = [
        (&keys::DNS, vec![&root["dns"]]),
        (&keys::CACHE, vec![&root["dns"]["cache"]]),
        (&keys::FORWARD, vec![&root["dns"]["forward"]["corp.example"]]),
        (&keys::RECORD, vec![&records["printer.local"], &records["www.local"]]),
        (&keys::VIP, vec![&root["vip"]]),
        (&keys::METRICS, vec![&root["metrics"]]),
        (&keys::ADMIN, vec![&root["admin"]]),
        (&keys::RELOAD, vec![&root["reload"]]),
        (&keys::LIMITS, vec![&root["limits"]]),
        (&keys::SHUTDOWN, vec![&root["shutdown"]]),
        (&keys::DEFAULTS, vec![&root["defaults"]]),
        (&keys::SERVICE, vec![service, &root["services"]["serviceb"], &root["defaults"]]),
        (&keys::HEALTH, vec![&root["defaults"]["health"], &service["health"]]),
        (&keys::OUTLIER, vec![&root["defaults"]["outlier"]]),
        (&keys::PORT, vec![&service["ports"][0], &root["services"]["serviceb"]["ports"][0]]),
        (&keys::COLOR, vec![&service["colors"]["green"]]),
        (&keys::APP, vec![&root["apps"]["shop"]]),
    ];
    for key in keys::ROOT.keys {
        assert!(root.contains_key(key.name), "[{}]", key.name);
    }
    for (schema, tables) in places {
        for key in schema.keys {
            assert!(
                tables.iter().any(|table| table.get(key.name).is_some()),
                "{} of {}",
                key.name,
                schema.name
            );
        }
    }
    let endpoint = &service["colors"]["blue"]["endpoints"][2];
    assert!(keys::ENDPOINT.keys.iter().all(|key| endpoint.get(key.name).is_some()));
}

#[test]
fn what_a_package_would_install_is_taken_without_a_warning() {
    let text = "[dns]\nlisten = [\"198.18.0.53:53\", \"127.0.0.1:53\", \"[::1]:53\"]\n\
                zones = [\"corp.internal\", \"local\"]\n\
                allow_from = [\"loopback\", \"private\", \"2001:db8::/32\"]\n\
                [vip]\npool = \"198.18.0.0/16\"\nallow_from = []\n[metrics]\nlisten = \"\"\n\
                [admin]\nsocket = \"/run/teal/admin.sock\"\n[reload]\nwatch = false\nsettle = \"250ms\"\n\
                [shutdown]\ngrace = \"0s\"\n[services.web]\nvip = \"198.18.0.1\"\n\
                ports = [{ listen = 80, expose = [\"0.0.0.0:8080\", \"[::]:8080\"] }, { listen = 443 }]\n\
                colors.blue = { weight = 1000, endpoints = [\"fd00::1\", \"127.0.0.1\"] }\n";
    let loaded = load(&Sources::single("t.toml", text)).expect("valid");
    assert_eq!(loaded.warnings, []);
    let settings = &loaded.catalog.settings;
    assert_eq!(settings.metrics.listen, None);
    assert_eq!(settings.reload.settle, Some(std::time::Duration::from_millis(250)));
    assert_eq!(settings.dns.zones[0].as_str(), "corp.internal");
    assert_eq!(settings.vip.pool.usable(), 65_534);
}
