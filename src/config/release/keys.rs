//! Every key that a release file may have.

use crate::config::keys::{Schema, key};

pub(super) const ROOT: Schema =
    Schema { name: "a release file", keys: &[key("release", "[release]")], later: &[] };

pub(super) const RELEASE: Schema = Schema {
    name: "`[release]`",
    keys: &[
        key("app", "\"shop\""),
        key("to", "\"green\""),
        key("members", "[{ service = \"servicea\", to = \"green\" }]"),
        key("version", "\"2.0\""),
        key("reason", "\"new welcome text\""),
        key("order", "\"lockstep\""),
        key("on_manual_edit", "\"hold\""),
        key("on_restart", "\"hold\""),
        key("confirm_deadline", "\"24h\""),
        key("on_confirm_deadline", "\"hold\""),
        key("rollback_close_after", "\"5s\""),
        key("undo_window", "\"24h\""),
        key("activate_at", "\"2026-11-23T10:00:00Z\""),
        key("on_confirmed", "[\"retire-old\"]"),
        key("on_rolled_back", "[\"retire-new\"]"),
        key("steps", "[[release.steps]]"),
        key("guard", "[release.guard]"),
        key("judgement", "[release.judgement]"),
        key("gates", "[[release.gates]]"),
        key("notify", "[[release.notify]]"),
    ],
    later: &[],
};

pub(super) const MEMBER: Schema =
    Schema { name: "a member", keys: &[key("service", "\"servicea\""), key("to", "\"green\"")], later: &[] };

pub(super) const STEP: Schema = Schema {
    name: "a step",
    keys: &[
        key("percent", "10"),
        key("bake", "\"5m\""),
        key("min_connections", "300"),
        key("max_wait", "\"30m\""),
        key("gates", "[\"smoke\"]"),
        key("point_of_no_return", "true"),
    ],
    later: &[],
};

pub(super) const GUARD: Schema = Schema {
    name: "`[release.guard]`",
    keys: &[key("min_healthy", "1"), key("min_capacity", "1.0")],
    later: &[],
};

pub(super) const JUDGEMENT: Schema = Schema {
    name: "`[release.judgement]`",
    keys: &[
        key("enabled", "true"),
        key("on_fail", "\"hold\""),
        key("on_inconclusive", "\"hold\""),
        key("consecutive_failures_max", "10"),
        key("failures_max", "\"1%\""),
        key("first_byte_ratio_max", "1.3"),
        key("first_byte_floor", "\"20ms\""),
    ],
    later: &[],
};

pub(super) const GATE: Schema = Schema {
    name: "a gate",
    keys: &[
        key("name", "\"smoke\""),
        key("exec", "\"smoke\""),
        key("webhook", "\"https://ci.example/gate\""),
        key("secret_file", "\"/etc/teal/gate.key\""),
        key("prometheus", "\"http://127.0.0.1:9090\""),
        key("query", "\"sum(rate(errors_total{color='{{color}}'}[1m]))\""),
        key("min", "0.5"),
        key("max", "0.01"),
        key("on_missing", "\"inconclusive\""),
        key("timeout", "\"60s\""),
    ],
    later: &[],
};

pub(super) const NOTIFY: Schema = Schema {
    name: "a notification",
    keys: &[
        key("url", "\"https://chat.example/hook\""),
        key("on", "[\"hold\", \"rollback\"]"),
        key("secret_file", "\"/etc/teal/notify.key\""),
    ],
    later: &[],
};

/// All of them, to find out where a misplaced key belongs.
pub(super) const ALL: [&Schema; 8] = [&ROOT, &RELEASE, &MEMBER, &STEP, &GUARD, &JUDGEMENT, &GATE, &NOTIFY];
