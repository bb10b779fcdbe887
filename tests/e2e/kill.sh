#!/usr/bin/env bash
# What goes wrong around teal: broken or unreadable files at start, addresses in use, missing permissions,
# a disk that is full from the start, or while things are changed. Each message names what is concerned and what is
# wrong, and what can run does run.
source "$(dirname "$0")/lib.sh"
need curl jq
need_binaries
settings

start_backend backend blue=127.0.0.1:0 green=127.0.0.1:0
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
    # A port that no other scenario has: the holder is at every address of the host.
    local port
    port=$("$LOAD" ports 1)
    good | sed "s/listen = 7000, target = 7000/listen = $port/" | replace
    start_backend holder "holder=0.0.0.0:$port"
    local holder=$SPAWNED
    start_teal
    expect "listeners_failed" "$([ "$(metric teal_listeners_failed)" -ge 1 ] && echo some)" some
    wait_for 5 "message about the VIP" logged "$POOL_NET\.0\.10:$port"
    expect_match "VIP in use" "$(log)" "in use"
    finish_child "$holder" || true
    wait_for 5 "retry of the listener" metric_is 0 teal_listeners_failed
    "$LOAD" open "$POOL_NET.0.10:$port" --connections 1 >/dev/null || fail "not served after the holder was gone"
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
    small_disk "$WORK/full" 64
    fill_disk
    start_teal
    wait_for 5 "message about the state folder" logged "$STATE|no space"
    # Promise 16: with the disk dead, traffic goes on, and so do reloads.
    serves >/dev/null || fail "does not serve without disk"
    good | sed 's/weight = 100/weight = 7/' | replace
    wait_for 5 "reload on a full disk" metric_is 7 teal_color_weight 'color="blue"'
    stop_teal
    remove_disk
    say "full disk: says so, serves and reloads all the same"
}

# change ARGUMENT...: a command that changes something; what it said is in SAID.
change() {
    local code=0
    SAID=$("$TEAL" "$@" --socket "$SOCKET" 2>&1) || code=$?
    return "$code"
}
weight_of() { metric teal_color_weight 'service="shop"' "color=\"$1\""; }

# Promise 12 and the way out in an emergency, under load.
disk_fills_up() {
    { head_of_config; service shop "$POOL_NET.0.10" 7000 "blue=100@$blue" "green=0@$(address backend green)"; } | replace
    small_disk "$WORK/filling" 64
    start_teal
    spawn open "$LOAD" open "$POOL_NET.0.10:7000" --rate 500
    local load=$SPAWNED green code=0
    change weight shop green=1 -m "while there is room" || fail "disk fills up: $SAID"
    fill_disk
    # The block in which the journal ends may have room for some more.
    for green in $(seq 2 100); do
        change weight shop "green=$green" -m "full" || { code=$? && break; }
    done
    expect "disk fills up: exit code of a refused change" "$code" 1
    expect_match "disk fills up" "$SAID" "no space"
    expect_match "disk fills up" "$SAID" "nothing was changed"
    expect_match "disk fills up" "$SAID" "--emergency"
    say "disk fills up, a change: $SAID"
    expect "disk fills up: weight of green" "$(weight_of green)" $((green - 1))
    ! change endpoint disable shop blue "$blue" -m "full" || fail "an endpoint is disabled without journal"
    change weight shop blue=0 green=500 -m "fire" --emergency || fail "disk fills up, emergency: $SAID"
    expect_match "disk fills up, emergency" "$SAID" "NOT RECORDED"
    expect "disk fills up, emergency: weights" "$(weight_of blue) $(weight_of green)" "0 500"
    expect "disk fills up: records that wait" "$(metric teal_journal_unrecorded)" 1
    "${IN[@]}" rm "$STATE/filler"
    wait_for 10 "recording once there is room" metric_is 0 teal_journal_unrecorded
    change weight shop blue=20 green=80 -m "room again" || fail "room again: $SAID"
    change journal --verify || fail "room again, journal: $SAID"
    expect_match "room again, journal" "$SAID" "records verified"
    finish_child "$load" || fail "disk fills up: connections failed: $(report open)"
    stop_teal
    # What was last applied is what a start finds.
    start_teal
    expect "disk filled up, restart: weights" "$(weight_of blue) $(weight_of green)" "20 80"
    change journal --verify || fail "disk filled up, restart, journal: $SAID"
    stop_teal
    remove_disk
    say "disk fills up: refused but for --emergency; room again: recorded, $SAID; $(value open .ok) connections, 0 failed"
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
    disk_fills_up
else
    skip "the rest held; unreadable file, missing permission and full disks need root and namespaces"
fi
