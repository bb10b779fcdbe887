//! The gate that is a query.

use std::time::Duration;

use teal::model::release::{Bound, GateCheck, OnMissing};
use teal::release::outside::prometheus::{Limits, judge, parse, questions};
use teal::release::outside::{GateOutcome, Outside};

use crate::server::{Reply, Server, nobody};
use crate::{asked, gate, member, within};

const LONG: Duration = Duration::from_secs(50);
const ERRORS: &str = "errors{service=\"{{service}}\",color=\"{{color}}\"} / x{c=\"{{from}}\"}";

fn vector(values: &[&str]) -> String {
    let items: Vec<_> = values
        .iter()
        .map(|value| format!(r#"{{"metric":{{"zone":"a"}},"value":[1732373393.1,"{value}"]}}"#))
        .collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, items.join(","))
}

fn scalar(value: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{value}"]}}}}"#)
}

fn limits(min: Option<f64>, max: Option<f64>, on_missing: OnMissing) -> Limits {
    Limits { min, max, on_missing }
}

fn verdict(body: &str, limits: Limits) -> GateOutcome {
    judge(&parse(body.as_bytes()).unwrap(), limits)
}

async fn ask(url: &str, query: &str, on_missing: OnMissing) -> GateOutcome {
    let (url, query) = (url.to_owned(), query.to_owned());
    let check = GateCheck::Prometheus { url, query, min: None, max: Some(Bound(0.01)), on_missing };
    within(Outside::default().run_gate(&gate(check, LONG), &asked(), "/".as_ref())).await
}

#[test]
fn values_are_held_against_both_bounds() {
    let both = limits(Some(1.0), Some(2.0), OnMissing::Inconclusive);
    for (value, passes) in [("1", true), ("2", true), ("1.5", true), ("0.9", false), ("2.1", false)] {
        assert_eq!(verdict(&vector(&[value]), both) == GateOutcome::Passed, passes, "{value}");
        assert_eq!(verdict(&scalar(value), both) == GateOutcome::Passed, passes, "{value}");
    }
    assert!(matches!(verdict(&scalar("+Inf"), both), GateOutcome::Failed(_)));
    assert!(matches!(verdict(&scalar("-Inf"), both), GateOutcome::Failed(_)));
    let failed = verdict(&vector(&["1", "3"]), both);
    assert_eq!(failed, GateOutcome::Failed("{zone=\"a\"} 3 is above 2".to_owned()));
    let many = verdict(&vector(&["3", "3", "3", "3", "3"]), both);
    assert!(matches!(many, GateOutcome::Failed(words) if words.ends_with("and 2 more")));
}

#[test]
fn no_value_and_no_number_are_told_apart_and_on_missing_says_what_they_mean() {
    let bodies = [(vector(&[]), "no value"), (vector(&["1", "NaN"]), "NaN"), (scalar("NaN"), "NaN")];
    for (body, words) in &bodies {
        let outcome = |on_missing| verdict(body, limits(None, Some(2.0), on_missing));
        assert!(
            matches!(outcome(OnMissing::Inconclusive), GateOutcome::Inconclusive(w) if w.contains(words))
        );
        assert!(matches!(outcome(OnMissing::Fail), GateOutcome::Failed(w) if w.contains(words)));
        assert_eq!(outcome(OnMissing::Pass), GateOutcome::Passed);
    }
    // A value that is too large is no missing one, whatever is beside it.
    let mixed = verdict(&vector(&["NaN", "3"]), limits(None, Some(2.0), OnMissing::Pass));
    assert!(matches!(mixed, GateOutcome::Failed(_)), "{mixed:?}");
}

#[test]
fn answers_without_numbers_are_errors() {
    for (body, words) in [
        ("", "none of Prometheus"),
        ("{}", "none of Prometheus"),
        (r#"{"status":"success"}"#, "no data"),
        (r#"{"status":"error","errorType":"bad_data","error":"parse error\n"}"#, "bad_data: parse error"),
        (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "range"),
        (r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#, "text"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#, "histogram"),
        (r#"{"status":"success","data":{"resultType":"scalar","result":[1,"ten"]}}"#, "no number"),
    ] {
        let error = parse(body.as_bytes()).unwrap_err().0;
        assert!(error.contains(words), "{body}: {error}");
    }
}

#[test]
fn each_member_has_its_query_and_none_is_asked_twice() {
    let members = [member("servicea"), member("serviceb")];
    let asked = questions(ERRORS, &members);
    let queries: Vec<_> = asked.keys().map(String::as_str).collect();
    assert_eq!(
        queries,
        [
            "errors{service=\"servicea\",color=\"green\"} / x{c=\"blue\"}",
            "errors{service=\"serviceb\",color=\"green\"} / x{c=\"blue\"}",
        ]
    );
    assert_eq!(asked.values().collect::<Vec<_>>(), ["servicea", "serviceb"]);
    assert_eq!(questions("up == 0", &members).len(), 1);
}

#[tokio::test]
async fn the_server_is_asked_for_each_member_and_the_worst_counts() {
    let server = Server::start(|n| Reply::Status(200, vector(&[if n == 0 { "0" } else { "0.5" }]))).await;
    let outcome = ask(&format!("{}/prom/", server.url), ERRORS, OnMissing::Inconclusive).await;
    let GateOutcome::Failed(words) = outcome else { panic!("{outcome:?}") };
    assert!(words.ends_with("0.5 is above 0.01") && words.starts_with("service"), "{words}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let line =
        "GET /prom/api/v1/query?query=errors%7Bservice%3D%22serviceb%22%2Ccolor%3D%22green%22%7D%20%2F%20";
    assert!(requests.iter().any(|request| request.line.starts_with(line)), "{requests:?}");
}

#[tokio::test]
async fn an_error_is_inconclusive_whatever_missing_values_mean() {
    let refused = r#"{"status":"error","errorType":"bad_data","error":"unclosed brace"}"#;
    let server = Server::start(move |_| Reply::Status(400, refused.to_owned())).await;
    let outcome = ask(&server.url, "up", OnMissing::Pass).await;
    let GateOutcome::Inconclusive(words) = outcome else { panic!("{outcome:?}") };
    assert!(words.ends_with("the query is refused: bad_data: unclosed brace"), "{words}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn no_server_or_too_much_of_an_answer_is_inconclusive() {
    let server = Server::start(|_| Reply::Huge(5_000_000)).await;
    let outcome = ask(&server.url, "up", OnMissing::Pass).await;
    assert!(matches!(&outcome, GateOutcome::Inconclusive(words) if words.contains("longer")), "{outcome:?}");
    let check = GateCheck::Prometheus {
        url: nobody().await,
        query: "up".to_owned(),
        min: None,
        max: None,
        on_missing: OnMissing::Pass,
    };
    let gate = gate(check, Duration::from_millis(300));
    let outcome = within(Outside::default().run_gate(&gate, &asked(), "/".as_ref())).await;
    assert!(matches!(&outcome, GateOutcome::Inconclusive(words) if words.contains("refused")), "{outcome:?}");
}
