//! Watches the source ports towards endpoints, and says so well before none is left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::net::ports::SourcePorts;
use crate::state::ports::{MARK_SECONDS, PortUse, mark, port_use};
use crate::state::{Live, Problems, SnapshotCell};
use crate::telemetry::names::{SOURCE_PORTS_LIMIT, SOURCE_PORTS_USED};

/// Prefix of the subjects of problems with source ports.
const SUBJECT: &str = "source ports ";
/// Percent in use at which there is a problem, and below which it is over.
const BEGIN_PERCENT: u32 = 80;
const END_PERCENT: u32 = 70;

/// Looks every few seconds until `stop` is cancelled.
pub async fn watch(snapshot: SnapshotCell, live: Arc<Live>, problems: Problems, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(MARK_SECONDS));
    let mut short = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let used = port_use(&snapshot.load_full(), &live, &SourcePorts::read());
        mark(&live);
        show(&live, &used);
        short = judge(&short, &used);
        report(&short, &used, &problems);
    }
}

fn show(live: &Live, used: &BTreeMap<SocketAddr, PortUse>) {
    live.series().replace_gauges(&[SOURCE_PORTS_USED, SOURCE_PORTS_LIMIT], |set| {
        for (address, ports) in used {
            let address = address.to_string();
            set(SOURCE_PORTS_USED, &[("endpoint", &address)], f64::from(ports.used));
            set(SOURCE_PORTS_LIMIT, &[("endpoint", &address)], f64::from(ports.limit));
        }
    });
}

/// The addresses towards which ports are short, given those of the last look.
fn judge(before: &BTreeSet<SocketAddr>, used: &BTreeMap<SocketAddr, PortUse>) -> BTreeSet<SocketAddr> {
    let is_short = |(address, ports): &(&SocketAddr, &PortUse)| {
        let percent = if before.contains(address) { END_PERCENT } else { BEGIN_PERCENT };
        u64::from(ports.used) * 100 >= u64::from(ports.limit) * u64::from(percent)
    };
    used.iter().filter(is_short).map(|(address, _)| *address).collect()
}

fn report(short: &BTreeSet<SocketAddr>, used: &BTreeMap<SocketAddr, PortUse>, problems: &Problems) {
    let subject = |address: &SocketAddr| format!("{SUBJECT}{address}");
    for address in short {
        let limit = used.get(address).map_or(0, |ports| ports.limit);
        // Without the number in use: what changes at each look would be logged at each.
        problems.set(
            &subject(address),
            format!(
                "more than {END_PERCENT} % of the {limit} source ports towards this endpoint are in use; when none is \
                 left, connections go to other endpoints or are refused: give the service several \
                 source_addresses, widen net.ipv4.ip_local_port_range, or set net.ipv4.tcp_tw_reuse = 1"
            ),
        );
    }
    problems.clear_others(SUBJECT, &short.iter().map(subject).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_said_well_before_the_end_and_over_only_well_below() {
        let (address, problems) = (SocketAddr::from(([10, 0, 0, 1], 80)), Problems::default());
        let mut short = BTreeSet::new();
        let mut shown = |used: u32| {
            let used = BTreeMap::from([(address, PortUse { used, limit: 1000 })]);
            short = judge(&short, &used);
            report(&short, &used, &problems);
            problems.all().len()
        };
        assert_eq!([799, 800, 1000, 700, 699, 799].map(&mut shown), [0, 1, 1, 1, 0, 0]);
        shown(900);
        assert_eq!(judge(&BTreeSet::from([address]), &BTreeMap::new()), BTreeSet::new(), "nobody uses it");
    }
}
