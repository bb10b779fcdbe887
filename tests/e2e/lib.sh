# What the scenarios share; sourced by each of them.
# shellcheck shell=bash
#
# A scenario exits 0 when all held, 77 when it could not run (`skip` says why), else 1. Everything it
# starts is a child of its own in a folder of its own, and ends with it. Nothing waits by sleeping:
# wait_for polls a condition under a deadline.

set -euo pipefail

NAME=$(basename "$0" .sh)
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# Debian keeps servers where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin
WORK=$(mktemp -d "${TMPDIR:-/tmp}/teal-$NAME.XXXXXX")
chmod 755 "$WORK"
PIDS=()
CLEANUPS=()

say() { printf '%s\n' "$*"; }

fail() {
    say "FAILED: $*"
    exit 1
}

skip() {
    say "skipped: $*"
    exit 77
}

finish() {
    local code=$?
    trap - EXIT
    if [ "$code" -ne 0 ] && [ "$code" -ne 77 ]; then
        for log in "$WORK"/*.log; do
            [ -s "$log" ] && say "--- end of $(basename "$log")" && tail -n 30 "$log"
        done
    fi
    local pid cleanup
    for pid in "${PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    for cleanup in "${CLEANUPS[@]}"; do $cleanup || true; done
    rm -rf "$WORK"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# need PROGRAM...: skips the scenario unless all are there.
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

need_root() { [ "$(id -u)" = 0 ] || skip "needs root for $1"; }

# need_binaries: builds teal and load unless TEAL and LOAD name them.
need_binaries() {
    TEAL=${TEAL:-$TARGET/release/teal}
    LOAD=${LOAD:-$TARGET/release/examples/load}
    if [ ! -x "$TEAL" ] || [ ! -x "$LOAD" ]; then
        (cd "$ROOT" && cargo build --release --locked --bin teal --example load)
    fi
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local seconds=$1 what=$2
    shift 2
    local deadline=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "no $what within $seconds s"
        sleep 0.02
    done
}

# spawn LOG COMMAND...: starts a child whose output goes to $WORK/LOG.log; its id is in SPAWNED.
spawn() {
    local log=$1
    shift
    "$@" >"$WORK/$log.log" 2>&1 </dev/null &
    SPAWNED=$!
    PIDS+=("$SPAWNED")
}

# finish_child PID: asks it to end, waits for it and returns its exit code.
finish_child() {
    kill -TERM "$1" 2>/dev/null || true
    ended "$1"
}

# ended PID: waits for a child and returns its exit code.
ended() {
    local code=0
    # The shell says of a killed child that it was.
    { wait "$1" || code=$?; } 2>/dev/null
    local pid left=()
    for pid in "${PIDS[@]}"; do [ "$pid" = "$1" ] || left+=("$pid"); done
    PIDS=("${left[@]}")
    return "$code"
}

# expect WHAT ACTUAL EXPECTED
expect() { [ "$2" = "$3" ] || fail "$1: $2 instead of $3"; }

# expect_match WHAT TEXT PATTERN (extended, any case)
expect_match() { grep -qiE -- "$3" <<<"$2" || fail "$1: nothing like /$3/ in: $2"; }

# The last line of JSON in a log, and a value of it.
report() { grep '^{' "$WORK/$1.log" | tail -n 1; }
value() { report "$1" | jq -r "$2"; }

# settings: chooses ports, pool and paths for one teal.
settings() {
    read -r DNS_PORT METRICS_PORT <<<"$("$LOAD" ports 2)"
    # Scenarios that run at the same time stay out of each other's pool.
    POOL_NET="127.$((80 + $$ % 160))"
    CONFIG=$WORK/teal.toml
    SOCKET=$WORK/admin.sock
    STATE=$WORK/state
}

# head_of_config: everything but services. Ends inside [defaults].
head_of_config() { head_with_dns "$DNS_PORT" "upstreams = []"; }

# head_with_dns PORT KEYS: the same with DNS at that port and these further keys in [dns].
head_with_dns() {
    cat <<END
[dns]
listen = ["127.0.0.1:$1"]
$2
[vip]
pool = "$POOL_NET.0.0/16"
[metrics]
listen = "127.0.0.1:$METRICS_PORT"
[admin]
socket = "$SOCKET"
[defaults]
health = { kind = "none" }
END
}

# service NAME VIP LISTEN [COLOR=WEIGHT@IP:PORT...]
service() {
    local name=$1 vip=$2 listen=$3 color weight
    shift 3
    printf '[services.%s]\nvip = "%s"\nports = [{ listen = %s, target = %s }]\n' "$name" "$vip" "$listen" "$listen"
    for color in "$@"; do
        weight=${color#*=}
        printf '[services.%s.colors.%s]\nweight = %s\nendpoints = ["%s"]\n' \
            "$name" "${color%%=*}" "${weight%@*}" "${weight##*@}"
    done
}

# readyz / metrics: IN is a prefix such as `ip netns exec NAME`.
IN=()
http() { "${IN[@]}" curl -fsS --max-time 5 "http://127.0.0.1:$METRICS_PORT$1"; }

# run_teal: starts teal with $CONFIG and $TEAL_ARGUMENTS without waiting; its id is in TEAL_PID.
TEAL_ARGUMENTS=()
run_teal() {
    spawn teal env TEAL_LOG="${TEAL_LOG:-info}" "${IN[@]}" "$TEAL" run --config "$CONFIG" --state-dir "$STATE" \
        --socket "$SOCKET" "${TEAL_ARGUMENTS[@]}"
    TEAL_PID=$SPAWNED
}

ready_or_gone() { http /readyz || ! kill -0 "$TEAL_PID"; }

# start_teal: run_teal, and wait until it is ready.
start_teal() {
    run_teal
    wait_for 15 "readiness of teal" ready_or_gone
    http /readyz >/dev/null || fail "teal ended before it was ready"
}

# stop_teal: SIGTERM; it must exit 0.
stop_teal() { finish_child "$TEAL_PID" || fail "teal ended with $?"; }

# metric NAME [LABEL="VALUE"...]: the sum of all series of that name with these labels.
metric() {
    local name=$1
    shift
    http /metrics | awk -v name="$name" -v wanted="$*" '
        BEGIN { count = split(wanted, labels, " ") }
        $0 ~ "^" name "[{ ]" {
            for (i = 1; i <= count; i++) if (index($0, labels[i]) == 0) next
            sum += $NF
        }
        END { printf "%.10g\n", sum }'
}

metric_is() { [ "$(metric "${@:2}")" = "$1" ]; }

# start_backend LOG ARGUMENT...: a `load backend`; its id is in SPAWNED.
start_backend() {
    local log=$1
    shift
    spawn "$log" "${BACKEND_IN[@]}" "$LOAD" backend "$@"
    wait_for 10 "backend $log" grep -q '^ready$' "$WORK/$log.log"
}
BACKEND_IN=()

# two_namespaces: HERE, which teal and its clients will be in (IN), has 10.199.0.1, joined by veth to THERE for
# the backends (BACKEND_IN), which has 10.199.0.2 and 10.199.0.3. Skips where they cannot be made.
two_namespaces() {
    need ip
    need_root "network namespaces"
    local namespace address
    HERE=teal-$$-here THERE=teal-$$-there
    CLEANUPS+=(remove_namespaces)
    ip netns add "$HERE" 2>/dev/null || skip "this machine does not allow network namespaces"
    ip netns add "$THERE"
    ip -n "$HERE" link add teal0 type veth peer name teal0 netns "$THERE" || skip "no veth links here"
    ip -n "$HERE" address add 10.199.0.1/24 dev teal0
    for address in 10.199.0.2 10.199.0.3; do ip -n "$THERE" address add "$address/24" dev teal0; done
    for namespace in "$HERE" "$THERE"; do
        ip -n "$namespace" link set lo up
        ip -n "$namespace" link set teal0 up
    done
    IN=(ip netns exec "$HERE")
    BACKEND_IN=(ip netns exec "$THERE")
}
remove_namespaces() {
    ip netns delete "$HERE" 2>/dev/null
    ip netns delete "$THERE" 2>/dev/null
}

# small_disk STATE KIB: so much room for the state folder, in a mount namespace that IN enters.
small_disk() {
    STATE=$1
    mkdir "$STATE"
    # shellcheck disable=SC2016 # meant for the inner shell
    spawn disk unshare -m -- sh -c 'mount -t tmpfs -o size="$2k" tmpfs "$1" && echo ready && exec sleep infinity' \
        sh "$STATE" "$2"
    wait_for 5 "small disk" grep -q '^ready$' "$WORK/disk.log"
    DISK=$SPAWNED
    IN=(nsenter --mount --target "$DISK")
}
# Octet by octet, as far as the file system counts them.
fill_disk() { ! "${IN[@]}" dd if=/dev/zero of="$STATE/filler" bs=512 2>/dev/null || fail "the small disk has no end"; }
remove_disk() {
    finish_child "$DISK" || true
    IN=()
}

# address LOG NAME: where that listener of a backend is.
address() { awk -v name="$2" '$1 == name { print $2 }' "$WORK/$1.log"; }

# find_postgres: sets PG to the folder of the server's programs, which Debian, of one or more versions, keeps out
# of the PATH.
find_postgres() {
    PG=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
    [ -n "$PG" ] && [ -x "$PG/postgres" ] && [ -x "$PG/pgbench" ]
}

# start_postgres PORT ADDRESS...: a server that trusts the user `teal`, with the tables of pgbench.
start_postgres() {
    local port=$1 as=() addresses
    addresses=$(IFS=, && echo "${*:2}")
    mkdir "$WORK/pg"
    if [ "$(id -u)" = 0 ]; then
        # It refuses to run as root.
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
        chown 65534:65534 "$WORK/pg"
    fi
    (cd "$WORK/pg" && "${as[@]}" "$PG/initdb" -D "$WORK/pg/data" -U teal -A trust --no-sync) >"$WORK/initdb.log" 2>&1 \
        || fail "initdb"
    cd "$WORK/pg"
    spawn postgres "${as[@]}" "$PG/postgres" -D "$WORK/pg/data" -k "$WORK/pg" -p "$port" \
        -c "listen_addresses=$addresses" -c fsync=off -c max_connections=60
    POSTGRES_PID=$SPAWNED
    cd "$ROOT"
    wait_for 20 "postgres" "$PG/pg_isready" -h "$2" -p "$port"
    "$PG/pgbench" -h "$2" -p "$port" -U teal -i -s 1 -q postgres >"$WORK/pgbench-tables.log" 2>&1 || fail "pgbench -i"
}

stop_postgres() {
    # Its fast shutdown; SIGTERM would wait for clients.
    kill -INT "$POSTGRES_PID"
    ended "$POSTGRES_PID" || fail "postgres ended with $?"
}

# bench_held LOG: what pgbench says there, none of its transactions having failed.
bench_held() {
    grep -q 'number of failed transactions: 0 ' "$WORK/$1.log" || fail "$1: failed transactions"
    say "$1: $(grep 'actually processed' "$WORK/$1.log"), 0 failed"
}
