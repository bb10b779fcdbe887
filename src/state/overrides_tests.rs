//! Overrides against changing catalogs.

use super::*;
use crate::model::testing::{catalog, color, service};
use crate::state::order::{Address, Wish, plan};

fn addresses(first: u16) -> Vec<SocketAddr> {
    (first..first + 2).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

fn a(colors: &[(&str, i64)]) -> Catalog {
    let colors = colors.iter().map(|(name, weight)| color(name, *weight, &addresses(100))).collect();
    catalog(vec![service("a", 80, colors)])
}

fn cause() -> Cause {
    Cause { actor: Actor { name: "alice".into(), ..Actor::default() }, at: 1, why: "test".into() }
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn weights(colors: &[(&str, i64)]) -> BTreeMap<ColorName, Weight> {
    let parse =
        |(name, weight): &(&str, i64)| (ColorName::parse(name).unwrap(), Weight::new(*weight).unwrap());
    colors.iter().map(parse).collect()
}

fn set(overrides: &mut Overrides, catalog: &Catalog, colors: &[(&str, i64)]) {
    let wish = Wish::Weights { service: name("a"), colors: weights(colors) };
    let edits = plan(&[wish], catalog, overrides).unwrap();
    overrides.apply(&edits, &cause());
}

fn effective(overrides: &Overrides, catalog: &Catalog) -> Vec<u16> {
    overrides.effective(&catalog.services["a"]).values().map(|weight| weight.get()).collect()
}

/// What a reload or a start does.
fn follow(overrides: &mut Overrides, catalog: &Catalog) {
    let ended = overrides.ended_by(catalog, |_| false);
    overrides.apply(&ended, &cause());
}

#[test]
fn an_override_names_all_colors_and_unnamed_ones_keep_their_weight() {
    let file = a(&[("blue", 90), ("green", 10), ("red", 5)]);
    let mut overrides = Overrides::default();
    set(&mut overrides, &file, &[("green", 50)]);
    assert_eq!(effective(&overrides, &file), [90, 50, 5]);
    set(&mut overrides, &file, &[("blue", 0)]);
    assert_eq!(effective(&overrides, &file), [0, 50, 5]);
}

#[test]
fn the_file_wins_when_it_changes_a_weight_that_is_covered_and_only_then() {
    let file = a(&[("blue", 90), ("green", 10)]);
    let mut overrides = Overrides::default();
    set(&mut overrides, &file, &[("green", 50)]);
    follow(&mut overrides, &file);
    assert_eq!(effective(&overrides, &file), [90, 50], "nothing changed");
    let other = catalog(
        [&*file.services["a"], &service("b", 80, vec![color("blue", 1, &addresses(1))])]
            .into_iter()
            .cloned()
            .collect(),
    );
    follow(&mut overrides, &other);
    assert_eq!(effective(&overrides, &other), [90, 50], "another service changed");
    let changed = a(&[("blue", 80), ("green", 10)]);
    follow(&mut overrides, &changed);
    assert_eq!(effective(&overrides, &changed), [80, 10]);
    follow(&mut overrides, &file);
    assert_eq!(effective(&overrides, &file), [90, 10], "what ended does not come back");
}

#[test]
fn a_color_that_appears_under_an_override_starts_at_zero() {
    let file = a(&[("blue", 90), ("green", 10)]);
    let mut overrides = Overrides::default();
    set(&mut overrides, &file, &[("green", 50)]);
    let more = a(&[("blue", 90), ("green", 10), ("red", 30)]);
    follow(&mut overrides, &more);
    assert_eq!(effective(&overrides, &more), [90, 50, 0]);
}

#[test]
fn a_removed_color_or_service_ends_it() {
    let file = a(&[("blue", 90), ("green", 10)]);
    for gone in [a(&[("blue", 90)]), catalog(Vec::new())] {
        let mut overrides = Overrides::default();
        set(&mut overrides, &file, &[("green", 50)]);
        follow(&mut overrides, &gone);
        assert_eq!(overrides, Overrides::default());
    }
}

#[test]
fn a_reset_gives_the_file_s_weights_back_and_is_nothing_where_nothing_is_set() {
    let file = a(&[("blue", 90), ("green", 10)]);
    let mut overrides = Overrides::default();
    let reset = [Wish::Reset { service: name("a") }];
    assert_eq!(plan(&reset, &file, &overrides).unwrap(), []);
    set(&mut overrides, &file, &[("green", 50)]);
    let edits = plan(&reset, &file, &overrides).unwrap();
    assert_eq!(edits[0].to_string(), "a: blue=90 green=50 -> blue=90 green=10 (override ended)");
    overrides.apply(&edits, &cause());
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn an_endpoint_is_disabled_until_somebody_enables_it_or_the_file_drops_it() {
    let file = a(&[("blue", 90), ("green", 10)]);
    let (blue, endpoint) = (ColorName::parse("blue").unwrap(), addresses(100)[0]);
    let wish = |address, to| [Wish::Endpoint { service: name("a"), color: blue.clone(), address, to }];
    let mut overrides = Overrides::default();
    let disable = wish(Some(Address::Port(endpoint)), Admission::Disabled);
    overrides.apply(&plan(&disable, &file, &overrides).unwrap(), &cause());
    assert!(overrides.of(&name("a")).disabled(&blue, endpoint).is_some());
    assert_eq!(plan(&disable, &file, &overrides).unwrap(), [], "it is so already");
    // By its host: both ports of it, of which one is disabled already.
    let all = wish(Some(Address::Host(endpoint.ip())), Admission::Disabled);
    assert_eq!(plan(&all, &file, &overrides).unwrap().len(), 1);
    // The whole color: what is disabled is no edit, and all of it comes back.
    let (whole, back) = (wish(None, Admission::Disabled), wish(None, Admission::Enabled));
    assert_eq!(plan(&whole, &file, &overrides).unwrap().len(), 1);
    assert_eq!(plan(&[whole, back].concat(), &file, &overrides).unwrap().len(), 3);
    follow(&mut overrides, &a(&[("blue", 1), ("green", 1)]));
    assert!(overrides.of(&name("a")).disabled(&blue, endpoint).is_some(), "weights are another matter");
    let without = catalog(vec![service("a", 80, vec![color("blue", 1, &addresses(500))])]);
    follow(&mut overrides, &without);
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn wishes_of_one_order_find_what_those_before_them_changed() {
    let file = a(&[("blue", 90), ("green", 10)]);
    let wish = |colors: &[(&str, i64)]| Wish::Weights { service: name("a"), colors: weights(colors) };
    let mut overrides = Overrides::default();
    let edits = plan(&[wish(&[("blue", 1)]), wish(&[("green", 2)])], &file, &overrides).unwrap();
    overrides.apply(&edits, &cause());
    assert_eq!(effective(&overrides, &file), [1, 2]);
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let file = a(&[("blue", 90), ("green", 10)]);
    let refused = |wish: Wish| plan(&[wish], &file, &Overrides::default()).unwrap_err().to_string();
    assert_eq!(
        refused(Wish::Reset { service: name("x") }),
        "no service is called \"x\" on this host; it knows a"
    );
    let colors = weights(&[("red", 1)]);
    assert!(refused(Wish::Weights { service: name("a"), colors }).ends_with("it has blue, green"));
    let (color, address) = (ColorName::parse("blue").unwrap(), Address::Port("127.0.0.1:1".parse().unwrap()));
    let (address, to) = (Some(address), Admission::Disabled);
    let message = refused(Wish::Endpoint { service: name("a"), color, address, to });
    assert!(message.ends_with("it has 127.0.0.1:100, 127.0.0.1:101"), "{message}");
}
