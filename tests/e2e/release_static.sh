#!/usr/bin/env bash
# What runs keeps running: while gates and webhooks hang and while the journal's disk is full, connections go where they
# went, commands are answered, shifts are refused, and a rollback is done all the same: recorded in the room that was set
# aside for it, or without, and recorded once the disk is back.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/release.sh"
need curl jq unshare nsenter truncate
need_root "a small disk"
unshare -m true 2>/dev/null || skip "this machine does not allow mount namespaces"
need_binaries
settings

start_backend backend blue=127.0.0.2:0 green=127.0.0.3:0
# Takes connections and never answers.
start_backend hanging --fault silent web=127.0.0.4:0
kill -USR1 "$SPAWNED"
HANGING=http://$(address hanging web)/
mkdir -m 755 "$WORK/gates"
printf '#!/bin/sh\nexec sleep 1000\n' >"$WORK/gates/hangs"
chmod 755 "$WORK/gates/hangs"
{
    head_of_config
    printf '[release]\ngates_dir = "%s"\n[apps.shop]\nservices = ["servicea", "serviceb"]\n' "$WORK/gates"
    service servicea "$POOL_NET.0.10" 7000 "blue=100@$(address backend blue)" "green=0@$(address backend green)"
    service serviceb "$POOL_NET.0.11" 7000 "blue=100@$(address backend blue)" "green=0@$(address backend green)"
} >"$CONFIG"
small_disk "$WORK/small" 512
start_teal
# load_begins, load_ends: connections to both members, none of which may fail.
SERVED=0
load_begins() {
    spawn open-a "$LOAD" open "$POOL_NET.0.10:7000" --rate 200 --at-once 256
    LOADERS=("$SPAWNED")
    spawn open-b "$LOAD" open "$POOL_NET.0.11:7000" --rate 200 --at-once 256
    LOADERS+=("$SPAWNED")
}
load_ends() {
    local loader
    for loader in "${LOADERS[@]}"; do finish_child "$loader" || fail "connections failed: $(report open-a) $(report open-b)"; done
    SERVED=$((SERVED + $(value open-a .ok) + $(value open-b .ok)))
}
load_begins

# specification GATES: steps of 10, 50 and 100 %; the gates are asked before the second.
specification() {
    printf '[release]\napp = "shop"\nto = "green"\nreason = "a test"\nrollback_close_after = "0s"\n'
    printf '[release.judgement]\nenabled = false\n'
    local percent gates
    for percent in 10 50 100; do
        gates='' && [ "$percent" != 50 ] || gates=$1
        printf '[[release.steps]]\npercent = %s\nbake = "1h"\nmin_connections = 0\ngates = [%s]\n' "$percent" "$gates"
    done
    [ -z "$1" ] || printf '[[release.gates]]\nname = "web"\nwebhook = "%s"\ntimeout = "3s"\n' "$HANGING"
    [ -z "$1" ] || printf '[[release.gates]]\nname = "program"\nexec = "hangs"\ntimeout = "60s"\n'
    printf '[[release.notify]]\nurl = "%s"\n' "$HANGING"
}
both_are() { weights_are "$1" servicea && weights_are "$1" serviceb; }
# Connections go on at these weights, and both members have the same.
goes_on() {
    both_are "$1" || fail "$2: weights $(weights_of servicea) and $(weights_of serviceb), not $1"
    let_pass servicea 100
    let_pass serviceb 100
    both_are "$1" || fail "$2: weights moved"
}
recorded() { metric_is 0 teal_journal_unrecorded; }

# Gates and webhooks that hang.
specification '"web", "program"' >"$WORK/gated.toml"
told 0 start "$WORK/gated.toml"
wait_for 10 "the first step" both_are "90 10"
begin=$SECONDS
told 0 next shop
wait_for 5 "gates that are asked" in_phase shifting shop
goes_on "90 10" "while gates hang"
wait_for 30 "hold by the gate" is_held gate shop
say "gates hang: held after $((SECONDS - begin)) s: $(of_release shop .hold.note)"
goes_on "90 10" "held by a gate"
told 11 wait shop --for awaiting --timeout 20s
told 0 next shop --skip-checks -m "the gate is broken"
wait_for 5 "the shift without gates" both_are "50 50"

# The disk fills up: no shift, and the way back.
fill_disk
# The block in which the journal ends may have room for a word.
release next shop >"$WORK/next.txt" 2>&1 || true
wait_for 20 "hold by the journal" is_held journal shop
goes_on "50 50" "on a full disk"
expect_match "status on a full disk" "$(release status shop)" "journal cannot be written|no space"
say "full disk: $(of_release shop .hold.note)"
release resume shop >/dev/null 2>&1 || true
goes_on "50 50" "resumed on a full disk"
told 0 rollback shop -m "back, whatever the disk says"
say "full disk, rollback: $(tr '\n' ' ' <<<"$SAID")"
goes_on "100 0" "rolled back on a full disk"
recorded || fail "the rollback had room set aside, and is not recorded"
told 0 log --verify
# Even a start finds it.
load_ends
kill -KILL "$TEAL_PID"
ended "$TEAL_PID" || true
start_teal
load_begins
goes_on "100 0" "after kill -9 on a full disk"
"${IN[@]}" rm "$STATE/filler"
wait_for 20 "the end of the rollback" in_phase closed shop

# The same when somebody took the room that was set aside: it is done, and recorded later.
specification '' >"$WORK/plain.toml"
told 0 start "$WORK/plain.toml"
wait_for 10 "the first step" both_are "90 10"
"${IN[@]}" truncate -s "$(stat -c %s "/proc/$DISK/root$STATE/journal")" "/proc/$DISK/root$STATE/journal"
fill_disk
told 0 rollback shop -m "back, without any room"
expect_match "rollback without room" "$SAID" "NOT RECORDED"
goes_on "100 0" "rolled back without room"
! recorded || fail "it is recorded on a disk without room"
expect_match "status meanwhile" "$(release status shop)" "NOT RECORDED|rolled"
"${IN[@]}" rm "$STATE/filler"
wait_for 20 "recording once there is room" recorded
wait_for 30 "the end of the rollback" in_phase closed shop
told 0 log --verify
say "without room: done, not recorded; room again: recorded, $SAID"

load_ends
say "$SERVED connections, 0 failed; notifications that hung: $(metric teal_release_notifications_total)"
expect "violations of weight 0" "$(metric teal_weight_zero_violations_total)" 0
stop_teal
remove_disk
