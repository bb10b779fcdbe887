#!/usr/bin/env bash
# Promise 7: 64 MiB of random bytes each way at once through 50 connections, every byte checked at both
# ends; half-close from either side; a reset from either side arrives as a reset.
source "$(dirname "$0")/lib.sh"
need curl jq
need_binaries
settings

MIB=$((1 << 20))
start_backend backend --behaviour bulk blue=127.0.0.1:0 green=127.0.0.1:0
BACKEND=$SPAWNED
{
    head_of_config
    service shop "$POOL_NET.0.10" 7000 "blue=50@$(address backend blue)" "green=50@$(address backend green)"
} >"$CONFIG"
start_teal

run() {
    local end=$1 connections=$2 octets=$3
    spawn "bulk-$end" "$LOAD" bulk "$POOL_NET.0.10:7000" --end "$end" --connections "$connections" --octets "$octets"
    ended "$SPAWNED" || fail "$end: $(report "bulk-$end")"
    say "$end: $connections connections, $octets octets each way: $(value "bulk-$end" .seconds) s"
}
run client-fin 50 $((64 * MIB))
run backend-fin 50 $((4 * MIB))
run backend-reset 50 $((4 * MIB))
run client-reset 50 $((4 * MIB))
# Ends right behind few or no bytes, which is where ends get lost.
for end in client-fin backend-fin backend-reset client-reset; do
    run "$end" 200 0
    run "$end" 200 1
done

expect "connection errors" "$(metric teal_connection_errors_total)" 0
wait_for 5 "resets in teal_connections_closed_total" \
    metric_is 450 teal_connections_closed_total 'reason="backend_reset"'
wait_for 5 "resets in teal_connections_closed_total" \
    metric_is 450 teal_connections_closed_total 'reason="client_reset"'
finish_child "$BACKEND" || fail "the backends saw something wrong: $(report backend)"
stop_teal
