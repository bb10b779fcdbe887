#!/usr/bin/env bash
# Drains under load: an endpoint that is taken out of use, a color and a service that are removed. New connections
# all succeed; of those that are open the idle ones end by FIN before drain_timeout is over, the others live until
# then and end by RST, paced; `teal drain --wait` says how many are left and returns when none is.
source "$(dirname "$0")/lib.sh"
need curl jq
need_binaries
settings

TIMEOUT=15
# On each endpoint that drains; the busy ones of the removed service take several rounds to cut.
IDLE=40 BUSY=40 BUSY_GONE=500
DISABLED=$POOL_NET.0.10:7000 COLOR=$POOL_NET.0.11:7000 GONE=$POOL_NET.0.12:7000

start_backend backend blue-1=127.0.0.2:0 blue-2=127.0.0.2:0 green-1=127.0.0.2:0
ONE=$(address backend blue-1) TWO=$(address backend blue-2) GREEN=$(address backend green-1)

two_endpoints() {
    printf '[services.disabled]\nvip = "%s"\nports = [{ listen = 7000 }]\n' "${DISABLED%:*}"
    printf '[services.disabled.colors.blue]\nweight = 100\nendpoints = ["%s", "%s"]\n' "$ONE" "$TWO"
}
head_of_drains() { head_of_config && echo "drain_timeout = \"${TIMEOUT}s\"" && two_endpoints; }
{
    head_of_drains
    service color "${COLOR%:*}" 7000 "blue=50@$ONE" "green=50@$GREEN"
    service gone "${GONE%:*}" 7000 "blue=100@$ONE"
} >"$CONFIG"
start_teal

# watch LOG WHERE COUNT [ARGUMENT...]: holds so many connections.
watch() {
    spawn "$1" "$LOAD" watch "$2" --connections "${@:3}"
    wait_for 20 "$3 connections of $1" grep -q "^holding $3\$" "$WORK/$1.log"
}
watch disabled-idle "$DISABLED" $((2 * IDLE)) && DISABLED_IDLE=$SPAWNED
watch disabled-busy "$DISABLED" $((2 * BUSY)) --every-ms 500 && DISABLED_BUSY=$SPAWNED
watch color-idle "$COLOR" $((2 * IDLE)) && COLOR_IDLE=$SPAWNED
watch color-busy "$COLOR" $((2 * BUSY)) --every-ms 500 && COLOR_BUSY=$SPAWNED
watch gone-idle "$GONE" "$IDLE" && GONE_IDLE=$SPAWNED
watch gone-busy "$GONE" "$BUSY_GONE" --every-ms 500 && GONE_BUSY=$SPAWNED

served() { [ "$(metric teal_connections_total "service=\"$1\"")" -ge "$2" ]; }
declare -A LOADS WAITS
spawn load-disabled "$LOAD" open "$DISABLED" --rate 200 --at-once 1000 && LOADS[disabled]=$SPAWNED
spawn load-color "$LOAD" open "$COLOR" --rate 200 --at-once 1000 && LOADS[color]=$SPAWNED
wait_for 20 "load on the endpoint" served disabled 400
wait_for 20 "load on the color" served color 400

wait_for_drain() { spawn "wait-$1" "$TEAL" drain --socket "$SOCKET" "$@" --wait; }
BEGAN=${EPOCHREALTIME/,/.}
wait_for_drain disabled blue "$ONE" -m "it drains" && WAITS[disabled]=$SPAWNED
wait_for 10 "connections that drain" grep -q 'left on this host' "$WORK/wait-disabled.log"
{
    head_of_drains
    service color "${COLOR%:*}" 7000 "green=50@$GREEN"
} >"$CONFIG.new"
mv "$CONFIG.new" "$CONFIG"
"$TEAL" reload --socket "$SOCKET" --allow-removal >"$WORK/reload.log" 2>&1 || fail "teal reload"
REMOVED=${EPOCHREALTIME/,/.}
wait_for_drain color blue && WAITS[color]=$SPAWNED
wait_for_drain gone && WAITS[gone]=$SPAWNED

# only_from WHERE NAME: a thousand new connections all reach that one.
only_from() {
    "$LOAD" open "$1" --connections 1000 --at-once 8 >"$WORK/probe.log" || fail "new connections: $(report probe)"
    expect "answers of $1" "$(report probe | jq -c .answers)" "{\"$2\":1000}"
}
only_from "$DISABLED" blue-2
only_from "$COLOR" green-1
! "$LOAD" open "$GONE" --connections 1 >"$WORK/probe.log" || fail "a removed service is served"

for name in disabled color gone; do
    ended "${WAITS[$name]}" || fail "teal drain $name --wait ended with $?"
    expect_match "teal drain $name --wait" "$(cat "$WORK/wait-$name.log")" \
        'connections are left on this host, the oldest .*; the rest is closed in'
    expect "last words of teal drain $name --wait" "$(tail -n 1 "$WORK/wait-$name.log")" \
        "no connection is left to drain on this host"
done
for loader in disabled color; do
    finish_child "${LOADS[$loader]}" || fail "new connections failed under load: $(report "load-$loader")"
done
for watched in "$DISABLED_IDLE" "$DISABLED_BUSY" "$COLOR_IDLE" "$COLOR_BUSY"; do finish_child "$watched"; done
for watched in "$GONE_IDLE" "$GONE_BUSY"; do ended "$watched"; done

# holds WHAT LOG CONDITION: of the report, in which $began and $removed are when the drains began.
holds() {
    report "$2" | jq -e --argjson began "$BEGAN" --argjson removed "$REMOVED" --argjson timeout "$TIMEOUT" "$3" \
        >/dev/null || fail "$1: $(report "$2")"
}
for name in disabled color gone; do
    count=$BUSY && [ "$name" != gone ] || count=$BUSY_GONE
    holds "$name, idle ones" "$name-idle" \
        ".[\"blue-1\"] | .fin.count == $IDLE and .reset.count == 0 and .open == 0"
    # A second for those who look.
    holds "$name, idle ones end before the deadline" "$name-idle" ".[\"blue-1\"].fin.last < \$removed + \$timeout + 1"
    # Of the removed service so many are asked at a time that its idle ones come first and together.
    [ "$name" = gone ] || holds "$name, idle ones are paced" "$name-idle" '.["blue-1"].fin | .last - .first > 1'
    holds "$name, busy ones" "$name-busy" \
        ".[\"blue-1\"] | .reset.count == $count and .fin.count == 0 and .open == 0"
    holds "$name, busy ones live until the deadline" "$name-busy" ".[\"blue-1\"].reset.first >= \$began + \$timeout"
    jq -r --arg what "$name" --argjson began "$BEGAN" -s '
        def span: "\(.first - $began | floor) to \(.last - $began | ceil) s";
        "\($what): \(.[0].fin.count) idle ended by FIN after \(.[0].fin | span), " +
        "\(.[1].reset.count) busy by RST after \(.[1].reset | span)"' \
        <(report "$name-idle" | jq '.["blue-1"]') <(report "$name-busy" | jq '.["blue-1"]')
done
holds "cutting $BUSY_GONE is paced" gone-busy '.["blue-1"].reset | .last - .first > 0.9'
for log in disabled-idle disabled-busy; do holds "other endpoint" $log '.["blue-2"] | .open == 40 and .fin.count == 0'; done
for log in color-idle color-busy; do holds "other color" $log '.["green-1"] | .open == 40 and .fin.count == 0'; done
expect "ended as idle" "$(metric teal_connections_closed_total 'service="disabled"' 'reason="drain_idle"')" "$IDLE"
expect "cut" "$(metric teal_connections_closed_total 'service="disabled"' 'reason="drain_deadline"')" "$BUSY"
say "new connections meanwhile: $(value load-disabled .tried) and $(value load-color .tried), 0 failed"
stop_teal
