#!/usr/bin/env bash
# Idle connections are held while short ones come and go: descriptors are the same after it as before,
# memory does not grow, and every held connection still works. 1,000 held and 4,000 short ones in 4 s; with
# LONG=1 8,000 and 20,000 in 5 minutes.
source "$(dirname "$0")/lib.sh"
need curl jq
need_binaries
settings

if [ "${LONG:-0}" = 1 ]; then
    HELD=${HELD:-8000} SHORT=${SHORT:-20000} RATE=67
else
    HELD=${HELD:-1000} SHORT=${SHORT:-4000} RATE=1000
fi
# An allocator's noise; 64 octets lost with each short connection would be 250 KiB, 1,250 with LONG=1.
GROWTH_KIB_MAX=128
# A connection takes two in teal, and one at each end.
[ "$(ulimit -Hn)" -ge $((HELD * 2 + 1000)) ] || skip "descriptors: $(ulimit -Hn) are not enough for $HELD connections"

start_backend backend blue=127.0.0.1:0 green=127.0.0.1:0
{
    head_of_config
    service shop "$POOL_NET.0.10" 7000 "blue=50@$(address backend blue)" "green=50@$(address backend green)"
} >"$CONFIG"
start_teal
VIP=$POOL_NET.0.10:7000

of_status() { awk -v what="$1:" '$1 == what { print $2 }' "/proc/$TEAL_PID/status"; }
descriptors() { find "/proc/$TEAL_PID/fd" -mindepth 1 -maxdepth 1 | wc -l; }
# measure WHAT MOST: once only the held connections are open, and at most so many descriptors.
measure() {
    wait_for 10 "$HELD open connections" metric_is "$HELD" teal_connections_active
    wait_for 10 "end of further descriptors ($2 and no more)" descriptors_at_most "$2"
    RESIDENT=$(of_status VmRSS) DESCRIPTORS=$(descriptors)
    say "$1: $DESCRIPTORS descriptors, $RESIDENT KiB resident"
}
descriptors_at_most() { [ "$(descriptors)" -le "$1" ]; }

idle=$(descriptors)
say "idle: $idle descriptors, $(of_status VmRSS) KiB resident"
spawn hold "$LOAD" hold "$VIP" --connections "$HELD"
HOLD=$SPAWNED
wait_for 60 "$HELD held connections" grep -q "^holding $HELD\$" "$WORK/hold.log"
"$LOAD" open "$VIP" --connections 4000 --at-once 64 >"$WORK/warm.log" || fail "while warming up: $(report warm)"
measure "$HELD held" $((idle + HELD * 2))
before_resident=$RESIDENT before_descriptors=$DESCRIPTORS
"$LOAD" open "$VIP" --connections "$SHORT" --rate "$RATE" --at-once 64 >"$WORK/open.log" \
    || fail "connections failed: $(report open)"
measure "after $SHORT short ones in $(value open '.seconds | floor') s" "$before_descriptors"
[ $((RESIDENT - before_resident)) -le "$GROWTH_KIB_MAX" ] || fail "memory grew by $((RESIDENT - before_resident)) KiB"
finish_child "$HOLD" || fail "held connections were cut: $(report hold)"
say "held: all $(value hold .ok) answer"
expect "connection errors" "$(metric teal_connection_errors_total)" 0
stop_teal
