# What the failure scenarios share; sourced after lib.sh.
# shellcheck shell=bash disable=SC2034 # the scenarios use what is set here
#
# Each case has a service of its own: blue and green at 50:50, two endpoints each. Those that something happens
# to are one process, the others another. Connections come at a steady rate from before the fault until after
# its end. At the end of a case clients, metrics and connection log must agree on every connection
# (ledger.py), and the case prints its row of the table in docs/failures.md.

RATE=${RATE:-400}
# The endpoints that something happens to; where they and the others listen. Connections come from 127.0.0.1, and
# must not take a port as their source that its backend wants back.
AT_FAULT=(blue-1)
ONE_IP=127.0.0.2 REST_IP=127.0.0.3
CASE_HOST=10
TEAL_ARGUMENTS=(--log-format json)

# Checks that find out soon; the defaults take several times as long.
TCP_CHECKS='health = { kind = "tcp", interval = "500ms", timeout = "500ms", rise = 2, fall = 2 }'
HTTP_CHECKS='health = { kind = "http", interval = "500ms", timeout = "500ms", rise = 2, fall = 2 }'

start_faults() {
    need curl jq python3
    need_binaries
    settings
    { head_of_config; echo 'log_connections = true'; } >"$CONFIG"
    start_teal
    say '| what goes wrong | tried | failed | of these cut | spilled | further tries | last failure | last effect | used again |'
    say '|---|---:|---:|---:|---:|---:|---:|---:|---:|'
}

# begin CASE SETTINGS [ARGUMENT of the backend at fault...]: backends and the service, once all are found to work.
begin() {
    CASE=$1 CASE_HOST=$((CASE_HOST + 1)) REPORTS=() HELD=() FAULT=0 BACK=0 LOADER='' REST=''
    VIP=$POOL_NET.0.$CASE_HOST:7000
    ONE_ARGUMENTS=("${@:3}") ONE_LISTENERS=()
    local name rest=()
    : >"$WORK/$CASE-rest.log"
    for name in blue-1 blue-2 green-1 green-2; do
        if [[ " ${AT_FAULT[*]} " == *" $name "* ]]; then
            ONE_LISTENERS+=("$name=$ONE_IP:0")
        else
            rest+=("$name=$REST_IP:0")
        fi
    done
    start_one
    [ "${#rest[@]}" = 0 ] || { start_backend "$CASE-rest" "${rest[@]}" && REST=$SPAWNED; }
    # From here on they keep their ports.
    ONE_LISTENERS=()
    for name in "${AT_FAULT[@]}"; do ONE_LISTENERS+=("$name=$(at "$name")"); done
    { cat "$CONFIG" && case_service "$2"; } >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
    wait_for 5 "four endpoints of $CASE that work" works 4
}

# start_one: the backend at fault; its id is in ONE.
start_one() {
    start_backend "$CASE-one" "${ONE_ARGUMENTS[@]}" "${ONE_LISTENERS[@]}"
    ONE=$SPAWNED
}

# at NAME: where that endpoint of the case is.
at() {
    address "$CASE-one" "$1"
    address "$CASE-rest" "$1"
}

case_service() {
    printf '[services.%s]\nvip = "%s"\nports = [{ listen = 7000 }]\n%s\n' "$CASE" "${VIP%:*}" "$1"
    local color
    for color in blue green; do
        printf '[services.%s.colors.%s]\nweight = 50\nendpoints = ["%s", "%s"]\n' \
            "$CASE" "$color" "$(at "$color-1")" "$(at "$color-2")"
    done
}

# works COUNT: so many of the case's endpoints work, or have no checks.
works() {
    local healthy unchecked
    healthy=$(of_case teal_color_endpoints 'state="healthy"')
    unchecked=$(of_case teal_color_endpoints 'state="unchecked"')
    [ $((healthy + unchecked)) = "$1" ]
}
of_case() { metric "$1" "service=\"$CASE\"" "${@:2}"; }
of_case_is() { [ "$(of_case "${@:2}")" = "$1" ]; }

# found UP|DOWN: checks say so of every endpoint at fault.
found() {
    local name up
    [ "$1" = up ] && up=1 || up=0
    for name in "${AT_FAULT[@]}"; do of_case_is "$up" teal_endpoint_up "endpoint=\"$(at "$name")\"" || return; done
}
wait_until_found() { wait_for 15 "${AT_FAULT[*]} of $CASE found $1" found "$1"; }

# load_begins, load_ends: connections at the steady rate.
load_begins() {
    spawn "$CASE-load" "${IN[@]}" "$LOAD" open "$VIP" --rate "$RATE" --at-once 8192
    LOADER=$SPAWNED
    let_pass "$RATE"
}
load_ends() {
    # It fails when connections failed, which is for the case to judge.
    finish_child "$LOADER" || true
    REPORTS+=("$(report "$CASE-load")")
}

# let_pass COUNT: waits until so many further connections have come.
let_pass() {
    local enough=$(($(of_case teal_split_decisions_total) + $1))
    wait_for 20 "$1 further connections" at_least "$enough"
}
at_least() { [ "$(of_case teal_split_decisions_total)" -ge "$1" ]; }

# probe COUNT: so many connections now; their report is in PROBED and goes into the ledger.
probe() {
    "${IN[@]}" "$LOAD" open "$VIP" --connections "$1" --at-once 8 >"$WORK/$CASE-probe.log" 2>&1 || true
    PROBED=$(report "$CASE-probe")
    REPORTS+=("$PROBED")
}
probed() { jq -r "$1" <<<"$PROBED"; }

# hold_on COUNT: holds so many connections, a quarter on each endpoint; they must be a service's first.
hold_on() {
    spawn "$CASE-hold" "${IN[@]}" "$LOAD" hold "$VIP" --connections "$1"
    HOLDER=$SPAWNED
    wait_for 10 "$1 held connections" grep -q "^holding $1\$" "$WORK/$CASE-hold.log"
    local name
    for name in blue-1 blue-2 green-1 green-2; do HELD+=("$name=$(($1 / 4))"); done
}

fault() {
    FAULT=${EPOCHREALTIME/,/.}
    "$@"
}
back() {
    "$@"
    BACK=${EPOCHREALTIME/,/.}
}

logged_all() { [ "$(grep -c "\"service\":\"$CASE\".*\"teal::connection\"" "$WORK/teal.log")" -ge "$1" ]; }

# close_ledger: ends the load, and compares; the facts are in FACTS.
close_ledger() {
    local code=0 arguments=() entry name
    load_ends
    wait_for 10 "end of open connections" of_case_is 0 teal_connections_active
    wait_for 10 "lines of the connection log" logged_all "$(of_case teal_split_decisions_total)"
    expect "lines that the connection log left out" "$(metric teal_connection_log_dropped_total)" 0
    expect "violations of weight 0" "$(of_case teal_weight_zero_violations_total)" 0
    http /metrics >"$WORK/metrics"
    for entry in "${REPORTS[@]}"; do arguments+=(--report "$entry"); done
    for entry in "${HELD[@]}"; do arguments+=(--held "$entry"); done
    for name in blue-1 blue-2 green-1 green-2; do arguments+=(--name "$name=$(at "$name")"); done
    for name in "${AT_FAULT[@]}"; do arguments+=(--endpoint "$name"); done
    FACTS=$(python3 "$ROOT/tests/e2e/ledger.py" --service "$CASE" --log "$WORK/teal.log" --metrics "$WORK/metrics" \
        --fault "$FAULT" --back "$BACK" "${arguments[@]}" 2>"$WORK/ledger.log") || code=$?
    [ "$code" = 0 ] || fail "$CASE: the ledgers differ"
}
fact() { jq -r "$1" <<<"$FACTS"; }
expect_fact() { expect "$CASE, $1" "$(fact "$1")" "$2"; }
expect_some() { [ "$(fact "$1")" -gt 0 ] || fail "$CASE, $1: none"; }
# expect_reset_only: whoever failed saw a reset, and nobody an end that looks proper.
expect_reset_only() {
    expect "$CASE: other failures than resets" \
        "$(jq -r '.errors | del(.["read: Connection reset by peer (os error 104)"]) | tostring' <<<"${REPORTS[-1]}")" '{}'
}

# row WHAT: prints the case's row, and ends its backends.
row() {
    jq -r --arg what "$1" '
        def seconds: if . == null then "–" elif type == "string" then . else "\(. * 100 | round / 100) s" end;
        "| \($what) | \(.tried) | \(.failed) | \(.cut) | \(.spilled) | \(.retried)",
        "| \(.failure | seconds) | \(.felt | seconds) | \(.back | seconds) |"' \
        <<<"$FACTS" | paste -sd " "
    # What is left of a backend is of no interest.
    finish_child "$ONE" || true
    [ -z "$REST" ] || finish_child "$REST" || true
}
