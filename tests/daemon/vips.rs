//! Promise 9: the address of a name does not change.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use crate::clients::{ask, backend};
use crate::process::{Place, Teal, service, service_with};

fn named(names: &[&str], blue: SocketAddr) -> Vec<String> {
    names.iter().map(|name| service(name, &[("blue", 1, blue)])).collect()
}

/// Every service's address and that of its preview name.
fn addresses(teal: &Teal) -> BTreeMap<String, (Ipv4Addr, Ipv4Addr)> {
    let services = teal.status().services.into_iter();
    services.map(|service| (service.name, (service.vip, service.colors[0].preview))).collect()
}

#[test]
fn promise_9_addresses_stay_over_reloads_and_restarts() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &named(&["m", "n"], blue));
    let teal = place.start();
    let before = addresses(&teal);
    place.write("", &named(&["a", "b", "c", "m", "n", "z"], blue));
    place.reload_ok();
    let more = addresses(&teal);
    teal.stop();
    place.write("", &named(&["m", "o", "z"], blue));
    let teal = place.start();
    let after = addresses(&teal);
    assert_eq!((before["m"], before["n"]), (more["m"], more["n"]));
    assert_eq!((after["m"], after["z"]), (more["m"], more["z"]));
    // What belonged to n, a, b and c rests: o has none of it.
    for gone in ["n", "a", "b", "c"] {
        assert_ne!(after["o"].0, more[gone].0);
    }
    // And n gets its own again.
    place.write("", &named(&["m", "n", "o", "z"], blue));
    place.reload_ok();
    assert_eq!(addresses(&teal)["n"], before["n"]);
}

#[test]
fn an_address_is_kept_before_anybody_learns_it() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &named(&["a"], blue));
    let mut teal = place.start();
    place.write("", &named(&["a", "b"], blue));
    place.reload_ok();
    let before = addresses(&teal);
    teal.child.kill().unwrap();
    teal.wait();
    assert_eq!(addresses(&place.start()), before);
}

#[test]
fn promise_9_without_state_a_name_starts_at_the_same_place() {
    let (place, blue) = (Place::new(), backend("blue"));
    place.write("", &named(&["a"], blue));
    let teal = place.start();
    let before = addresses(&teal)["a"].0;
    teal.stop();
    fs::remove_dir_all(place.state()).unwrap();
    assert_eq!(addresses(&place.start())["a"].0, before);
}

#[test]
fn a_chosen_address_is_given_unless_another_name_has_it() {
    let (place, blue) = (Place::new(), backend("blue"));
    let chosen =
        |name: &str, vip: Ipv4Addr| service_with(name, &format!("vip = \"{vip}\""), &[("blue", 1, blue)]);
    place.write("", &[chosen("a", place.address(77))]);
    let teal = place.start();
    assert_eq!(teal.vip("a").ip(), place.address(77));
    assert_eq!(ask(teal.vip("a")), "blue");
    // A name that is there holds its address,
    let automatic = service("b", &[("blue", 1, blue)]);
    place.write("", &[chosen("a", place.address(77)), automatic.clone()]);
    place.reload_ok();
    let held = teal.service("b").vip;
    place.write("", &[chosen("a", place.address(77)), automatic.clone(), chosen("c", held)]);
    let (code, said) = place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("vip {held} of c belongs to b: choose another address")), "{said}");
    // and one that is gone keeps it from others for a while.
    place.write("", &[automatic.clone(), chosen("c", place.address(77))]);
    let (code, said) = place.reload(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("was a's and rests for 30 more days"), "{said}");
    assert_eq!(ask(teal.vip("a")), "blue");
    // At a start it is refused as well, and says the same.
    teal.stop();
    let said = place.refused(place.command());
    assert!(said.contains("rests for 30 more days"), "{said}");
    // What could not run is not kept as the last good configuration.
    place.rename("broken");
    let teal = place.start();
    assert!(teal.status().configuration.degraded);
    assert_eq!(teal.vip("a").ip(), place.address(77));
}

#[test]
fn a_pool_without_free_addresses_says_so() {
    let (place, blue) = (Place::new(), backend("blue"));
    let text = place.text("", &named(&["a", "b", "c", "d"], blue));
    place.rename(&text.replace("/24", "/29"));
    let said = place.refused(place.command());
    assert!(said.contains("has room for 6 addresses, 8 are needed"), "{said}");
}
