//! Changes at run time through the writer, with a data plane that does nothing.

use std::net::SocketAddr;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::state::{Actor, Base, DataPlane, First, Live, Overrides, Problems, StateDirectory, Wish};

struct NoPlane;

impl DataPlane for NoPlane {
    fn prepare<'a>(&'a mut self, _: &'a Snapshot) -> BoxFuture<'a, Result<(), Vec<String>>> {
        async { Ok(()) }.boxed()
    }

    fn prepare_what_can_be<'a>(&'a mut self, _: &'a Snapshot) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn commit(&mut self, _: &Snapshot) {}

    fn is_incomplete(&self) -> bool {
        false
    }
}

pub(in crate::state) fn now() -> Now {
    Now { instant: Instant::now(), unix_seconds: 1_800_000_000 }
}

pub(in crate::state) fn base(folder: &std::path::Path) -> Base {
    Base {
        live: Arc::new(Live::default()),
        directory: Arc::new(StateDirectory::open(folder).unwrap()),
        problems: Problems::default(),
        rotation: 0,
    }
}

pub(in crate::state) async fn writer(base: Base, count: u16) -> Writer {
    let services = (0..count).map(|number| {
        let endpoint = [SocketAddr::from(([127, 0, 0, 1], 9))];
        service(&format!("s{number}"), 80, vec![color("blue", 1, &endpoint), color("green", 0, &endpoint)])
    });
    let first = First::build(catalog(services.collect()), &base, now()).unwrap();
    Writer::start(first, base, Box::new(NoPlane)).await
}

pub(in crate::state) fn order(services: &[&str], green: i64) -> Order {
    let wish = |name: &&str| Wish::Weights {
        service: ServiceName::parse(name).unwrap(),
        colors: BTreeMap::from([(ColorName::parse("green").unwrap(), Weight::new(green).unwrap())]),
    };
    let cause =
        Cause { actor: Actor { name: "alice".into(), ..Actor::default() }, at: 1, why: "test".into() };
    Order {
        wishes: services.iter().map(wish).collect(),
        release: None,
        cause,
        journaling: Journaling::Required,
    }
}

pub(in crate::state) fn green(snapshot: &Snapshot, service: &str) -> u16 {
    snapshot.services[service].ports[0].colors[1].weight.get()
}

#[tokio::test]
async fn promise_3_several_services_change_in_one_swap_and_the_others_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(base(folder.path()), 3).await;
    let before = writer.cell().load_full();
    writer.change(&order(&["s0", "s2"], 7), now()).await.unwrap();
    let after = writer.cell().load_full();
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!((green(&after, "s0"), green(&after, "s1"), green(&after, "s2")), (7, 0, 7));
    assert!(Arc::ptr_eq(&after.services["s1"], &before.services["s1"]));
    assert!(Arc::ptr_eq(&after.answers, &before.answers));
    // All or none.
    let refused = writer.change(&order(&["s0", "nobody"], 9), now()).await;
    assert!(matches!(refused, Err(ChangeError::Unknown(_))));
    assert_eq!(green(&writer.cell().load(), "s0"), 7);
}

/// Promise 12: the record that says `applied` is written after the swap, and the intent before it.
#[tokio::test]
async fn nothing_takes_effect_that_is_not_recorded_and_what_is_owed_is_recorded_later() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut writer = writer(base(&state), 1).await;
    std::fs::remove_dir_all(&state).unwrap();
    let mut order = order(&["s0"], 7);
    let refused = writer.change(&order, now()).await.unwrap_err();
    assert!(refused.to_string().contains("--emergency"), "{refused}");
    assert_eq!(green(&writer.cell().load(), "s0"), 0);
    assert_eq!(writer.overrides, Overrides::default());
    order.journaling = Journaling::Emergency;
    let outcome = writer.change(&order, now()).await.unwrap();
    assert!(outcome.unrecorded.is_some());
    assert_eq!(green(&writer.cell().load(), "s0"), 7);
    assert!(
        writer
            .base
            .problems
            .all()
            .iter()
            .any(|(subject, message)| subject == "journal" && message.contains("1 records wait"))
    );
    std::fs::create_dir(&state).unwrap();
    writer.tick(now()).await;
    assert_eq!(writer.journal.lock().unwrap().chain().overrides(), &writer.overrides);
    assert!(writer.base.problems.all().iter().all(|(subject, _)| subject != "journal"));
}

#[tokio::test]
async fn a_change_among_two_thousand_services_takes_a_few_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(base(folder.path()), 2000).await;
    let mut took = Vec::new();
    for round in 1..=5 {
        let begin = Instant::now();
        writer.change(&order(&["s7"], round), now()).await.unwrap();
        took.push(begin.elapsed());
    }
    took.sort();
    // A figure to read: machines are noisy, so it is no limit.
    println!("one change among 2,000 services: {took:?}");
}
