//! Releases whose engine is dead: what was applied stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use teal::model::testing::{catalog, color, service};
use teal::model::{App, AppName, ColorName, LaneMode, ServiceName, Weight};
use teal::release::engine::{Engine, Parts, Request, SpecText};
use teal::release::outside::Notifier;
use teal::state::requests::ChangeRequest;
use teal::state::{
    Actor, Base, Cause, DataPlane, First, Journaling, Live, Now, Order, Problems, Snapshot, SnapshotCell,
    StateDirectory, Wish, Writer,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

const SPEC: &str = "[release]\napp = \"shop\"\nto = \"green\"\nversion = \"2.0\"\n\
    [[release.steps]]\npercent = 10\nbake = \"1s\"\nmin_connections = 0\n\
    [[release.steps]]\npercent = 100\nbake = \"1h\"\n[release.judgement]\nenabled = false\n";

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

fn now() -> Now {
    Now { instant: Instant::now(), unix_seconds: 1_800_000_000 }
}

fn cause() -> Cause {
    let actor = Actor { name: "alice".to_owned(), ..Actor::default() };
    Cause { actor, at: 1_800_000_000, why: "test".to_owned() }
}

fn green(cell: &SnapshotCell, name: &str) -> u16 {
    cell.load().services[name].ports[0].colors[1].weight.get()
}

async fn writer(base: Base) -> Writer {
    let endpoint: [SocketAddr; 1] = [([127, 0, 0, 1], 9).into()];
    let both = || vec![color("blue", 100, &endpoint), color("green", 0, &endpoint)];
    let mut catalog = catalog(vec![service("a", 80, both()), service("b", 80, both())]);
    let app = App { services: vec![ServiceName::parse("a").unwrap()], lanes: LaneMode::Off };
    catalog.apps = BTreeMap::from([(AppName::parse("shop").unwrap(), app)]);
    let first = First::build(catalog, &base, now()).unwrap();
    Writer::start(first, base, Box::new(NoPlane)).await
}

/// The task of the one writer.
async fn write(mut writer: Writer, mut orders: mpsc::Receiver<ChangeRequest>) {
    while let Some(request) = orders.recv().await {
        if let ChangeRequest::Order(order, reply) = request {
            let _ = reply.send(writer.change(&order, now()).await);
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn promise_16_with_the_release_engine_dead_the_weights_applied_last_stay() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base {
        live: Arc::new(Live::default()),
        directory: Arc::new(StateDirectory::open(folder.path()).unwrap()),
        problems: Problems::default(),
        rotation: 0,
    };
    let live = Arc::clone(&base.live);
    let writer = writer(base).await;
    let cell = Arc::clone(writer.cell());
    let (changes, orders) = mpsc::channel(8);
    tokio::spawn(write(writer, orders));
    let (requests, wanted) = mpsc::channel(8);
    let engine = Engine::new(Parts {
        snapshot: Arc::clone(&cell),
        live,
        changes: changes.clone(),
        notifier: Arc::new(Notifier::default()),
        state: folder.path().to_owned(),
    });
    let stop = CancellationToken::new();
    let engine = tokio::spawn(engine.run(wanted, stop.clone()));
    let (reply, started) = oneshot::channel();
    let spec = SpecText { name: "release.toml".to_owned(), text: SPEC.to_owned() };
    requests.send(Request::Start(spec, cause(), reply)).await.unwrap();
    started.await.unwrap().unwrap();
    until("the first step", || green(&cell, "a") == 10).await;
    stop.cancel();
    engine.await.unwrap();
    let split = Arc::clone(&cell.load().services["a"].ports[0].split);
    let decided = (0..100).filter(|_| split.decide() == Some(1)).count();
    assert_eq!(decided, 10, "the split goes on, exactly");
    // Who asks is told at once, and everything else can be changed.
    let (reply, _) = oneshot::channel();
    assert!(requests.send(Request::Show(None, reply)).await.is_err());
    let colors = BTreeMap::from([(ColorName::parse("green").unwrap(), Weight::new(7).unwrap())]);
    let wishes = vec![Wish::Weights { service: ServiceName::parse("b").unwrap(), colors }];
    let (reply, changed) = oneshot::channel();
    let order = Order { wishes, release: None, cause: cause(), journaling: Journaling::Required };
    changes.send(ChangeRequest::Order(order, reply)).await.unwrap();
    changed.await.unwrap().unwrap();
    assert_eq!((green(&cell, "a"), green(&cell, "b")), (10, 7));
}
