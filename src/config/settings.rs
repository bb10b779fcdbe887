//! The sections about the daemon itself: `[dns]`, `[vip]`, `[metrics]`, `[admin]`, `[reload]`,
//! `[limits]`, `[release]` and `[shutdown]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::address;
use super::cache;
use super::diagnostic::{Diagnostic, Findings, quote};
use super::draft::{Listener, Owner, SettingsDraft};
use super::forward;
use super::keys;
use super::records;
use super::scalar::{self, DurationBounds, NameKind, Words};
use super::walk::{Placed, Table, Value};
use crate::model::{
    AdminSettings, AllowFrom, CacheSettings, DnsSettings, LimitSettings, MaxConnections, MetricsSettings,
    ReleaseSettings, ReloadSettings, Route, Settings, Source, VipPool, VipSettings, Zone,
};

const DNS_LISTENERS_MAX: usize = 64;
const ZONES_MAX: usize = 16;
const LOG_ONE_IN_MAX: u32 = 1_000_000;
/// A week, as RFC 2308 §5 and resolvers in practice bound what they keep.
const TTL: DurationBounds = DurationBounds::seconds(0, 7 * 86_400);
const NEGATIVE_TTL: DurationBounds = DurationBounds::seconds(0, 86_400);
const SETTLE: DurationBounds = DurationBounds::milliseconds(0, 60_000);
const GRACE: DurationBounds = DurationBounds::milliseconds(0, 3_600_000);
const POOL_PREFIX_MIN: u8 = 8;
const POOL_PREFIX_MAX: u8 = 29;
/// `sun_path` of unix(7) has 108 octets, the last one being 0.
const SOCKET_PATH_OCTETS_MAX: usize = 107;

/// The settings of a daemon about which a configuration says nothing.
pub fn default_settings() -> Settings {
    let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let allow_from = AllowFrom(vec![Source::Loopback, Source::Host, Source::Bridges]);
    Settings {
        dns: DnsSettings {
            listen: vec![local(53)],
            zones: vec![Zone::parse("local").expect("a valid label")],
            ttl: Duration::from_secs(30),
            negative_ttl: Duration::from_secs(5),
            forward: forward::default_settings(),
            cache: CacheSettings::by_default(),
            allow_from: allow_from.clone(),
            records: BTreeMap::new(),
            log_one_in: None,
        },
        vip: VipSettings {
            pool: VipPool(Ipv4Net::new_assert(Ipv4Addr::new(127, 80, 0, 0), 16)),
            route: Route::Auto,
            allow_from,
        },
        metrics: MetricsSettings { listen: Some(local(9180)) },
        admin: AdminSettings { socket: None },
        reload: ReloadSettings { watch: true, settle: None },
        limits: LimitSettings { max_connections: MaxConnections::Auto },
        release: ReleaseSettings {
            gates_dir: PathBuf::from("/etc/teal/gates"),
            hooks_dir: PathBuf::from("/etc/teal/hooks"),
        },
        shutdown_grace: Duration::from_secs(30),
    }
}

/// Reads one section into the draft.
type ReadSection = fn(&Table<'_>, &mut SettingsDraft, &mut Findings);

/// Reads every section of the main file that is about the daemon.
pub(super) fn read(root: &Table<'_>, findings: &mut Findings) -> SettingsDraft {
    let mut draft = SettingsDraft::new(default_settings());
    let sections: [(&keys::Schema, &str, ReadSection); 8] = [
        (&keys::DNS, "dns", dns),
        (&keys::VIP, "vip", vip),
        (&keys::METRICS, "metrics", metrics),
        (&keys::ADMIN, "admin", admin),
        (&keys::RELOAD, "reload", reload),
        (&keys::LIMITS, "limits", limits),
        (&keys::RELEASE, "release", release),
        (&keys::SHUTDOWN, "shutdown", shutdown),
    ];
    for (schema, name, read_section) in sections {
        if let Some(table) = root.table(&keys::ROOT, name, findings) {
            table.check_keys(schema, findings);
            read_section(&table, &mut draft, findings);
        }
    }
    draft.add_default_listeners();
    draft
}

fn dns(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let get = |name| table.get(&keys::DNS, name);
    if let Some(value) = get("listen") {
        let items = value.strings(DNS_LISTENERS_MAX, findings).unwrap_or_default();
        let listen: Vec<_> = items.into_iter().filter_map(|item| address::listener(item, findings)).collect();
        draft.settings.dns.listen = listen.iter().map(|address| address.value).collect();
        draft.listeners.extend(listen.into_iter().map(|address| Listener::new(address, Owner::Dns)));
    }
    if let Some(zones) = get("zones").and_then(|value| zones(&value, findings)) {
        draft.settings.dns.zones = zones;
    }
    if let Some(ttl) = get("ttl").and_then(|value| scalar::duration(&value, &TTL, findings)) {
        draft.settings.dns.ttl = ttl.value;
    }
    if let Some(ttl) = get("negative_ttl").and_then(|value| scalar::duration(&value, &NEGATIVE_TTL, findings))
    {
        draft.settings.dns.negative_ttl = ttl.value;
    }
    forward::read(table, draft, findings);
    if let Some(table) = get("cache").and_then(|value| value.table(findings)) {
        cache::read(&table, &mut draft.settings.dns.cache, findings);
    }
    if let Some(allowed) = get("allow_from").and_then(|value| address::allow_from(&value, findings)) {
        draft.settings.dns.allow_from = allowed;
    }
    if let Some(value) = get("records") {
        draft.records = records::read_all(&value, findings);
        let records = draft.records.iter().map(|record| (record.name.value.clone(), record.data.clone()));
        draft.settings.dns.records = records.collect();
    }
    draft.settings.dns.log_one_in = log_one_in(table, findings);
}

/// How many queries have one line together: none without `log_queries`.
fn log_one_in(table: &Table<'_>, findings: &mut Findings) -> Option<NonZeroU32> {
    let get = |name| table.get(&keys::DNS, name);
    let logs = get("log_queries").and_then(|value| value.boolean(findings)).unwrap_or(false);
    let one_in = match get("log_one_in") {
        Some(value) => scalar::bounded(&value, 1, LOG_ONE_IN_MAX, findings).map(|number| number.value),
        None => Some(1),
    };
    one_in.and_then(NonZeroU32::new).filter(|_| logs)
}

fn zones(value: &Value<'_>, findings: &mut Findings) -> Option<Vec<Zone>> {
    const KIND: NameKind<Zone> = NameKind { of: "the zone", parse: Zone::parse };
    let items = value.strings(ZONES_MAX, findings)?;
    if value.node().as_array().is_some_and(|items| items.is_empty()) {
        findings.push(
            Diagnostic::error("`zones` is empty", value.place(), "at least one is needed")
                .help("Write for example `zones = [\"local\"]`."),
        );
        return None;
    }
    let zones: Vec<Placed<Zone>> =
        items.into_iter().filter_map(|item| scalar::name(item, &KIND, findings)).collect();
    for (index, zone) in zones.iter().enumerate() {
        check_against_earlier(zone, &zones[..index], findings);
    }
    (!zones.is_empty()).then(|| zones.into_iter().map(|zone| zone.value).collect())
}

fn check_against_earlier(zone: &Placed<Zone>, earlier: &[Placed<Zone>], findings: &mut Findings) {
    if let Some(same) = earlier.iter().find(|other| other.value == zone.value) {
        let title = format!("zone `{}` is listed twice", zone.value);
        findings.push(
            Diagnostic::error(title, zone.place, "listed again here")
                .also(same.place, "first listed here")
                .help("Leave one of them out."),
        );
        return;
    }
    for other in earlier {
        let (inner, outer) = if other.value.contains(&zone.value) { (zone, other) } else { (other, zone) };
        if !outer.value.contains(&inner.value) {
            continue;
        }
        let title = format!("zone `{}` lies inside zone `{}`", inner.value, outer.value);
        let is_inner = inner.place == zone.place;
        let labels = if is_inner {
            ("the inner zone", "the outer zone")
        } else {
            ("the outer zone", "the inner zone")
        };
        findings.push(
            Diagnostic::error(title, zone.place, labels.0)
                .also(other.place, labels.1)
                .help("Leave one of them out: a name may belong to one zone only."),
        );
    }
}

fn vip(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let get = |name| table.get(&keys::VIP, name);
    if let Some(value) = get("pool") {
        draft.pool = value.string(findings).and_then(|text| pool(text, findings));
        draft.pool_place = Some(value.place());
        if let Some(pool) = draft.pool {
            draft.settings.vip.pool = pool;
        }
    }
    let routes = Words { now: &[("auto", Route::Auto), ("none", Route::None)], later: &[] };
    if let Some(route) = get("route").and_then(|value| scalar::word(&value, &routes, findings)) {
        draft.settings.vip.route = route;
    }
    if let Some(allowed) = get("allow_from").and_then(|value| address::allow_from(&value, findings)) {
        draft.settings.vip.allow_from = allowed;
    }
}

fn pool(text: Placed<&str>, findings: &mut Findings) -> Option<VipPool> {
    let network = address::ipv4_network(text, findings)?;
    let (label, help) = match network.value {
        net if !(POOL_PREFIX_MIN..=POOL_PREFIX_MAX).contains(&net.prefix_len()) => {
            let label = if net.prefix_len() > POOL_PREFIX_MAX { "too small" } else { "too large" };
            (
                label,
                format!(
                    "The prefix length must be {POOL_PREFIX_MIN} to {POOL_PREFIX_MAX}, for example `{}/16`.",
                    net.network()
                ),
            )
        }
        net if net.network().octets()[0] == 0 => {
            ("0.0.0.0/8 cannot be used as destination", "Write for example `198.18.0.0/16`.".into())
        }
        net if net.network().octets()[0] >= 224 => {
            ("not an address range of single hosts", "Write for example `198.18.0.0/16`.".into())
        }
        net if net.contains(&Ipv4Addr::LOCALHOST) => (
            "contains 127.0.0.1, which everything on the host uses",
            "Write for example `127.80.0.0/16`.".into(),
        ),
        net => return Some(VipPool(net)),
    };
    let title = format!("{} cannot be the VIP pool", quote(text.value));
    findings.push(Diagnostic::error(title, text.place, label).help(help));
    None
}

fn metrics(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let Some(value) = table.get(&keys::METRICS, "listen") else { return };
    // Also where it is wrong: nothing should be said about a default that does not apply.
    draft.settings.metrics.listen = None;
    let Some(text) = value.string(findings).filter(|text| !text.value.is_empty()) else { return };
    if let Some(address) = address::listener(text, findings) {
        draft.settings.metrics.listen = Some(address.value);
        draft.listeners.push(Listener::new(address, Owner::Metrics));
    }
}

fn admin(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let Some(text) = table.get(&keys::ADMIN, "socket").and_then(|value| value.string(findings)) else {
        return;
    };
    let label = if !Path::new(text.value).is_absolute() {
        "not an absolute path"
    } else if text.value.len() > SOCKET_PATH_OCTETS_MAX {
        "longer than 107 octets"
    } else if text.value.contains('\0') {
        "contains a null character"
    } else {
        draft.settings.admin.socket = Some(PathBuf::from(text.value));
        return;
    };
    findings.push(
        Diagnostic::error(format!("{} cannot be a control socket", quote(text.value)), text.place, label)
            .help(
                "Write for example `socket = \"/run/teal/admin.sock\"`, \
             or leave it out for the default place.",
            ),
    );
}

fn reload(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    if let Some(watch) = table.get(&keys::RELOAD, "watch").and_then(|value| value.boolean(findings)) {
        draft.settings.reload.watch = watch;
    }
    if let Some(value) = table.get(&keys::RELOAD, "settle") {
        draft.settings.reload.settle = scalar::duration(&value, &SETTLE, findings).map(|settle| settle.value);
    }
}

fn limits(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let Some(value) = table.get(&keys::LIMITS, "max_connections") else { return };
    if value.node().as_str() == Some("auto") {
        return;
    }
    if value.node().as_integer().is_none() {
        value.wrong_type::<()>("`\"auto\"` or an integer", findings);
    } else if let Some(limit) = scalar::bounded(&value, 1, u32::MAX, findings) {
        draft.settings.limits.max_connections = MaxConnections::Exactly(limit.value);
    }
}

fn release(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    let folders = &mut draft.settings.release;
    let keys = [("gates_dir", &mut folders.gates_dir), ("hooks_dir", &mut folders.hooks_dir)];
    for (name, folder) in keys {
        let Some(text) = table.get(&keys::RELEASE, name).and_then(|value| value.string(findings)) else {
            continue;
        };
        if Path::new(text.value).is_absolute() && !text.value.contains('\0') {
            *folder = PathBuf::from(text.value);
            continue;
        }
        let title = format!("{} cannot be a folder of programs", quote(text.value));
        findings.push(
            Diagnostic::error(title, text.place, "not an absolute path").help(format!(
                "Write for example `{name} = \"/etc/teal/{}\"`.",
                name.trim_end_matches("_dir")
            )),
        );
    }
}

fn shutdown(table: &Table<'_>, draft: &mut SettingsDraft, findings: &mut Findings) {
    if let Some(value) = table.get(&keys::SHUTDOWN, "grace")
        && let Some(grace) = scalar::duration(&value, &GRACE, findings)
    {
        draft.settings.shutdown_grace = grace.value;
    }
}
