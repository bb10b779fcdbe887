#!/usr/bin/env bash
# A new color that is bad, in each way, at 10 and at 50 % under load: it is caught, held or rolled back as the release
# says, within the numbers of connections that docs/judgement.md states. One that is as good as the old one passes;
# with too little traffic there is no verdict, and the release holds.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/release.sh"
need curl jq
need_binaries
settings

RATE=${RATE:-400}
# What blue takes for an answer; a late green takes ten times as long.
ANSWER_MS=5
# Connections are counted until somebody looks: the engine does each second, and this script on a machine that has
# other things to do.
LOOKS_S=3
# A color that hangs is one once a connection has waited for so long.
HANGS_S=3
CASE_HOST=10

start_backend blue --answer-after "$ANSWER_MS" blue=127.0.0.3:0
head_of_config >"$CONFIG"
start_teal

# begin CASE [ARGUMENT of green's backend...]: an app of one service, with load; green is at fault from now on.
begin() {
    CASE=$1 CASE_HOST=$((CASE_HOST + 1))
    start_backend "$CASE-green" --answer-after "$ANSWER_MS" "${@:2}" green=127.0.0.2:0
    GREEN=$SPAWNED
    [ $# = 1 ] || kill -USR1 "$GREEN"
    {
        cat "$CONFIG"
        printf '[apps.%s]\nservices = ["%s"]\n' "$CASE" "$CASE"
        service "$CASE" "$POOL_NET.0.$CASE_HOST" 7000 \
            "blue=100@$(address blue blue)" "green=0@$(address "$CASE-green" green)"
    } >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
    wait_for 5 "service $CASE" weights_are "100 0" "$CASE"
}

# load_begins RATE
load_begins() {
    spawn "$CASE-load" "$LOAD" open "$POOL_NET.0.$CASE_HOST:7000" --rate "$1" --at-once 8192
    LOADER=$SPAWNED
    let_pass "$CASE" "$1"
}

end() {
    # It fails when connections failed, which is for the case to judge.
    finish_child "$LOADER" || true
    finish_child "$GREEN" || fail "$CASE: green's backend ended with $?"
    FAILED=$(value "$CASE-load" .failed) TRIED=$(value "$CASE-load" .tried)
}

# specification STEPS KEYS: a release file of the case.
specification() {
    printf '[release]\napp = "%s"\nto = "green"\nreason = "a test"\nrollback_close_after = "0s"\n%s\n[release.judgement]\n%s\n' \
        "$CASE" "$1" "$2" >"$WORK/$CASE.toml"
}
step() { printf '[[release.steps]]\npercent = %s\nbake = "%s"\nmin_connections = %s\nmax_wait = "%s"\n' "$@"; }

# Held, or on its way back.
is_caught() { [[ $(of_release "$CASE" '.phase') =~ ^(holding|rolling_back|rolled_back|closed)$ ]]; }

# caught KIND PERCENT WANTED STATED HANGS ARGUMENT...: WANTED is `hold` or `rollback` after a verdict, which on_fail says,
# or `at-once`, whatever it says.
caught() {
    local kind=$1 percent=$2 wanted=$3 stated=$4 hangs=$5 on_fail=hold limit seen what
    [ "$wanted" != rollback ] || on_fail=rollback
    begin "$kind-$percent" "${@:6}"
    specification "$(step "$percent" 1h 300 30m; step 100 0s 300 30m)" "on_fail = \"$on_fail\""
    load_begins "$RATE"
    told 0 start "$WORK/$CASE.toml"
    wait_for 60 "verdict on $CASE" is_caught
    seen=$(decided "$CASE" green)
    what=$(of_release "$CASE" '.decided')
    what=${what#*: }
    case $wanted in
        hold)
            is_held failed "$CASE" || fail "$CASE: held, but $what"
            weights_are "$((100 - percent)) $percent" "$CASE" || fail "$CASE: weights $(weights_of "$CASE") while held"
            told 11 status "$CASE" --exit-code
            told 0 rollback "$CASE" -m "it is bad"
            ;;
        rollback) told 12 wait "$CASE" --for awaiting --timeout 20s ;;
        # A verdict may have come first; what is held rolls back all the same.
        at-once) ;;
    esac
    told 0 wait "$CASE" --for rolled-back --through-holds --timeout 20s
    expect "$CASE: weights after the rollback" "$(weights_of "$CASE")" "100 0"
    told 0 explain "$CASE"
    end
    limit=$((stated + RATE * percent * (LOOKS_S + hangs) / 100))
    say "| $kind | $percent % | $stated | $seen | $wanted | $FAILED of $TRIED | $what |"
    [ "$seen" -le "$limit" ] || fail "$CASE: green had $seen connections before it was caught, over $limit"
}

say '| the new color | step | stated | its connections until caught | what followed | clients that failed | why |'
say '|---|---|---:|---:|---|---:|---|'
for case in "10 6" "50 10"; do
    read -r percent stated <<<"$case"
    # Another color serves: nobody notices.
    caught refuses "$percent" at-once "$stated" 0 --fault refuse
    expect "refuses-$percent: clients that failed" "$FAILED" 0
    caught resets "$percent" at-once "$stated" 0 --fault reset-first
    caught empty "$percent" at-once "$stated" 0 --fault empty
done
caught hangs 10 rollback 6 "$HANGS_S" --fault silent
caught hangs 50 hold 10 "$HANGS_S" --fault silent
caught late 10 hold 16 0 --fault late
expect "late-10: clients that failed" "$FAILED" 0
caught late 50 rollback 43 0 --fault late
expect "late-50: clients that failed" "$FAILED" 0
caught 5-in-100-reset 10 rollback 232 0 --fault reset-first --fault-every 20
caught 5-in-100-reset 50 hold 550 0 --fault reset-first --fault-every 20
caught 5-in-100-empty 10 hold 188 0 --fault empty --fault-every 20
caught 5-in-100-empty 50 rollback 472 0 --fault empty --fault-every 20

good() {
    begin good
    specification "$(step 10 0s 100 1m; step 50 0s 300 1m; step 100 0s 300 1m)" "on_fail = \"rollback\""
    load_begins "$RATE"
    told 0 start "$WORK/good.toml"
    told 0 wait good --for awaiting --timeout 60s
    told 10 status good --exit-code
    expect "good: verdict" "$(of_release good '.members[0].verdict')" pass
    told 0 confirm good -m "all is well" --no-save
    told 0 wait good --for confirmed --timeout 20s
    expect "good: weights" "$(weights_of good)" "0 100"
    end
    expect "good: clients that failed" "$FAILED" 0
    say "an equally good color: pass at 10, 50 and 100 %, confirmed; 0 of $TRIED clients failed"
}

# quiet REACTION CODE
quiet() {
    begin "quiet-$1"
    specification "$(step 10 0s 300 2s; step 100 0s 300 2s)" "on_inconclusive = \"$1\""
    load_begins 20
    told 0 start "$WORK/$CASE.toml"
    told "$2" wait "$CASE" --for awaiting --timeout 30s
    what=$(of_release "$CASE" '.decided')
    [ "$1" = rollback ] || told 0 rollback "$CASE" -m "not enough traffic"
    told 0 wait "$CASE" --for rolled-back --timeout 20s
    end
    expect "$CASE: clients that failed" "$FAILED" 0
    say "too little traffic, on_inconclusive = \"$1\": exit code $2 of wait; $what"
}

good
quiet hold 13
quiet rollback 12
expect "violations of weight 0" "$(metric teal_weight_zero_violations_total)" 0
stop_teal
