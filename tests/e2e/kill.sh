#!/usr/bin/env bash
# What goes wrong around teal: broken or unreadable files at start, addresses in use, missing permissions,
# a full disk. Each message names what is concerned and what is wrong, and what can run does run.
source "$(dirname "$0")/lib.sh"
need curl jq
need_binaries
settings

start_backend backend blue=127.0.0.1:0
blue=$(address backend blue)
NOBODY=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --)

good() {
    head_of_config
    service shop "$POOL_NET.0.10" 7000 "blue=100@$blue"
}
replace() {
    cat >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
}
log() { cat "$WORK/teal.log"; }
logged() { grep -qiE -- "$1" "$WORK/teal.log"; }
serves() { "$LOAD" open "$POOL_NET.0.10:7000" --connections 1; }

# ends_with_message WHAT PATTERN...: teal refuses to start, soon, and its message matches every pattern.
ends_with_message() {
    local what=$1 pattern code=0
    shift
    wait_for 15 "end of teal ($what)" not_running "$TEAL_PID"
    ended "$TEAL_PID" || code=$?
    [ "$code" -ne 0 ] || fail "$what: teal exits 0"
    for pattern in "$@"; do expect_match "$what" "$(log)" "$pattern"; done
    ! grep -i panicked "$WORK/teal.log" || fail "$what: a panic"
    say "$what: exit $code, says: $(grep -iE -m 1 -- "$1" "$WORK/teal.log")"
}
not_running() { ! kill -0 "$1" || grep -q '^State:.Z' "/proc/$1/status"; }

missing_file() {
    rm -f "$CONFIG"
    run_teal
    ends_with_message "missing file" "$CONFIG" "no such file|not found|does not exist"
}

broken_file() {
    good | sed 's/weight = 100/weight = 100000/' | replace
    run_teal
    ends_with_message "broken file, nothing kept" "$CONFIG" "weight" "1000"
}

last_good_file() {
    good | replace
    start_teal
    serves >/dev/null || fail "a good file is not served"
    stop_teal
    good | sed 's/weight = 100/weight = 100000/' | replace
    start_teal
    serves >/dev/null || fail "the last good configuration is not served"
    expect "config_degraded" "$(metric teal_config_degraded)" 1
    expect_match "broken file, last good kept" "$(log)" "$CONFIG"
    expect_match "broken file, last good kept" "$(log)" "last good"
    good | replace
    wait_for 5 "end of degradation" metric_is 0 teal_config_degraded
    stop_teal
    say "broken file, last good kept: serves, says degraded, recovers when the file is mended"
}

metrics_address_in_use() {
    good | replace
    start_backend holder holder="127.0.0.1:$METRICS_PORT"
    local holder=$SPAWNED
    run_teal
    wait_for 5 "message about the metrics address" logged "127\.0\.0\.1:$METRICS_PORT.*in use.*pid $holder"
    wait_for 5 "traffic without metrics" serves
    finish_child "$holder" || true
    wait_for 5 "metrics once the address is free" http /readyz
    stop_teal
    say "metrics address in use: names the holder, traffic runs, served once it is free"
}

vip_in_use() {
    good | replace
    start_backend holder holder=0.0.0.0:7000
    local holder=$SPAWNED
    start_teal
    expect "listeners_failed" "$([ "$(metric teal_listeners_failed)" -ge 1 ] && echo some)" some
    wait_for 5 "message about the VIP" logged "$POOL_NET\.0\.10:7000"
    expect_match "VIP in use" "$(log)" "in use"
    finish_child "$holder" || true
    wait_for 5 "retry of the listener" metric_is 0 teal_listeners_failed
    serves >/dev/null || fail "not served after the holder was gone"
    stop_teal
    say "VIP in use: the rest runs, retried until it worked"
}

# As nobody; what it must read or run is made readable by everybody.
as_nobody() {
    cp "$TEAL" "$WORK/teal"
    chmod 755 "$WORK/teal"
    local state=$WORK/state-of-nobody
    mkdir -p "$state"
    chown 65534:65534 "$state"
    spawn teal "$@" "${NOBODY[@]}" "$WORK/teal" run --config "$CONFIG" --state-dir "$state" --socket "$state/admin.sock"
    TEAL_PID=$SPAWNED
}

unreadable_file() {
    good | replace
    chmod 600 "$CONFIG"
    as_nobody
    ends_with_message "unreadable file" "$CONFIG" "permission|not readable|cannot read"
}

privileged_port() {
    # A namespace of its own has the kernel's default: ports below 1024 need a capability.
    good | sed -e 's/listen = 7000/listen = 80/' | replace
    chmod 644 "$CONFIG"
    # shellcheck disable=SC2016 # meant for the inner shell
    as_nobody unshare -n -- sh -c 'ip link set lo up && exec "$@"' sh
    wait_for 10 "message about the port" logged "$POOL_NET\.0\.10:80"
    expect_match "port without permission" "$(log)" "permission|CAP_NET_BIND_SERVICE"
    say "port without permission: $(grep -iE -m 1 'permission|CAP_NET_BIND_SERVICE' "$WORK/teal.log")"
    kill -TERM "$TEAL_PID" 2>/dev/null || true
    ended "$TEAL_PID" || true
}

full_disk() {
    good | replace
    STATE=$WORK/full
    mkdir "$STATE"
    # shellcheck disable=SC2016 # meant for the inner shell
    spawn teal unshare -m -- sh -c '
        mount -t tmpfs -o size=64k tmpfs "$1" || exit 77
        dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null
        shift
        exec "$@"' sh "$STATE" "$TEAL" run --config "$CONFIG" --state-dir "$STATE" --socket "$SOCKET"
    TEAL_PID=$SPAWNED
    wait_for 15 "message about the state folder" logged "$STATE|no space"
    expect_match "full disk" "$(log)" "$STATE"
    expect_match "full disk" "$(log)" "no space|full"
    wait_for 15 "readiness on a full disk" ready_or_gone
    # Promise 16: with the disk dead, traffic goes on, and so do reloads.
    http /readyz >/dev/null || fail "does not run without disk"
    serves >/dev/null || fail "does not serve without disk"
    good | sed 's/weight = 100/weight = 7/' | replace
    wait_for 5 "reload on a full disk" metric_is 7 teal_color_weight 'color="blue"'
    stop_teal
    say "full disk: says so, serves and reloads all the same"
}

missing_file
broken_file
last_good_file
metrics_address_in_use
vip_in_use
if [ "$(id -u)" = 0 ] && unshare -n -m true 2>/dev/null; then
    unreadable_file
    privileged_port
    full_disk
else
    skip "the rest held; unreadable file, missing permission and full disk need root and namespaces"
fi
