//! The gate that is a webhook.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use teal::model::release::GateCheck;
use teal::release::outside::{GateOutcome, Outside};

use crate::secrets::{SECRET, secret_file};
use crate::server::{Reply, Request, Server, nobody, status};
use crate::{asked, gate, within};

const LONG: Duration = Duration::from_secs(50);

async fn ask(url: &str, secret_file: Option<std::path::PathBuf>, limit: Duration) -> GateOutcome {
    let check = GateCheck::Webhook { url: url.to_owned(), secret_file };
    within(Outside::default().run_gate(&gate(check, limit), &asked(), "/".as_ref())).await
}

fn failed(outcome: GateOutcome) -> String {
    match outcome {
        GateOutcome::Failed(words) => words,
        other => panic!("{other:?}"),
    }
}

fn inconclusive(outcome: GateOutcome) -> String {
    match outcome {
        GateOutcome::Inconclusive(words) => words,
        other => panic!("{other:?}"),
    }
}

/// Checks a signature as a receiver does, without any code of teal.
pub fn verify(request: &Request) {
    let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("no {name}"));
    let timestamp: u64 = header("webhook-timestamp").parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp) <= 60, "signed at {timestamp}, received at {now}");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(header("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&request.body);
    let (version, signature) = header("webhook-signature").split_once(',').unwrap();
    assert_eq!(version, "v1");
    let signature = base64::engine::general_purpose::STANDARD.decode(signature).unwrap();
    mac.verify_slice(&signature).expect("the signature is wrong");
}

#[tokio::test]
async fn a_2xx_answer_passes_and_the_question_is_signed() {
    let server = Server::start(|_| status(204)).await;
    let (_folder, secret) = secret_file(SECRET, 0o600);
    let outcome = ask(&format!("{}/hooks/smoke?a=b", server.url), Some(secret), LONG).await;
    assert_eq!(outcome, GateOutcome::Passed);
    let requests = server.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(request.line, "POST /hooks/smoke?a=b HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    verify(request);
    let body = request.json();
    assert!(!body["host"].as_str().unwrap().is_empty());
    for (name, value) in [
        ("kind", json!("gate")),
        ("gate", json!("smoke")),
        ("release", json!("shop-20261123-1")),
        ("app", json!("shop")),
        ("version", json!("2.0")),
        ("step", json!(2)),
        ("percent", json!(10)),
    ] {
        assert_eq!(body[name], value, "{name}");
    }
    let second = json!({
        "service": "serviceb", "from": "blue", "to": "green", "preview": "green.serviceb.local",
    });
    assert_eq!(body["members"][1], second);
}

#[tokio::test]
async fn without_a_key_there_is_no_signature() {
    let server = Server::start(|_| status(200)).await;
    assert_eq!(ask(&server.url, None, LONG).await, GateOutcome::Passed);
    assert!(server.requests()[0].header("webhook-signature").is_none());
}

#[tokio::test]
async fn a_key_that_others_may_read_is_not_used() {
    let server = Server::start(|_| status(200)).await;
    let (_folder, secret) = secret_file(SECRET, 0o644);
    let words = inconclusive(ask(&server.url, Some(secret), LONG).await);
    assert!(words.contains("0644") && words.contains("chmod"), "{words}");
    assert!(server.requests().is_empty(), "it was asked without a signature");
}

#[tokio::test]
async fn a_5xx_answer_is_asked_again_with_the_same_id_and_a_new_signature() {
    let server = Server::start(|n| if n == 0 { status(500) } else { status(200) }).await;
    let (_folder, secret) = secret_file(SECRET, 0o600);
    assert_eq!(ask(&server.url, Some(secret), LONG).await, GateOutcome::Passed);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    requests.iter().for_each(verify);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[tokio::test]
async fn a_connection_that_breaks_is_asked_again() {
    let server = Server::start(|n| if n == 0 { Reply::Close } else { status(200) }).await;
    assert_eq!(ask(&server.url, None, LONG).await, GateOutcome::Passed);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_4xx_answer_fails_and_is_never_asked_again() {
    let server = Server::start(|_| Reply::Status(404, "no such hook\u{7}\n".to_owned())).await;
    let words = failed(ask(&format!("{}/secret-part", server.url), None, LONG).await);
    assert!(words.ends_with("answered 404 Not Found: no such hook"), "{words}");
    assert!(!words.contains("secret-part"), "{words}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_4xx_answer_counts_also_when_its_words_do_not_come() {
    let server = Server::start(|_| Reply::Dripping(403)).await;
    let words = failed(ask(&server.url, None, LONG).await);
    assert!(words.ends_with("answered 403 Forbidden: a word"), "{words}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(|_| status(200)).await;
    let target = other.url.clone();
    let server = Server::start(move |_| Reply::With(302, "location", target.clone())).await;
    let words = failed(ask(&server.url, None, LONG).await);
    assert!(words.contains("302") && words.contains("not followed"), "{words}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let server = Server::start(|_| Reply::Huge(200_000_000)).await;
    assert_eq!(ask(&server.url, None, LONG).await, GateOutcome::Passed);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_inconclusive_at_the_timeout() {
    let server = Server::start(|_| Reply::Hang).await;
    let started = Instant::now();
    let words = inconclusive(ask(&server.url, None, Duration::from_millis(400)).await);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(words.contains("no answer within 0.4 s"), "{words}");
}

#[tokio::test]
async fn nobody_there_is_inconclusive_after_several_tries() {
    let words = inconclusive(ask(&nobody().await, None, Duration::from_millis(1200)).await);
    assert!(words.contains("cannot connect: Connection refused") && words.contains("(2 tries)"), "{words}");
}

#[tokio::test]
async fn addresses_that_make_no_sense_are_said_to() {
    for (url, why) in [
        ("127.0.0.1:80/hook", "http://"),
        ("ftp://127.0.0.1/hook", "http://"),
        ("http://", "a host"),
        ("http://127.0.0.1/a b", "spaces"),
        ("http://user:word@127.0.0.1/", "password"),
        ("/hook", "http://"),
    ] {
        let words = inconclusive(ask(url, None, LONG).await);
        assert!(words.contains(why) && !words.contains("word@"), "{url}: {words}");
    }
}

#[tokio::test]
async fn https_never_sends_in_clear_text() {
    let server = Server::start(|_| status(200)).await;
    let url = server.url.replace("http://", "https://");
    let words = inconclusive(ask(&url, None, Duration::from_millis(900)).await);
    assert!(words.starts_with("https://"), "{words}");
    assert!(server.requests().is_empty());
}

/// What this process is asked by [`https_wants_a_certificate_that_the_host_trusts`], where it is another one.
const URL: &str = "TEAL_TEST_URL";

#[tokio::test]
async fn asks_over_https_what_another_test_says() {
    let Ok(url) = std::env::var(URL) else { return };
    println!("<{:?}>", ask(&url, None, Duration::from_secs(5)).await);
}

/// Which authorities a host trusts is part of a process' environment, so another process asks.
#[tokio::test]
async fn https_wants_a_certificate_that_the_host_trusts() {
    let server = Server::start_tls(|_| status(200)).await;
    let ask = async |authorities: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "webhook::asks_over_https_what_another_test_says", "--nocapture"]);
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR").env(URL, &server.url);
        let output = within(tokio::task::spawn_blocking(move || command.output())).await.unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/tls/cert.pem");
    let told = ask(own).await;
    assert!(told.contains("<Passed>"), "{told}");
    assert_eq!(server.requests().len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.pem");
    std::fs::write(&none, "").unwrap();
    let told = ask(none.to_str().unwrap()).await;
    assert!(told.contains("<Inconclusive") && told.contains("authorities"), "{told}");
    let other = folder.path().join("other.pem");
    std::fs::write(&other, include_str!("tls/other.pem")).unwrap();
    let told = ask(other.to_str().unwrap()).await;
    assert!(told.contains("<Inconclusive") && told.contains("certificate"), "{told}");
    assert_eq!(server.requests().len(), 1, "it was asked without trust");
}
