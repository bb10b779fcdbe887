#!/usr/bin/env bash
# A whole color goes down at 50:50, then everything, and comes back: what can be served is, the rest is
# refused at once. docs/failures.md has the table.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/faults.sh"
start_faults

# Nobody waited for a backend: refused by it, or not even tried.
expect_at_once() {
    expect "$CASE: reasons but refused and down" "$(fact '.reasons | del(.refused, .down) | tostring')" '{}'
}

# Green goes; blue takes its connections.
spill() {
    AT_FAULT=(green-1 green-2)
    begin spill "$TCP_CHECKS"
    load_begins
    fault kill -KILL "$ONE"
    wait_until_found down
    let_pass "$RATE"
    back start_one
    wait_until_found up
    let_pass "$RATE"
    close_ledger
    expect_fact .refused 0
    expect "spill: cut on blue" "$(fact '.cut_at | del(.["green-1"], .["green-2"]) | length')" 0
    expect_some .spilled
    row "all of green down at 50:50, \`on_color_down = \"spill\"\`"
}

# Green goes; its half is refused, and no connection of blue.
reject() {
    AT_FAULT=(green-1 green-2)
    begin reject "$TCP_CHECKS"$'\non_color_down = "reject"'
    load_begins
    fault kill -KILL "$ONE"
    wait_until_found down
    let_pass "$RATE"
    load_ends
    probe 1000
    expect "reject: failed of 1,000 while green is down" "$(probed .failed)" 500
    expect "reject: served by blue" "$(probed '.answers | keys | tostring')" '["blue-1","blue-2"]'
    load_begins
    back start_one
    wait_until_found up
    let_pass "$RATE"
    close_ledger
    expect_fact .spilled 0
    expect_at_once
    expect "reject: refused of blue's" "$(of_case teal_connection_errors_total 'color="blue"')" 0
    expect "reject: cut on blue" "$(fact '.cut_at | del(.["green-1"], .["green-2"]) | length')" 0
    row "all of green down at 50:50, \`on_color_down = \"reject\"\`"
}

# all CASE SETTINGS: until `back`.
all() {
    AT_FAULT=(blue-1 blue-2 green-1 green-2)
    begin "$1" "$2"
    load_begins
    fault kill -KILL "$ONE"
    wait_until_found down
    probe 400
    expect "$CASE: refused while everything is down" "$(probed .failed)" 400
    SLOWEST_MS=$(probed .slowest_failed_ms)
    # Far below connect_timeout: not waited for. A machine that stands still for a second would break it.
    [ "$SLOWEST_MS" -lt 1000 ] || fail "$CASE: somebody was refused after $SLOWEST_MS ms only"
    back start_one
}

# They are tried all the same, so nobody waits for the checks.
all_try() {
    all all-try "$TCP_CHECKS"
    probe 400
    expect "all-try: failed once they are back" "$(probed .failed)" 0
    wait_until_found up
    let_pass "$RATE"
    close_ledger
    expect_at_once
    row "everything down, \`on_all_down = \"try\"\`; refused within $SLOWEST_MS ms"
}

all_reject() {
    all all-reject "$TCP_CHECKS"$'\non_all_down = "reject"'
    wait_until_found up
    probe 400
    expect "all-reject: failed once checks passed" "$(probed .failed)" 0
    let_pass "$RATE"
    close_ledger
    expect_at_once
    row "everything down, \`on_all_down = \"reject\"\`; refused within $SLOWEST_MS ms"
}

spill
reject
all_try
all_reject
stop_teal
