#!/usr/bin/env bash
# A backend runs but does not do its work, under load: it refuses, resets its answers, never answers, or
# accepts slowly. docs/failures.md has the table.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/faults.sh"
start_faults

EJECTS='health = { kind = "none" }
outlier = { consecutive_failures = 5, ejection = "1s", max_ejection = "1s" }'

flip() { kill -USR1 "$ONE"; }
ejected() { of_case_is "$1" teal_color_endpoints 'state="ejected"'; }

# Without checks: connections find out.
refusing() {
    begin refusing "$EJECTS" --fault refuse
    load_begins
    fault flip
    wait_for 10 "ejection" ejected 1
    let_pass "$RATE"
    back flip
    wait_for 10 "end of ejection" ejected 0
    let_pass "$RATE"
    close_ledger
    expect_fact .refused 0
    expect_fact .spilled 0
    expect "refusing: cut elsewhere than in the queue that closed" "$(fact '.cut_at | del(.["blue-1"]) | length')" 0
    expect_some .retried
    row "refusing; no checks, ejected after 5 failures for 1 s"
}

# faulty CASE SETTINGS ARGUMENT...: TCP cannot tell it from an ordinary end; HTTP checks can.
faulty() {
    begin "$@"
    load_begins
    fault flip
    wait_until_found down
    let_pass "$RATE"
    probe 200
    expect "$CASE: answers of blue-1 while it is down" "$(probed '.answers["blue-1"]')" null
    expect "$CASE: failed while it is down" "$(probed .failed)" 0
    back flip
    wait_until_found up
    let_pass "$RATE"
    close_ledger
    expect_fact .refused 0
    expect_fact .spilled 0
    expect_fact .retried 0
    expect_some .cut
    expect "$CASE: cut elsewhere" "$(fact '.cut_at | del(.["blue-1"]) | length')" 0
    expect_reset_only
}

resetting() {
    faulty resetting "$HTTP_CHECKS" --fault reset
    expect "resets in teal_connections_closed_total" \
        "$(of_case teal_connections_closed_total 'reason="backend_reset"')" "$(fact .cut)"
    row "resets after the first byte of its answers; HTTP checks"
}

silent() {
    faulty silent "$HTTP_CHECKS"$'\nidle_timeout = "2s"' --fault silent
    expect "idle ones in teal_connections_closed_total" \
        "$(of_case teal_connections_closed_total 'reason="idle"')" "$(fact .cut)"
    row "accepts and never answers; HTTP checks, \`idle_timeout = \"2s\"\`"
}

# What its queue has no room for is tried elsewhere once `connect_timeout` is over.
slow() {
    begin slow "$TCP_CHECKS" --fault slow --backlog 4
    load_begins
    fault flip
    let_pass $((RATE * 4))
    back flip
    wait_until_found up
    let_pass "$RATE"
    close_ledger
    expect_fact .failed 0
    expect_some .retried
    row "accepts 5 connections a second, queue of 4; TCP checks"
}

refusing
resetting
silent
slow
stop_teal
