//! Upstreams' answers that are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use teal::dns::forward::policy::BUDGET;
use teal::model::CacheSettings;

use crate::client::{ask, ask_over_tcp, outside, start_with, world};
use crate::support::{A, Query, World};
use crate::upstream::{Act, Seen, Upstream, record};

fn world_with_cache(upstream: &Upstream) -> World {
    let mut world = world(&[upstream.address]);
    world.catalog.settings.dns.cache = CacheSettings::by_default();
    world
}

/// An address for whatever is asked, good for so long.
fn address(seen: &Seen, ttl: u32) -> Vec<Act> {
    seen.answer().record(0, &record(&[0xc0, 12], A, ttl, &[192, 0, 2, 1])).into()
}

#[tokio::test]
async fn a_question_is_asked_once_whatever_its_case_and_transport() {
    let upstream = Upstream::start(|seen| address(seen, 300)).await;
    let server = start_with(&world_with_cache(&upstream));
    let first = ask(&server, &outside("www.example")).await;
    for again in [
        ask(&server, &outside("www.example")).await,
        ask(&server, &outside("WWW.eXample")).await,
        ask_over_tcp(&server, &outside("www.example")).await,
    ] {
        assert_eq!(again.line().to_lowercase(), first.line().to_lowercase());
    }
    assert_eq!(upstream.count(), 1);
    // DO asks for other records.
    let with_do = Query::new("www.example", A).additional(&crate::support::opt(1232, 0, 0x8000, &[]));
    ask(&server, &with_do).await;
    assert_eq!(upstream.count(), 2);
    server.stop().await;
}

#[tokio::test]
async fn without_recursion_nothing_is_told_of_what_others_have_asked() {
    let upstream = Upstream::start(|seen| address(seen, 300)).await;
    let server = start_with(&world_with_cache(&upstream));
    ask(&server, &outside("www.example")).await;
    let line = ask(&server, &outside("www.example").flags(0)).await.line();
    assert!(line.starts_with("Refused"), "{line}");
    server.stop().await;
}

#[tokio::test]
async fn flushing_makes_teal_ask_again() {
    let upstream = Upstream::start(|seen| address(seen, 300)).await;
    let server = start_with(&world_with_cache(&upstream));
    for name in ["www.example", "www.other"] {
        ask(&server, &outside(name)).await;
    }
    assert_eq!(server.dns.forwarder.flush(b"\x07example\0"), 1);
    for name in ["www.example", "www.other"] {
        ask(&server, &outside(name)).await;
    }
    assert_eq!(upstream.count(), 3);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_over_is_given_when_the_upstream_is_silent_and_then_at_once() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    let script = move |seen: &Seen| if silent.load(Ordering::SeqCst) { Vec::new() } else { address(seen, 1) };
    let upstream = Upstream::start(script).await;
    let server = start_with(&world_with_cache(&upstream));
    ask(&server, &outside("www.example")).await;
    is_silent.store(true, Ordering::SeqCst);
    // Until its second is over the answer is good.
    let stale = loop {
        let timed = ask(&server, &outside("www.example")).await;
        if upstream.count() > 1 {
            break timed;
        }
    };
    let line = stale.line();
    assert_eq!(line, "NoError rd ra | an www.example. 30 A 192.0.2.1 | opt v0 1232 15:[0, 3]");
    assert!(stale.took <= BUDGET + BUDGET / 10, "{:?}", stale.took);
    let asked = upstream.count();
    let again = ask(&server, &outside("www.example")).await;
    assert_eq!((again.line(), upstream.count()), (line, asked), "not asked again at once");
    server.stop().await;
}

#[tokio::test]
async fn failures_are_kept_for_moments() {
    let upstream = Upstream::start(|seen| seen.answer().rcode(2).into()).await;
    let server = start_with(&world_with_cache(&upstream));
    let first = ask(&server, &outside("www.example")).await;
    let asked = upstream.count();
    let again = ask(&server, &outside("www.example")).await;
    assert_eq!((again.line(), upstream.count()), (first.line(), asked));
    server.stop().await;
}
