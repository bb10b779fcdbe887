#!/usr/bin/env bash
# An endpoint dies under load and comes back with slow_start: its share grows second by second until it is whole,
# and no connection fails. docs/failures.md has the table.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/faults.sh"
start_faults

WHOLE=12
SHARES=()

# note_share: of 200 new connections, what blue-1 gets of blue's, in percent.
note_share() {
    probe 200
    expect "slow-start: failed" "$(probed .failed)" 0
    SHARES+=("$(probed '.answers | 100 * (.["blue-1"] // 0) / ((.["blue-1"] // 0) + .["blue-2"]) | round')")
}
# mean FROM COUNT
mean() {
    local sum=0 share
    for share in "${SHARES[@]:$1:$2}"; do sum=$((sum + share)); done
    echo $((sum / $2))
}

begin slow-start "$TCP_CHECKS"$'\nslow_start = "'"$WHOLE"$'s"'
load_begins
fault kill -KILL "$ONE"
wait_until_found down
let_pass "$RATE"
back start_one
wait_until_found up
UP=$SECONDS
while [ $((SECONDS - UP)) -le $((WHOLE + 2)) ]; do
    note_share
    let_pass "$RATE"
done
close_ledger
expect_fact .refused 0
row "killed with -9; back with \`slow_start = \"${WHOLE}s\"\`"
say "share of blue-1 in its color after it is back, in percent, about one a second: ${SHARES[*]}"

third=$((${#SHARES[@]} / 3))
[ "$third" -ge 2 ] || skip "this machine is too busy: ${#SHARES[@]} looks in $WHOLE s"
begin=$(mean 0 $third) middle=$(mean $third $third) end=$(mean $((2 * third)) $third)
say "means of its three thirds: $begin, $middle, $end %"
[ "${SHARES[0]}" -le 35 ] || fail "its share is ${SHARES[0]} % at once"
if [ "$begin" -ge "$middle" ] || [ "$middle" -ge "$end" ]; then fail "its share does not grow"; fi
last=${SHARES[-1]}
if [ "$last" -lt 45 ] || [ "$last" -gt 55 ]; then fail "its share is $last % in the end"; fi
stop_teal
