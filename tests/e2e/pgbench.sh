#!/usr/bin/env bash
# Promise 3 with a database: pgbench goes on while weights change 20 times a second, and while blue is set to 0 in
# the middle of it: no transaction fails, and no connection is cut. Once with connections that stay, once with one
# for each transaction. Blue and green are two addresses of one server. Seconds, or minutes with LONG=1.
source "$(dirname "$0")/lib.sh"
need curl jq python3
find_postgres || skip "postgresql is not installed"
need_binaries
settings

BENCH_SECONDS=$([ "${LONG:-0}" = 1 ] && echo 180 || echo 6)
read -r PORT <<<"$("$LOAD" ports 1)"
start_postgres "$PORT" 127.0.0.1 127.0.0.2
{
    head_of_config
    service base "$POOL_NET.0.21" 5432 "blue=@BLUE@@127.0.0.1:$PORT" "green=@GREEN@@127.0.0.2:$PORT"
} >"$WORK/template.toml"
weights() {
    sed -e "s/@BLUE@/$1/" -e "s/@GREEN@/$2/" "$WORK/template.toml" >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
}

# bench_begins NAME, bench_ends NAME: connections that stay, and new ones.
bench_begins() {
    local to=(-h "$POOL_NET.0.21" -p 5432 -U teal -T "$BENCH_SECONDS" postgres)
    spawn "$1-stay" "$PG/pgbench" -c 8 "${to[@]}"
    STAY=$SPAWNED
    spawn "$1-new" "$PG/pgbench" -C -c 4 "${to[@]}"
    NEW=$SPAWNED
    wait_for 10 "the first connections" at_least_served $((SERVED + 50))
}
bench_ends() {
    ended "$STAY" || fail "$1-stay: pgbench ends with $?"
    ended "$NEW" || fail "$1-new: pgbench ends with $?"
    bench_held "$1-stay"
    bench_held "$1-new"
    wait_for 10 "end of all connections" metric_is 0 teal_connections_active
    SERVED=$(metric teal_connections_total)
}
at_least_served() { [ "$(metric teal_connections_total)" -ge "$1" ]; }
SERVED=0

weights 50 50
start_teal
bench_begins flips
python3 "$ROOT/tests/e2e/flip.py" --config "$CONFIG" --template "$WORK/template.toml" --service base \
    --metrics "http://127.0.0.1:$METRICS_PORT/metrics" --rate 20 --changes $((BENCH_SECONDS * 16)) || fail "flips"
bench_ends flips

weights 100 0
wait_for 5 "weight of blue" metric_is 100 teal_color_weight 'color="blue"'
bench_begins zero
weights 0 100
wait_for 5 "weight 0 of blue" metric_is 0 teal_color_weight 'color="blue"'
blue=$(metric teal_connections_total 'color="blue"')
green=$(metric teal_connections_total 'color="green"')
[ "$(metric teal_draining_connections 'color="blue"')" -ge 8 ] || fail "those that stay are not on blue"
bench_ends zero
# One may have been decided before the change, and be served after the count.
last=$(($(metric teal_connections_total 'color="blue"') - blue))
[ "$last" -le 4 ] || fail "blue got $last connections at weight 0"
say "blue at 0: its 8 connections stay, $(($(metric teal_connections_total 'color="green"') - green)) new ones on green"

expect "violations of weight 0" "$(metric teal_weight_zero_violations_total)" 0
expect "connection errors" "$(metric teal_connection_errors_total)" 0
expect "ends by FIN" "$(metric teal_connections_closed_total 'reason="finished"')" "$(metric teal_connections_closed_total)"
stop_postgres
stop_teal
