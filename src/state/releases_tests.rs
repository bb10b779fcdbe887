//! Releases through the writer and the journal.

use std::collections::BTreeMap;

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::model::{ColorName, Weight};
use crate::state::change::tests::{base, green, now, order, writer};
use crate::state::draining::DrainCause;
use crate::state::release_testing::release;
use crate::state::{ChangeError, FreezeOrder, Journaling, Order, Removal, Wish};

fn blue_green(blue: i64, green: i64) -> BTreeMap<ColorName, Weight> {
    let weight = |name: &str, weight| (ColorName::parse(name).unwrap(), Weight::new(weight).unwrap());
    BTreeMap::from([weight("blue", blue), weight("green", green)])
}

/// Weights of both services, and the release from then on.
fn shift(weights: (i64, i64), phase: Phase) -> Order {
    let wish = |service: &str| Wish::Weights {
        service: ServiceName::parse(service).unwrap(),
        colors: blue_green(weights.0, weights.1),
    };
    Order {
        wishes: vec![wish("s0"), wish("s1")],
        release: Some(Box::new(release(&["s0", "s1"], phase))),
        ..order(&[], 0)
    }
}

fn catalog_of(services: &[(&str, i64, i64)]) -> Catalog {
    let endpoint = [([127, 0, 0, 1], 9).into()];
    let service = |(name, blue, green): &(&str, i64, i64)| {
        service(name, 80, vec![color("blue", *blue, &endpoint), color("green", *green, &endpoint)])
    };
    Catalog { hash: "another".to_owned(), ..catalog(services.iter().map(service).collect()) }
}

#[tokio::test]
async fn promise_12_weights_and_release_are_kept_together() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut writer = writer(base(folder.path()), 3).await;
        writer.change(&shift((1, 0), Phase::Shifting), now()).await.unwrap();
        writer.change(&shift((90, 10), Phase::Baking), now()).await.unwrap();
        let snapshot = writer.cell().load_full();
        assert_eq!((green(&snapshot, "s0"), green(&snapshot, "s1"), green(&snapshot, "s2")), (10, 10, 0));
        assert_eq!(snapshot.releases.open().next().unwrap().phase, Phase::Baking);
        let held = Order { wishes: Vec::new(), ..shift((0, 0), Phase::AwaitingConfirm) };
        writer.change(&held, now()).await.unwrap();
    }
    let again = writer(base(folder.path()), 3).await;
    let snapshot = again.cell().load_full();
    assert_eq!((green(&snapshot, "s0"), green(&snapshot, "s1"), green(&snapshot, "s2")), (10, 10, 0));
    assert_eq!(snapshot.releases.open().next().unwrap().phase, Phase::AwaitingConfirm);
}

#[tokio::test]
async fn members_of_an_open_release_belong_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(base(folder.path()), 3).await;
    writer.change(&shift((90, 10), Phase::Baking), now()).await.unwrap();
    let refused = writer.change(&order(&["s0"], 7), now()).await.unwrap_err();
    assert!(refused.to_string().contains("shop-20270115-1"), "{refused}");
    assert!(matches!(refused, ChangeError::InRelease { .. }));
    writer.change(&order(&["s2"], 7), now()).await.unwrap();
    let emergency = Order { journaling: Journaling::Emergency, ..order(&["s0"], 7) };
    writer.change(&emergency, now()).await.unwrap();
    assert_eq!(green(&writer.cell().load(), "s0"), 7);
    writer.change(&shift((0, 1), Phase::Confirmed), now()).await.unwrap();
    writer.change(&order(&["s0"], 9), now()).await.unwrap();
}

#[tokio::test]
async fn a_reload_keeps_the_weights_of_members_and_takes_nothing_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(base(folder.path()), 3).await;
    writer.change(&shift((90, 10), Phase::Baking), now()).await.unwrap();
    let edited = catalog_of(&[("s0", 0, 5), ("s1", 1, 0), ("s2", 3, 4)]);
    writer.apply(edited, Removal::Guarded, now()).await.unwrap();
    let snapshot = writer.cell().load_full();
    assert_eq!(
        (green(&snapshot, "s0"), green(&snapshot, "s2")),
        (10, 4),
        "the rest of the file is in effect"
    );
    let set = snapshot.services["s0"].overrides.weights.as_ref().unwrap();
    assert!(set.is_outdated(Some(&snapshot.services["s0"].service)), "somebody has to decide");
    let torn = catalog_of(&[("s0", 1, 0), ("s2", 1, 0)]);
    let refused = writer.apply(torn, Removal::Allowed, now()).await.unwrap_err();
    assert!(refused.to_string().contains("s1, a member of the open release shop-20270115-1"), "{refused}");
}

#[tokio::test]
async fn a_confirmed_baseline_outlives_resets_and_ends_when_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(base(folder.path()), 2).await;
    let all = |wish: fn(ServiceName) -> Wish, phase| Order {
        wishes: ["s0", "s1"].map(|name| wish(ServiceName::parse(name).unwrap())).into(),
        ..shift((0, 0), phase)
    };
    writer.change(&shift((0, 100), Phase::AwaitingConfirm), now()).await.unwrap();
    let baseline = |service| Wish::Baseline { service, weights: blue_green(0, 100) };
    writer.change(&all(baseline, Phase::Confirming), now()).await.unwrap();
    assert!(writer.cell().load().services["s0"].overrides.baseline.is_some());
    writer.change(&order(&["s0"], 30), now()).await.unwrap();
    let reset = |service| Wish::Reset { service };
    let reset = Order { release: None, ..all(reset, Phase::Confirmed) };
    writer.change(&reset, now()).await.unwrap();
    assert_eq!((green(&writer.cell().load(), "s0"), green(&writer.cell().load(), "s1")), (100, 100));
    let restored = |service| Wish::Restore { service, weights: blue_green(1, 0) };
    writer.change(&Order { release: None, ..all(restored, Phase::Closed) }, now()).await.unwrap();
    assert_eq!(green(&writer.cell().load(), "s0"), 0);
    writer.apply(catalog_of(&[("s0", 0, 2), ("s1", 0, 2)]), Removal::Guarded, now()).await.unwrap();
    assert_eq!((green(&writer.cell().load(), "s0"), green(&writer.cell().load(), "s1")), (2, 2));
    assert!(writer.cell().load().services["s0"].overrides.baseline.is_none());
}

#[tokio::test]
async fn freezes_are_kept_and_are_of_one_app_or_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let cause = order(&[], 0).cause;
    let (shop, other) = (AppName::parse("shop").unwrap(), AppName::parse("other").unwrap());
    {
        let mut writer = writer(base(folder.path()), 1).await;
        let freeze = |app, frozen| FreezeOrder { app, frozen, cause: cause.clone() };
        assert!(writer.freeze(&freeze(Some(shop.clone()), true), now()).await.unwrap());
        assert!(!writer.freeze(&freeze(Some(shop.clone()), true), now()).await.unwrap());
        assert!(!writer.freeze(&freeze(None, false), now()).await.unwrap());
    }
    let releases = writer(base(folder.path()), 1).await.cell().load().releases.clone();
    assert_eq!(releases.freeze(&shop).map(|freeze| &freeze.cause), Some(&cause));
    assert_eq!(releases.freeze(&other), None);
}

#[tokio::test]
async fn a_rollback_ends_connections_after_its_grace_and_a_confirm_after_the_drain_timeout() {
    for (phase, weights, color, cause) in [
        (Phase::RollingBack, (1, 0), "green", DrainCause::RolledBack),
        (Phase::Confirming, (0, 1), "blue", DrainCause::Confirmed),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path());
        let mut writer = writer(base.clone(), 2).await;
        let now = now();
        writer.change(&shift(weights, phase), now).await.unwrap();
        let living = base.live.endpoints();
        let endpoint = living
            .iter()
            .find(|endpoint| endpoint.service.as_str() == "s0" && endpoint.color.as_str() == color);
        let endpoint = endpoint.unwrap();
        assert_eq!(crate::state::draining::cause(&writer.cell().load(), endpoint), Some(cause));
        let grace = if cause == DrainCause::RolledBack { 5 } else { 600 };
        assert_eq!(endpoint.live.drain.get().unwrap().deadline, now.instant + Duration::from_secs(grace));
    }
}

#[test]
fn only_the_last_ended_releases_of_an_app_are_kept() {
    let mut releases = Releases::default();
    let numbered = |number: usize, phase| {
        let mut release = release(&["s0"], phase);
        release.id = ReleaseId(format!("shop-20270115-{number}"));
        release
    };
    releases.note(numbered(0, Phase::Baking));
    for number in 1..20 {
        releases.note(numbered(number, Phase::Baking));
        releases.note(numbered(number, Phase::Closed));
    }
    let kept: Vec<_> = releases.all().map(|release| release.id.0.rsplit('-').next().unwrap()).collect();
    assert_eq!(kept, ["0", "15", "16", "17", "18", "19"]);
    assert_eq!(releases.last_of(&AppName::parse("shop").unwrap()).unwrap().id.0, "shop-20270115-19");
}
