#!/usr/bin/env bash
# kill -9 at 200 random times (40 without LONG) while releases move two services under load: whatever teal was doing,
# it comes up with the weights that were applied last, the same for both, and goes no further until it is told to.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/release.sh"
need curl python3
need_binaries
settings

KILLS=${KILLS:-$([ "${LONG:-0}" = 1 ] && echo 200 || echo 40)}

start_backend backend blue=127.0.0.2:0 green=127.0.0.3:0
blue=$(address backend blue) green=$(address backend green)
{
    head_of_config
    printf '[apps.shop]\nservices = ["servicea", "serviceb"]\n'
    service servicea "$POOL_NET.0.10" 7000 "blue=100@$blue" "green=0@$green"
    service serviceb "$POOL_NET.0.11" 7000 "blue=100@$blue" "green=0@$green"
} >"$CONFIG"
for color in green blue; do
    {
        printf '[release]\napp = "shop"\nto = "%s"\nrollback_close_after = "100ms"\n' "$color"
        for percent in 10 30 60 100; do
            printf '[[release.steps]]\npercent = %s\nbake = "0s"\nmin_connections = 0\n' "$percent"
        done
        printf '[release.judgement]\nenabled = false\n'
    } >"$WORK/to-$color.toml"
done
# They fail while teal is gone, which is not what this is about.
for host in 10 11; do spawn "open-$host" "$LOAD" open "$POOL_NET.0.$host:7000" --rate 100 --at-once 1024; done

: >"$WORK/teal.log"
python3 "$ROOT/tests/e2e/release_kill.py" --teal "$TEAL" --config "$CONFIG" --state "$STATE" --socket "$SOCKET" \
    --ready "http://127.0.0.1:$METRICS_PORT/readyz" --log "$WORK/teal.log" \
    --to-green "$WORK/to-green.toml" --to-blue "$WORK/to-blue.toml" --kills "$KILLS" ${SEED:+--seed "$SEED"} \
    || fail "see above"
