#!/usr/bin/env bash
# What Prometheus says about the metrics, after traffic, an error, a good and a bad reload.
source "$(dirname "$0")/lib.sh"
need curl jq promtool
need_binaries
settings

start_backend backend blue=127.0.0.1:0
blue=$(address backend blue)
read -r closed <<<"$("$LOAD" ports 1)"
write() {
    { head_of_config; service shop "$POOL_NET.0.10" 7000 "blue=$1@$blue" "green=0@$blue"
      service dead "$POOL_NET.0.11" 7000 "blue=1@127.0.0.1:$closed"; } >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
}
write 100
start_teal
"$LOAD" open "$POOL_NET.0.10:7000" --connections 100 >/dev/null || fail "connections failed"
"$LOAD" open "$POOL_NET.0.11:7000" --connections 1 >/dev/null && fail "a closed port answered"
write 50
wait_for 5 "applied reload" metric_is 1 teal_config_last_reload_successful
wait_for 5 "new weight" metric_is 50 teal_color_weight 'service="shop"' 'color="blue"'
echo 'weight = "nonsense' >"$CONFIG.new" && mv "$CONFIG.new" "$CONFIG"
wait_for 5 "rejected reload" metric_is 0 teal_config_last_reload_successful

http /metrics >"$WORK/metrics"
promtool check metrics <"$WORK/metrics" >"$WORK/promtool.log" 2>&1 || fail "promtool objects"
[ ! -s "$WORK/promtool.log" ] || fail "promtool has remarks: $(cat "$WORK/promtool.log")"
for family in teal_split_decisions_total teal_connections_total teal_connection_errors_total teal_color_weight \
    teal_bytes_total teal_connect_duration_seconds_bucket teal_config_reloads_total teal_build_info; do
    grep -q "^${family}[{ ]" "$WORK/metrics" || fail "$family is missing"
done
say "$(grep -c '^teal_' "$WORK/metrics") series, $(grep -c '^# TYPE' "$WORK/metrics") families"
stop_teal
