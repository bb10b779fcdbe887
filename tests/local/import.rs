//! `teal import-compose`. The three templates of the article that describes the original, its indentation restored, are
//! `first`, `frontend` and `backend`; `TEAL_BLESS=1` writes what is expected anew.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::{collection, sample};
use teal::cli::import::{Options, Report, import};
use teal::config::{self, Sources};
use teal::model::{Affinity, AppName, Catalog, CheckKind, HealthCheck, ServiceName};

use crate::teal;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/import")
}

fn template(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.yml"))).unwrap()
}

fn options() -> Options {
    Options { app: AppName::parse("shop").unwrap(), endpoints: [].into(), expose: [].into() }
}

fn imported(templates: &[&str]) -> (String, Report) {
    import(templates, &options()).unwrap_or_else(|report| panic!("{report:?}"))
}

fn catalog(text: &str) -> Catalog {
    config::load(&Sources::single("teal.toml", text)).unwrap().catalog
}

fn errors(templates: &[&str]) -> String {
    import(templates, &options()).unwrap_err().errors.join("\n")
}

/// Each color of each service with its weight and its number of endpoints.
fn colors(catalog: &Catalog) -> Vec<String> {
    let services = catalog.services.values();
    let colors = services.flat_map(|service| {
        service.colors.iter().map(|color| {
            format!("{}/{}={} ({})", service.name, color.name, color.weight.get(), color.endpoints.len())
        })
    });
    colors.collect()
}

#[test]
fn the_templates_of_the_article_give_what_is_expected() {
    let cases: [(&str, &[&str]); 4] = [
        ("first", &["first"]),
        ("first-frontend", &["first", "frontend"]),
        ("frontend-backend", &["frontend", "backend"]),
        ("forms", &["forms"]),
    ];
    let mut wrong = Vec::new();
    for (name, templates) in cases {
        let texts: Vec<_> = templates.iter().map(|name| template(name)).collect();
        let (text, report) = imported(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let told: Vec<_> = report.lines.iter().map(|line| format!("#! {line}\n")).collect();
        let found = told.concat() + &text;
        let path = folder().join(format!("{name}.expected"));
        if std::env::var_os("TEAL_BLESS").is_some() {
            fs::write(&path, &found).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push(format!("== {name} gives\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_front_end_release_of_the_article_changes_b_and_shares_a() {
    let (text, report) = imported(&[&template("first"), &template("frontend")]);
    let catalog = catalog(&text);
    assert_eq!(colors(&catalog), ["servicea/blue=100 (3)", "serviceb/blue=100 (2)", "serviceb/green=0 (2)"]);
    let b = &catalog.services["serviceb"];
    assert_eq!((b.ports[0].listen, b.ports[0].target), (80, 5001));
    assert_eq!(b.depends_on, [ServiceName::parse("servicea").unwrap()]);
    assert_eq!(catalog.apps["shop"].services.len(), 2);
    assert!(report.lines.iter().any(|line| line.contains("serviceB-v1, serviceB-v2")), "{report:?}");
}

#[test]
fn the_back_end_release_of_the_article_changes_a_and_shares_b_although_its_coexist_label_is_new() {
    let (text, _) = imported(&[&template("frontend"), &template("backend")]);
    assert_eq!(
        colors(&catalog(&text)),
        ["servicea/blue=100 (3)", "servicea/green=0 (3)", "serviceb/blue=100 (2)"]
    );
}

#[test]
fn both_releases_at_once_change_both() {
    let (text, _) = imported(&[&template("first"), &template("backend")]);
    assert_eq!(colors(&catalog(&text)).len(), 4);
}

#[test]
fn a_changed_service_of_the_same_name_is_refused() {
    let changed = template("first").replace("demo-service-b:1.0", "demo-service-b:1.1");
    let words = errors(&[&template("first"), &changed]);
    assert!(words.contains("serviceB-v1") && words.contains("must be renamed"), "{words}");
    assert!(words.contains("`image`") && words.contains("`serviceB-v2`"), "{words}");
}

#[test]
fn the_form_of_labels_and_environment_is_no_change() {
    let listed = template("first")
        .replace("    aliyun.scale: 2\n", "    - aliyun.scale=2\n")
        .replace("    aliyun.routing.port_5001: serviceb", "    - \"aliyun.routing.port_5001=serviceb\"")
        .replace("- 'dep_endpoint=http://servicea.local'", "dep_endpoint: http://servicea.local");
    let (text, _) = imported(&[&template("first"), &listed]);
    assert_eq!(colors(&catalog(&text)), ["servicea/blue=100 (3)", "serviceb/blue=100 (2)"]);
}

#[test]
fn all_forms_and_labels_are_understood_or_listed() {
    let (text, report) = imported(&[&template("forms")]);
    let catalog = catalog(&text);
    assert_eq!(
        colors(&catalog),
        ["cache/blue=100 (1)", "db/blue=100 (1)", "shop/blue=100 (2)", "web/blue=100 (2)"]
    );
    let (shop, web) = (&catalog.services["shop"], &catalog.services["web"]);
    assert_eq!((shop.ports[0].listen, web.ports[0].listen), (443, 80));
    assert_eq!(shop.colors[0].endpoints, web.colors[0].endpoints, "one service of the template, two names");
    assert_eq!(web.policy.affinity, Affinity::SourceIp);
    let HealthCheck::Active(check) = &web.policy.health else { panic!("{:?}", web.policy.health) };
    assert!(matches!(&check.kind, CheckKind::Http(http) if &*http.path == "/ping?deep=1"), "{check:?}");
    assert_eq!(web.depends_on, [ServiceName::parse("cache").unwrap()]);
    let told = report.lines.join("\n");
    for words in [
        "ignored: web: `aliyun.lb.port_8080`",
        "ignored: web: `com.example.owner`",
        "ignored: db-v3: `aliyun.probe.cmd`",
        "ignored: db-v3: `aliyun.rolling_updates`",
        "ignored: cache: `aliyun.global`",
        "warning: web: was sticky by cookie",
        "note: migrate: a job",
        "note: web: comes after the job migrate",
        "warning: web: `aliyun.routing.port_8080`: TLS",
    ] {
        assert!(told.contains(words), "{words} is missing in\n{told}");
    }
}

#[test]
fn what_needs_http_or_makes_no_sense_is_an_error_and_all_are_told_at_once() {
    let label = |label: &str| format!("a:\n  labels:\n    {label}\n");
    for (text, words) in [
        (label("aliyun.routing.port_80: shop.local:/cart"), "by its path"),
        (label("aliyun.routing.port_80: http://wp.sample.com/context"), "by its path"),
        (label("aliyun.routing.port_80: ws://a.local"), "scheme"),
        (label("aliyun.routing.port_80: a.b.local"), "one label"),
        (label("aliyun.routing.port_80: my_shop.local"), "only letters"),
        (label("aliyun.routing.port_x: a.local"), "port of the container"),
        (label("aliyun.routing.port_80: \"\""), "names nothing"),
        (label("aliyun.scale: many"), "no number of containers"),
        (label("aliyun.scale: 0"), "no number of containers"),
        ("a: b".to_owned(), "indentation"),
        ("[1, 2]".to_owned(), "map of services"),
        ("{}".to_owned(), "no services"),
        ("a: [".to_owned(), "the first template: line"),
        ("a: {}\na: {}".to_owned(), "duplicate mapping key: a\n"),
        ("a: {labels: 5}".to_owned(), "map or a list"),
    ] {
        let found = errors(&[&text]);
        assert!(found.contains(words), "{text}: {found}");
    }
    let two = "a:\n  labels:\n    aliyun.routing.port_80: a.local:/x\n    aliyun.scale: 0\n";
    assert_eq!(import(&[two], &options()).unwrap_err().errors.len(), 2);
}

#[test]
fn conflicts_of_names_and_ports_are_errors() {
    let ports = "a:\n  labels:\n    aliyun.routing.port_80: a.local\n    aliyun.routing.port_81: a.local\n";
    assert!(errors(&[ports]).contains("a name of its own"));
    let one = |name: &str| format!("{name}:\n  labels:\n    aliyun.routing.port_80: a.local\n");
    let three = [one("a-v1"), one("a-v2"), one("a-v3")].concat();
    assert!(errors(&[&three]).contains("a-v1, a-v2, a-v3 serve it"));
    let (text, report) = imported(&[&[one("a-v1"), one("a-v2")].concat()]);
    assert_eq!(colors(&catalog(&text)), ["a/blue=100 (1)", "a/green=100 (1)"]);
    assert!(report.lines.iter().any(|line| line.contains("equal shares")));
    let other_port = one("a-v2").replace("port_80", "port_90");
    let (text, _) = imported(&[&one("a-v1"), &other_port]);
    let endpoint = catalog(&text).services["a"].colors[1].endpoints[0].clone();
    assert_eq!(endpoint.port, Some(90));
}

#[test]
fn what_only_one_template_has_is_taken_over_and_told() {
    let one = |name: &str| format!("{name}-v1:\n  labels:\n    aliyun.routing.port_80: {name}.local\n");
    let (text, report) = imported(&[&one("a"), &one("b")]);
    assert_eq!(colors(&catalog(&text)), ["a/blue=100 (1)", "b/blue=100 (1)"]);
    assert!(
        report.lines.iter().any(|line| line.contains("a-v1: the new template neither has nor replaces it"))
    );
}

#[test]
fn addresses_are_given_or_stand_for_unknown_ones() {
    let mut options = options();
    options
        .endpoints
        .insert("serviceB-v1".into(), vec!["10.0.0.31".parse().unwrap(), "::1".parse().unwrap()]);
    options.expose.insert("serviceb".into(), "0.0.0.0:8080".parse().unwrap());
    let (text, _) = import(&[&template("first")], &options).unwrap();
    let catalog = catalog(&text);
    let addresses = |service: &str| {
        let endpoints = catalog.services[service].colors[0].endpoints.iter();
        endpoints.map(|endpoint| endpoint.ip.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(addresses("serviceb"), ["10.0.0.31", "::1"]);
    assert_eq!(addresses("servicea"), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(catalog.services["serviceb"].ports[0].expose, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(text.matches("placeholders").count(), 1, "{text}");

    options.endpoints.insert("nobody".into(), vec!["10.0.0.1".parse().unwrap()]);
    options.expose.insert("nobody".into(), "0.0.0.0:8081".parse().unwrap());
    let report = import(&[&template("first")], &options).unwrap_err();
    assert_eq!(report.errors.len(), 2, "{report:?}");

    let many = template("first").replace("aliyun.scale: 3", "aliyun.scale: 4000");
    assert!(errors(&[&many]).contains("--endpoint serviceA-v1"));
}

#[test]
fn text_of_a_template_never_becomes_configuration() {
    let evil = "\"a\\n[vip]\\npool = \\\"10.0.0.0/8\\\"\\n-v1\":\n  labels:\n    aliyun.routing.port_80: a.local\n    \
                aliyun.probe.url: 'http://container:80/\" }\n\n      [vip] #'\n";
    let (text, report) = imported(&[evil]);
    assert!(report.lines.iter().all(|line| !line.contains('\n')), "{report:?}");
    assert_eq!(catalog(&text).settings, config::default_settings());
}

/// Templates with some lines left out, doubled or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let templates = ["first", "frontend", "backend", "forms"].map(template);
    let lines: Vec<_> = templates.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    let other = prop_oneof![sample::select(lines), "[ a-z0-9:./;\\-\"'{}\\[\\]&*|]{0,40}"];
    let edits = collection::vec((any::<sample::Index>(), 0..3, other), 0..4);
    (sample::select(templates.to_vec()), edits).prop_map(|(text, edits)| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        for (index, edit, other) in edits {
            let at = index.index(lines.len());
            match edit {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, other),
                _ => lines[at] = other,
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #[test]
    fn whatever_a_template_says_is_refused_or_gives_a_valid_configuration(old in damaged(), new in damaged()) {
        for templates in [&[&*old][..], &[&*old, &*new]] {
            match import(templates, &options()) {
                Ok((text, _)) => prop_assert!(config::load(&Sources::single("teal.toml", text)).is_ok()),
                Err(report) => {
                    let words = report.errors.join("\n");
                    prop_assert!(!words.is_empty());
                    prop_assert!(!words.contains("no valid configuration"), "{words}");
                }
            }
        }
    }
}

#[test]
fn the_command_prints_the_configuration_and_tells_the_rest_on_the_standard_error() {
    let path = |name: &str| folder().join(name).display().to_string();
    let (old, new) = (path("first.yml"), path("frontend.yml"));
    let output = teal(&[
        "import-compose",
        &old,
        &new,
        "--app",
        "shop",
        "--endpoint",
        "serviceB-v2=10.0.0.41,10.0.0.42",
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("note: placeholder addresses for serviceA-v1, serviceB-v1"), "{told}");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("teal.toml");
    fs::write(&file, output.stdout).unwrap();
    let check = teal(&["check", file.to_str().unwrap()]);
    assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");

    let refused = teal(&["import-compose", &path("absent.yml")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
    assert_eq!(teal(&["import-compose", &old, "--endpoint", "serviceB-v1"]).status.code(), Some(2));
}
