//! Every key that a configuration may have: the one list that reading, suggestions and the test of
//! `conf/teal.toml` share.

/// A key and what may be written after it, as an example.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// For sections, the header.
    pub(super) example: &'static str,
}

/// The keys of one kind of table.
#[derive(Debug)]
pub(super) struct Schema {
    /// What the table is called in messages.
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key],
    /// Keys that are planned, and refused until they do something.
    pub(super) later: &'static [&'static str],
}

pub(super) const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example }
}

pub(super) const ROOT: Schema = Schema {
    name: "a configuration",
    keys: &[
        key("dns", "[dns]"),
        key("vip", "[vip]"),
        key("metrics", "[metrics]"),
        key("admin", "[admin]"),
        key("reload", "[reload]"),
        key("limits", "[limits]"),
        key("release", "[release]"),
        key("defaults", "[defaults]"),
        key("shutdown", "[shutdown]"),
        key("apps", "[apps.shop]"),
        key("services", "[services.servicea]"),
    ],
    later: &[],
};

pub(super) const DNS: Schema = Schema {
    name: "`[dns]`",
    keys: &[
        key("listen", "[\"127.0.0.1:53\"]"),
        key("zones", "[\"local\"]"),
        key("ttl", "\"30s\""),
        key("negative_ttl", "\"5s\""),
        key("upstreams", "[\"system\"]"),
        key("forward", "{ \"corp.example\" = { upstreams = [\"192.0.2.53\"] } }"),
        key("cache", "{ max_bytes = 16777216 }"),
        key("max_forwards", "1000"),
        key("forward_rate_per_source", "\"1000/s\""),
        key("allow_from", "[\"loopback\", \"host\", \"bridges\"]"),
        key("log_queries", "true"),
        key("log_one_in", "100"),
        key("records", "[dns.records.\"printer.local\"]"),
    ],
    later: &[],
};

pub(super) const RECORD: Schema = Schema {
    name: "a record",
    keys: &[
        key("a", "[\"192.0.2.10\"]"),
        key("aaaa", "[\"2001:db8::10\"]"),
        key("cname", "\"servicea.local\""),
        key("txt", "[\"some text\"]"),
    ],
    later: &[],
};

pub(super) const CACHE: Schema = Schema {
    name: "`[dns.cache]`",
    keys: &[
        key("max_bytes", "16777216"),
        key("max_entries", "50000"),
        key("min_ttl", "\"0s\""),
        key("max_ttl", "\"1h\""),
        key("max_negative_ttl", "\"5m\""),
        key("failure_ttl", "\"2s\""),
        key("serve_stale", "\"1h\""),
    ],
    later: &[],
};

pub(super) const FORWARD: Schema =
    Schema { name: "a forwarded domain", keys: &[key("upstreams", "[\"192.0.2.53\"]")], later: &[] };

pub(super) const VIP: Schema = Schema {
    name: "`[vip]`",
    keys: &[
        key("pool", "\"127.80.0.0/16\""),
        key("route", "\"auto\""),
        key("allow_from", "[\"loopback\", \"host\", \"bridges\"]"),
    ],
    later: &[],
};

pub(super) const METRICS: Schema =
    Schema { name: "`[metrics]`", keys: &[key("listen", "\"127.0.0.1:9180\"")], later: &[] };

pub(super) const ADMIN: Schema = Schema {
    name: "`[admin]`",
    keys: &[key("socket", "\"/run/teal/admin.sock\"")],
    later: &["listen", "token_file", "hosts"],
};

pub(super) const RELOAD: Schema =
    Schema { name: "`[reload]`", keys: &[key("watch", "true"), key("settle", "\"2s\"")], later: &[] };

pub(super) const LIMITS: Schema =
    Schema { name: "`[limits]`", keys: &[key("max_connections", "\"auto\"")], later: &[] };

pub(super) const RELEASE: Schema = Schema {
    name: "`[release]`",
    keys: &[key("gates_dir", "\"/etc/teal/gates\""), key("hooks_dir", "\"/etc/teal/hooks\"")],
    later: &[],
};

pub(super) const SHUTDOWN: Schema =
    Schema { name: "`[shutdown]`", keys: &[key("grace", "\"30s\"")], later: &[] };

pub(super) const DEFAULTS: Schema = Schema {
    name: "`[defaults]`",
    keys: &[
        key("connect_timeout", "\"1s\""),
        key("connect_total_timeout", "\"3s\""),
        key("retries", "2"),
        key("retry_budget_percent", "20"),
        key("idle_timeout", "\"10m\""),
        key("half_close_timeout", "\"1m\""),
        key("max_connection_age", "\"24h\""),
        key("log_connections", "true"),
        key("max_connections", "1000"),
        key("max_connections_per_endpoint", "200"),
        key("max_connections_per_source", "50"),
        key("accept_rate", "\"1000/s\""),
        key("source_addresses", "[\"192.0.2.10\", \"192.0.2.11\"]"),
        key("proxy_protocol_from", "[\"10.0.0.0/8\"]"),
        key("keepalive", "\"60s\""),
        key("drain_timeout", "\"10m\""),
        key("balance", "\"round_robin\""),
        key("affinity", "\"source_ip\""),
        key("on_color_down", "\"spill\""),
        key("on_all_down", "\"try\""),
        key("health", "{ kind = \"tcp\" }"),
        key("outlier", "{ consecutive_failures = 5 }"),
        key("slow_start", "\"30s\""),
    ],
    later: &[],
};

pub(super) const SERVICE: Schema = Schema {
    name: "a service",
    keys: &[
        key("ports", "[{ listen = 80, target = 5000 }]"),
        key("colors", "{ blue = { weight = 100, endpoints = [\"10.0.0.11\"] } }"),
        key("vip", "\"127.80.0.10\""),
        key("depends_on", "[\"servicea\"]"),
        key("restrict_callers", "true"),
        key("connect_timeout", "\"1s\""),
        key("connect_total_timeout", "\"3s\""),
        key("retries", "2"),
        key("retry_budget_percent", "20"),
        key("idle_timeout", "\"10m\""),
        key("half_close_timeout", "\"1m\""),
        key("max_connection_age", "\"24h\""),
        key("log_connections", "true"),
        key("max_connections", "1000"),
        key("max_connections_per_endpoint", "200"),
        key("max_connections_per_source", "50"),
        key("accept_rate", "\"1000/s\""),
        key("source_addresses", "[\"192.0.2.10\", \"192.0.2.11\"]"),
        key("proxy_protocol_from", "[\"10.0.0.0/8\"]"),
        key("keepalive", "\"60s\""),
        key("drain_timeout", "\"10m\""),
        key("balance", "\"round_robin\""),
        key("affinity", "\"source_ip\""),
        key("on_color_down", "\"spill\""),
        key("on_all_down", "\"try\""),
        key("health", "{ kind = \"tcp\" }"),
        key("outlier", "{ consecutive_failures = 5 }"),
        key("slow_start", "\"30s\""),
    ],
    later: &[],
};

pub(super) const HEALTH: Schema = Schema {
    name: "`health`",
    keys: &[
        key("kind", "\"tcp\""),
        key("interval", "\"2s\""),
        key("timeout", "\"1s\""),
        key("rise", "2"),
        key("fall", "3"),
        key("jitter_percent", "10"),
        key("port", "8081"),
        key("path", "\"/healthz\""),
        key("expect", "\"200-299\""),
        key("body", "\"ok\""),
        key("host", "\"servicea.local\""),
    ],
    later: &[],
};

pub(super) const OUTLIER: Schema = Schema {
    name: "`outlier`",
    keys: &[
        key("consecutive_failures", "5"),
        key("ejection", "\"30s\""),
        key("max_ejection", "\"5m\""),
        key("max_ejected_percent", "50"),
        key("resets", "true"),
    ],
    later: &[],
};

pub(super) const PORT: Schema = Schema {
    name: "a port",
    keys: &[
        key("listen", "80"),
        key("target", "5000"),
        key("name", "\"http\""),
        key("expose", "[\"0.0.0.0:8080\"]"),
    ],
    later: &[],
};

pub(super) const COLOR: Schema = Schema {
    name: "a color",
    keys: &[
        key("weight", "100"),
        key("endpoints", "[\"10.0.0.11\", \"10.0.0.12\"]"),
        key("fallback", "\"blue\""),
        key("max_connections", "500"),
        key("proxy_protocol", "\"v2\""),
    ],
    later: &[],
};

pub(super) const ENDPOINT: Schema =
    Schema { name: "an endpoint", keys: &[key("address", "\"10.0.0.11\""), key("weight", "2")], later: &[] };

pub(super) const APP: Schema = Schema {
    name: "an app",
    keys: &[key("services", "[\"servicea\", \"serviceb\"]"), key("lanes", "\"prefer\"")],
    later: &[],
};

/// All of them, to find out where a misplaced key belongs.
pub(super) const ALL: [&Schema; 19] = [
    &ROOT, &DNS, &CACHE, &RECORD, &FORWARD, &VIP, &METRICS, &ADMIN, &RELOAD, &LIMITS, &RELEASE, &SHUTDOWN,
    &DEFAULTS, &SERVICE, &HEALTH, &OUTLIER, &PORT, &COLOR, &APP,
];

impl Schema {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The key that somebody who wrote `name` probably meant.
    pub(super) fn nearest(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.keys.iter().map(|key| key.name))
    }

    /// The names of the keys, for people.
    pub(super) fn list(&self) -> String {
        let names: Vec<_> = self.keys.iter().map(|key| format!("`{}`", key.name)).collect();
        names.join(", ")
    }
}

/// The candidate nearest to `name`, if it is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR_ENOUGH: f64 = 0.8;
    let name = name.to_ascii_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.replace('-', "_")), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
