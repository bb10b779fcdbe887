#!/usr/bin/env bash
# Promise 1 with real connections: 100,000 through each of four splits, counted by the backends, by
# the clients and by teal itself, all three the same and within the bound.
source "$(dirname "$0")/lib.sh"
need curl jq python3
need_binaries
settings

CONNECTIONS=${CONNECTIONS:-100000}
# name:weights, by color; colors are named in the order of the alphabet.
SPLITS=("ab:97 3" "half:50 50" "rare:1 999" "four:5 3 2 1")
COLORS=(blue green red white)

listeners=()
for split in "${SPLITS[@]}"; do
    index=0
    for _ in ${split#*:}; do
        listeners+=("${split%%:*}-${COLORS[index]}=127.0.0.1:0")
        index=$((index + 1))
    done
done
start_backend backend "${listeners[@]}"
BACKEND=$SPAWNED

host=10
{
    head_of_config
    for split in "${SPLITS[@]}"; do
        name=${split%%:*}
        index=0
        colors=()
        for weight in ${split#*:}; do
            colors+=("${COLORS[index]}=$weight@$(address backend "$name-${COLORS[index]}")")
            index=$((index + 1))
        done
        service "$name" "$POOL_NET.0.$host" 7000 "${colors[@]}"
        host=$((host + 1))
    done
} >"$CONFIG"
start_teal

host=10
for split in "${SPLITS[@]}"; do
    name=${split%%:*}
    "$LOAD" open "$POOL_NET.0.$host:7000" --connections "$CONNECTIONS" --at-once 64 >"$WORK/open-$name.log" \
        || fail "$name: connections failed: $(report "open-$name")"
    host=$((host + 1))
done
http /metrics >"$WORK/metrics"
finish_child "$BACKEND" || fail "the backend saw something wrong"

for split in "${SPLITS[@]}"; do
    python3 "$ROOT/tests/e2e/check_split.py" "${split%%:*}" "${split#*:}" "$CONNECTIONS" \
        "$(report "open-${split%%:*}")" "$(report backend)" "$WORK/metrics" || fail "${split%%:*}"
done
expect "violations of weight 0" "$(metric teal_weight_zero_violations_total)" 0
expect "connection errors" "$(metric teal_connection_errors_total)" 0
stop_teal
