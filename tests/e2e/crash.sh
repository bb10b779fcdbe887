#!/usr/bin/env bash
# A backend's process dies, stops, or comes and goes under load: new connections all succeed, only what was in
# flight on that process ends, and it is used again once it is back. docs/failures.md has the table.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/faults.sh"
start_faults

# only_cut_there: every new connection was served, and no other process's connections ended.
only_cut_there() {
    expect_fact .refused 0
    expect "$CASE: connections cut elsewhere" "$(fact '.cut_at | del(.["blue-1"]) | length')" 0
}

killed() {
    begin killed "$TCP_CHECKS"
    hold_on 40
    load_begins
    fault kill -KILL "$ONE"
    wait_until_found down
    let_pass "$RATE"
    back start_one
    wait_until_found up
    let_pass "$RATE"
    finish_child "$HOLDER" || true
    expect "killed: held connections that ended" "$(value killed-hold .failed)" 10
    expect "killed: held connections that answer" "$(report killed-hold | jq -c .answers)" \
        '{"blue-2":10,"green-1":10,"green-2":10}'
    close_ledger
    only_cut_there
    row "killed with -9; of 40 held connections its 10 end, no other"
}

# frozen CASE CHECKS ARGUMENT...: what the kernel accepts for it waits, and is answered when it goes on.
frozen() {
    begin "$@"
    load_begins
    fault kill -STOP "$ONE"
    wait_until_found down
    let_pass "$RATE"
    probe 200
    expect "$CASE: answers of a frozen process" "$(probed '.answers["blue-1"]')" null
    back kill -CONT "$ONE"
    wait_until_found up
    probe 200
    [ "$(probed '.answers["blue-1"]')" != null ] || fail "$CASE: blue-1 is not used again"
    close_ledger
    expect_fact .failed 0
    # Some waited in its queue all the time.
    [ "$(value "$1-load" .slowest_ok_ms)" -ge 1000 ] || fail "$CASE: nobody waited"
}

restarted() {
    begin restarted "$TCP_CHECKS"
    load_begins
    for _ in 1 2 3 4 5; do
        fault kill -KILL "$ONE"
        ended "$ONE" || true
        back start_one
        let_pass "$RATE"
    done
    wait_until_found up
    let_pass "$RATE"
    close_ledger
    only_cut_there
    row "killed with -9 and started again, every second"
}

killed
frozen frozen-http "$HTTP_CHECKS"
expect_fact .spilled 0
expect_fact .retried 0
row "frozen (SIGSTOP), HTTP checks"
frozen frozen-tcp "$TCP_CHECKS" --backlog 16
row "frozen (SIGSTOP), TCP checks, queue of 16"
restarted
stop_teal
