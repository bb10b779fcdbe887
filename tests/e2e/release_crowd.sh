#!/usr/bin/env bash
# 100 clients ask for status and releases all the time while a release shifts 60 times under load: every question is
# answered, words are heard at once, every shift takes effect, and no connection fails.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/release.sh"
need curl jq python3
need_binaries
settings

SHIFTS=${SHIFTS:-60}
# Generous: this machine has other things to do.
ANSWER_MS_MAX=5000

start_backend backend blue=127.0.0.2:0 green=127.0.0.3:0
{
    head_of_config
    printf '[apps.shop]\nservices = ["servicea", "serviceb"]\n'
    for number in 0 1; do
        service "service$([ "$number" = 0 ] && echo a || echo b)" "$POOL_NET.0.1$number" 7000 \
            "blue=100@$(address backend blue)" "green=0@$(address backend green)"
    done
} >"$CONFIG"
start_teal
spawn open "$LOAD" open "$POOL_NET.0.10:7000" --rate 200 --at-once 256
LOADER=$SPAWNED
spawn crowd python3 "$ROOT/tests/e2e/crowd.py" --socket "$SOCKET"
CROWD=$SPAWNED
wait_for 10 "the crowd" grep -q '^ready$' "$WORK/crowd.log"

SLOWEST=0
# timed CODE ARGUMENT...: `told`, and how long it took.
timed() {
    local begin took
    begin=$(date +%s%N)
    told "$@"
    took=$((($(date +%s%N) - begin) / 1000000))
    [ "$took" -le "$SLOWEST" ] || SLOWEST=$took
}

{
    printf '[release]\napp = "shop"\nto = "green"\nreason = "a test"\nrollback_close_after = "0s"\n'
    printf '[[release.steps]]\npercent = 10\nbake = "1h"\nmin_connections = 0\n[[release.steps]]\npercent = 100\n'
    printf '[release.judgement]\nenabled = false\n'
} >"$WORK/shop.toml"
timed 0 start "$WORK/shop.toml"
wait_for 10 "the first step" weights_are "90 10" servicea
for shift in $(seq "$SHIFTS"); do
    percent=$((shift * 37 % 99 + 1))
    timed 0 set shop servicea=$percent -m "shift $shift"
    expect "weights after shift $shift" "$(weights_of servicea)" "$((100 - percent)) $percent"
done
timed 0 rollback shop -m "enough"
expect "weights after the rollback" "$(weights_of servicea)" "100 0"

finish_child "$CROWD" || fail "the crowd ended with $?"
finish_child "$LOADER" || fail "connections failed: $(report open)"
expect "questions without an answer ($(value crowd .why))" "$(value crowd .failed)" 0
say "$(value crowd .answers) answers, the slowest after $(value crowd .slowest_ms) ms; $((SHIFTS + 2)) words meanwhile, the" \
    "slowest after $SLOWEST ms; $(value open .ok) connections, 0 failed"
[ "$SLOWEST" -le "$ANSWER_MS_MAX" ] || fail "a word took $SLOWEST ms"
told 0 log --verify
stop_teal
