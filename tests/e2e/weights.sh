#!/usr/bin/env bash
# 1,000 weight changes at 20 a second, by rename over the file, while clients open connections as
# fast as they can and 1,000 connections are held: none fails, none of the held is cut, every
# interval is exact as far as it can be attributed, and memory stays flat.
source "$(dirname "$0")/lib.sh"
need curl jq python3
need_binaries
settings

CHANGES=${CHANGES:-1000}
# Quiet services make a snapshot large, so that one kept for every change would be seen: the catalog
# of 40 services is more than 10 KiB, which is 10 MiB after 1,000 changes.
QUIET=40
GROWTH_KIB_MAX=4096

start_backend backend blue=127.0.0.1:0 green=127.0.0.1:0
BACKEND=$SPAWNED
blue=$(address backend blue) green=$(address backend green)
{
    head_of_config
    for index in $(seq "$QUIET"); do
        service "quiet$index" "$POOL_NET.1.$index" 7000 "blue=100@$blue" "green=0@$green"
    done
    service shop "$POOL_NET.0.10" 7000 "blue=@BLUE@@$blue" "green=@GREEN@@$green"
} >"$WORK/template.toml"
sed -e 's/@BLUE@/50/' -e 's/@GREEN@/50/' "$WORK/template.toml" >"$CONFIG"
start_teal
resident() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$TEAL_PID/status"; }
flip() {
    python3 "$ROOT/tests/e2e/flip.py" --config "$CONFIG" --template "$WORK/template.toml" --service shop \
        --metrics "http://127.0.0.1:$METRICS_PORT/metrics" --rate 20 --changes "$1"
}

spawn hold "$LOAD" hold "$POOL_NET.0.10:7000" --connections 1000
HOLD=$SPAWNED
wait_for 20 "1,000 held connections" grep -q '^holding 1000$' "$WORK/hold.log"
spawn open "$LOAD" open "$POOL_NET.0.10:7000" --at-once 32
OPEN=$SPAWNED

flip 100 || fail "while warming up"
before=$(resident)
flip "$CHANGES" || fail "during the changes"
after=$(resident)

finish_child "$OPEN" || fail "connections failed: $(report open)"
finish_child "$HOLD" || fail "held connections were cut: $(report hold)"
say "opened: $(report open)"
say "held: $(report hold)"
say "resident memory: $before KiB before the changes, $after KiB after them"
[ $((after - before)) -le "$GROWTH_KIB_MAX" ] || fail "memory grew by $((after - before)) KiB"

decided=$(metric teal_split_decisions_total 'service="shop"')
expect "split decisions against connections tried" "$decided" $(($(value open .tried) + 1000))
expect "violations of weight 0" "$(metric teal_weight_zero_violations_total)" 0
expect "connection errors" "$(metric teal_connection_errors_total)" 0
finish_child "$BACKEND" || fail "the backend saw something wrong"
seen=$(report backend | jq '.blue.connections + .green.connections')
expect "connections seen by the backends" "$seen" "$decided"
stop_teal
