//! What counts as a source port in use, and for how long.

use super::*;
use crate::model::{ColorName, ServiceName};
use crate::state::EndpointPlace;

#[test]
fn who_ended_is_counted_for_a_minute() {
    let cell = PortCell::default();
    cell.note_ended();
    for _ in 1..MARKS {
        cell.mark();
        assert_eq!(cell.waiting(), 1);
    }
    cell.note_ended();
    assert_eq!(cell.waiting(), 2);
    cell.mark();
    assert_eq!(cell.waiting(), 1, "the first one's minute is over");
    // Also when the count wraps.
    let cell = PortCell::default();
    cell.ended.store(u32::MAX, Ordering::Relaxed);
    (0..=MARKS).for_each(|_| cell.mark());
    cell.note_ended();
    assert_eq!(cell.waiting(), 1);
}

/// Ports 40000 to 40099, of which one in `TIME_WAIT` stays taken but on loopback.
fn ports() -> SourcePorts {
    SourcePorts::parse("40000 40099", "", "2")
}

#[test]
fn services_that_share_an_address_share_its_ports_and_each_source_has_its_own() {
    use crate::model::testing::{color, service};
    let live = Live::default();
    let (blue, address) = (ColorName::parse("blue").unwrap(), SocketAddr::from(([10, 0, 0, 1], 80)));
    let endpoint = |name| live.endpoint((&ServiceName::parse(name).unwrap(), 80, &blue), address);
    let (a, b, idle) = (endpoint("a"), endpoint("b"), endpoint("c"));
    assert_eq!(idle.address, address);
    let snapshot = |sources: &[&str]| {
        let mut service = service("a", 80, vec![color("blue", 1, &[address])]);
        service.policy.source_addresses = sources.iter().map(|source| source.parse().unwrap()).collect();
        super::super::drain::tests::snapshot_of(&live, service)
    };
    assert_eq!(port_use(&snapshot(&[]), &live, &ports()), BTreeMap::new());
    let _open = (EndpointPlace::take(&a, None).unwrap(), EndpointPlace::take(&b, None).unwrap());
    a.ports.note_ended();
    let used = |sources: &[&str]| port_use(&snapshot(sources), &live, &ports())[&address];
    assert_eq!(used(&[]), PortUse { used: 3, limit: 100 });
    // Of the other family is none; what b connects from is the kernel's choice.
    assert_eq!(used(&["192.0.2.1", "192.0.2.2", "::1"]).limit, 300);
    let near = SocketAddr::from(([127, 0, 0, 1], 80));
    let near_live = live.endpoint((&ServiceName::parse("a").unwrap(), 80, &blue), near);
    near_live.ports.note_ended();
    assert_eq!(port_use(&snapshot(&[]), &live, &ports()).get(&near), None);
}
