#!/usr/bin/env bash
# The packets to a backend vanish on their way, under load: nftables drops them in the namespace where the
# backends are, behind a veth link. New connections all succeed, and held ones live on. docs/failures.md has
# the table.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/faults.sh"
need nft
two_namespaces
ONE_IP=10.199.0.2 REST_IP=10.199.0.3
"${BACKEND_IN[@]}" nft 'add table inet hole; add chain inet hole in { type filter hook input priority 0; }' \
    || skip "no nftables here"
start_faults

open_hole() { "${BACKEND_IN[@]}" nft add rule inet hole in ip daddr "$ONE_IP" drop; }
close_hole() { "${BACKEND_IN[@]}" nft flush chain inet hole in; }

black_holed() {
    begin black-holed "$TCP_CHECKS"
    hold_on 40
    load_begins
    fault open_hole
    wait_until_found down
    let_pass "$RATE"
    probe 200
    expect "black-holed: answers of blue-1 while it is down" "$(probed '.answers["blue-1"]')" null
    expect "black-holed: failed while it is down" "$(probed .failed)" 0
    back close_hole
    wait_until_found up
    let_pass "$RATE"
    # Nothing was said on these meanwhile.
    finish_child "$HOLDER" || fail "black-holed: held connections ended: $(report black-holed-hold)"
    close_ledger
    # TCP says again what got lost, well before clients give up.
    expect_fact .failed 0
    expect_some .retried
    row "black-holed: its packets are dropped; 40 held connections live on"
}

black_holed
stop_teal
