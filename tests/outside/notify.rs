//! Notifications: told in order, repeated, never in the way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use teal::model::release::{Notice, Notify};
use teal::release::outside::http::Patience;
use teal::release::outside::notify::PATIENCE;
use teal::release::outside::{Message, Notifier};
use tokio_util::sync::CancellationToken;

use crate::secrets::{SECRET, secret_file};
use crate::server::{Reply, Server, nobody, status};
use crate::webhook::verify;
use crate::{asked, within};

/// As patient as the daemon, in a shorter time.
const HASTY: Patience<'static> = Patience {
    total: Duration::from_secs(30),
    each: Duration::from_secs(10),
    pauses: &[Duration::from_millis(10)],
    tries: PATIENCE.tries,
};

fn whom(url: &str, on: &[Notice], secret_file: Option<PathBuf>) -> Notify {
    Notify { url: url.to_owned(), on: on.to_vec(), secret_file }
}

fn message(words: &str) -> Message {
    Message { notice: Notice::Hold, asked: asked(), words: words.to_owned() }
}

/// Runs the queue while `work` goes on.
async fn with<T>(notifier: &Arc<Notifier>, work: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    within(async {
        tokio::select! {
            () = notifier.run(stop.clone(), HASTY) => panic!("it ended by itself"),
            done = work => done,
        }
    })
    .await
}

#[tokio::test]
async fn a_message_is_signed_and_has_a_line_for_a_chat() {
    let server = Server::start(|_| status(200)).await;
    let (_folder, secret) = secret_file(SECRET, 0o600);
    let notifier = Arc::new(Notifier::default());
    notifier.notify(&whom(&server.url, &[], Some(secret)), &message("gate smoke did\nnot pass"));
    let requests = with(&notifier, server.after(1)).await;
    verify(&requests[0]);
    let body = requests[0].json();
    assert_eq!((&body["kind"], &body["notice"]), (&"notification".into(), &"hold".into()));
    assert_eq!(body["release"], "shop-20261123-1");
    let host = body["host"].as_str().unwrap();
    let text =
        format!("shop 2.0 on {host} holds at step 2 (10 %): gate smoke did not pass [shop-20261123-1]");
    assert_eq!(body["text"], text);
}

#[test]
fn before_the_first_shift_there_is_no_step_to_speak_of() {
    let mut message = message("");
    message.asked.step = 0;
    assert_eq!(message.text("web1"), "shop 2.0 on web1 holds before its first step [shop-20261123-1]");
}

#[tokio::test]
async fn only_what_somebody_wants_to_know_is_told() {
    let server = Server::start(|_| status(200)).await;
    let notifier = Arc::new(Notifier::default());
    notifier.notify(&whom(&server.url, &[Notice::Confirmed], None), &message("unwanted"));
    assert_eq!(notifier.waiting(), 0);
    notifier.notify(&whom(&server.url, &[Notice::Fail, Notice::Hold], None), &message("wanted"));
    assert_eq!(notifier.waiting(), 1);
    let requests = with(&notifier, server.after(1)).await;
    assert_eq!(requests[0].json()["reason"], "wanted");
}

#[tokio::test]
async fn messages_to_one_address_come_in_order_and_each_is_repeated_five_times_at_most() {
    let server = Server::start(|n| if n < 5 { status(503) } else { status(200) }).await;
    let notifier = Arc::new(Notifier::default());
    for words in ["first", "second", "third"] {
        notifier.notify(&whom(&server.url, &[], None), &message(words));
    }
    let requests = with(&notifier, server.after(7)).await;
    let told: Vec<_> = requests.iter().map(|request| request.json()["reason"].clone()).collect();
    assert_eq!(told, ["first", "first", "first", "first", "first", "second", "third"]);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let server = Server::start(|_| status(410)).await;
    let notifier = Arc::new(Notifier::default());
    notifier.notify(&whom(&server.url, &[], None), &message("first"));
    notifier.notify(&whom(&server.url, &[], None), &message("second"));
    let requests = with(&notifier, server.after(2)).await;
    assert_eq!(requests[1].json()["reason"], "second");
}

#[tokio::test]
async fn an_address_that_hangs_keeps_no_other_from_being_told() {
    let hanging = Server::start(|_| Reply::Hang).await;
    let server = Server::start(|_| status(200)).await;
    let notifier = Arc::new(Notifier::default());
    notifier.notify(&whom(&hanging.url, &[], None), &message("lost"));
    notifier.notify(&whom(&hanging.url, &[], None), &message("lost too"));
    notifier.notify(&whom(&nobody().await, &[], None), &message("nobody hears"));
    notifier.notify(&whom(&server.url, &[], None), &message("told"));
    let requests = with(&notifier, server.after(1)).await;
    assert_eq!(requests[0].json()["reason"], "told");
    assert!(hanging.requests().len() <= 1, "two at once to one address");
}

#[tokio::test]
async fn telling_never_waits_and_the_oldest_makes_room() {
    let server = Server::start(|_| status(200)).await;
    let notifier = Arc::new(Notifier::default());
    let started = Instant::now();
    for number in 0..300 {
        notifier.notify(&whom(&server.url, &[], None), &message(&number.to_string()));
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(notifier.waiting(), 256);
    let requests = with(&notifier, server.after(1)).await;
    assert_eq!(requests[0].json()["reason"], "44");
}

#[tokio::test]
async fn a_stop_ends_it_also_while_somebody_hangs() {
    let server = Server::start(|_| Reply::Hang).await;
    let notifier = Arc::new(Notifier::default());
    notifier.notify(&whom(&server.url, &[], None), &message("lost"));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (notifier, stop) = (Arc::clone(&notifier), stop.clone());
        async move { notifier.run(stop, PATIENCE).await }
    });
    server.after(1).await;
    stop.cancel();
    within(running).await.unwrap();
}

#[test]
fn the_daemon_tries_five_times_in_about_a_minute() {
    let pauses: Duration = PATIENCE.pauses.iter().sum();
    assert_eq!((PATIENCE.tries, PATIENCE.pauses.len()), (5, 4));
    assert!((50..=60).contains(&pauses.as_secs()));
}
