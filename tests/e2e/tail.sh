#!/usr/bin/env bash
# The first upstream is gone: its packets vanish while libraries look names up, and then both go silent under
# full load. Nobody gets a failure while one upstream answers, nobody waits much longer than 2 s while none does,
# and names of the zone are answered all the while.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/names.sh"
own_namespaces
need dnsperf nft
settings
start_internet
LOOKUPS=200 EACH=6
[ "${LONG:-0}" = 0 ] || LOOKUPS=1000 EACH=20
VIP=$POOL_NET.0.10
{
    head_of_names "$FIRST" "$SECOND"
    service web "$VIP" 80 "blue=1@127.0.0.1:7000"
} >"$CONFIG"
nft 'add table inet hole; add chain inet hole in { type filter hook input priority 0; }' || skip "no nftables here"
lose() { nft add rule inet hole in ip daddr "$1" counter drop; }
dropped() { [[ $(nft list chain inet hole in) =~ packets\ [1-9] ]]; }
start_teal
c_clients

# one_lost CLIENT COMMAND...: it begins when teal knows nothing of the fault.
one_lost() {
    local client=$1 count failed middle high slowest
    shift
    nft flush chain inet hole in
    stop_teal
    start_teal
    # The first upstream has been used, and is the one that questions go to.
    mapfile -t NAMES < <(names 5 "before-$client-")
    "$@" "${NAMES[@]}" >"$WORK/before.log"
    expect "$client: failures before" "$(lookups before | awk '{ print $1, $2 }')" "5 0"
    lose "$FIRST"
    mapfile -t NAMES < <(names "$LOOKUPS" "$client-")
    "$@" "${NAMES[@]}" >"$WORK/$client.log" || fail "$client: exit $?"
    read -r count failed middle high slowest <<<"$(lookups "$client")"
    expect "$client: lookups" "$count" "$LOOKUPS"
    expect "$client: failures" "$failed" 0
    at_most "$client: the slowest in ms" "$slowest" 2500
    dropped || fail "$client: nothing was asked of the first upstream, so nothing was lost"
    say "$client, the first upstream lost: $count lookups, 0 failed, p50 $middle ms, p99 $high ms, slowest $slowest ms"
}

# queries FILE: an A query for each name of its input.
queries() { sed 's/$/ A/' >"$WORK/$1"; }

# perf LOG DATA RATE SECONDS OUTSTANDING: dnsperf, whose child's id is in SPAWNED; each answer is a line of the log.
perf() {
    spawn "$1" dnsperf -s 127.0.0.1 -d "$WORK/$2" -Q "$3" -l "$4" -q "$5" -t 5 -v
}
# answers LOG: of the lines `> RCODE NAME TYPE SECONDS`: how many, how many not NOERROR, p99 and maximum in ms, lost.
answers() {
    grep '^> ' "$WORK/$1.log" | sort -g -k 5,5 | awk -v lost="$(awk '/Queries lost:/ { print $3 }' "$WORK/$1.log")" '
        { took[NR] = $5 * 1000; if ($2 != "NOERROR") bad++ }
        END { print NR, bad + 0, took[int(NR * 0.99)], took[NR], lost }'
}
resident() { awk '/^VmRSS:/ { print int($2 / 1024) }' "/proc/$TEAL_PID/status"; }

# go_lookups NAME...: one process each; whom it cannot connect to it tells of with the address it found.
go_lookups() {
    local name begin text
    for name; do
        begin=$EPOCHREALTIME
        text=$(GODEBUG=netdns=go promtool query instant "http://$name:1/" up 2>&1) || true
        [[ $text != *"dial tcp $WWW4:1:"* && $text != *"dial tcp [$WWW6]:1:"* ]] || text="$WWW4 $WWW6"
        awk -v name="$name" -v text="$text" -v begin="$begin" -v end="$EPOCHREALTIME" \
            'BEGIN { printf "%s %.1f %s\n", name, (end - begin) * 1000, text }'
    done
}

# All upstreams go silent under load.
all_lost() {
    local outside zone count bad high slowest lost before after at_rest most=0 now full=10000
    nft flush chain inet hole in
    stop_teal
    start_teal
    # Each name is asked once, so that no answer is a kept one.
    names "$((full * (EACH + 2)))" before | queries outside-before
    names "$((full * (EACH + 2)))" after | queries outside-after
    echo web.local | queries zone
    # More than max_forwards can wait for at once, and not so much that the kernel drops packets on two cores.
    # As much goes on at both times, so that what differs is what teal does.
    perf outside-before outside-before "$full" "$EACH" 4000
    outside=$SPAWNED
    perf zone-before zone 1000 "$EACH" 100
    zone=$SPAWNED
    ended "$outside" || fail "dnsperf"
    ended "$zone" || fail "dnsperf"
    read -r count bad before slowest lost <<<"$(answers zone-before)"
    expect "zone before: not NOERROR, lost" "$bad $lost" "0 0"
    read -r count bad high slowest lost <<<"$(answers outside-before)"
    expect "outside before: not NOERROR, lost" "$bad $lost" "0 0"
    say "before: outside $count answers, p99 $high ms; zone p99 $before ms"

    at_rest=$(resident)
    perf outside-after outside-after "$full" "$((EACH + 2))" 4000
    outside=$SPAWNED
    wait_for 5 "load" grep -q '^> NOERROR' "$WORK/outside-after.log"
    lose "$FIRST"
    lose "$SECOND"
    perf zone-after zone 1000 "$EACH" 100
    zone=$SPAWNED
    while kill -0 "$zone" 2>/dev/null; do
        now=$(resident)
        [ "$now" -le "$most" ] || most=$now
        sleep 0.1
    done
    ended "$outside" || fail "dnsperf"
    ended "$zone" || fail "dnsperf"
    read -r count bad high slowest lost <<<"$(answers outside-after)"
    expect "outside: lost" "$lost" 0
    [ "$bad" -gt 1000 ] || fail "outside: $bad of $count failed, so the upstreams were not gone"
    at_most "outside: the longest wait in ms" "$slowest" 2250
    say "all upstreams lost at $full/s: $count answers, each within $slowest ms"
    read -r count bad after slowest lost <<<"$(answers zone-after)"
    expect "zone: not NOERROR, lost" "$bad $lost" "0 0"
    # Twice as before; but below 5 ms it is the machine that is measured, where dnsperf has the same two cores.
    at_most "zone: p99 in ms" "$after" "$(greater "$(awk -v before="$before" 'BEGIN { print 2 * before }')" 5)"
    at_most "memory in MiB" "$most" $((at_rest + 64))
    say "zone meanwhile: $count answers, p99 $after ms (before: $before ms); memory $at_rest MiB, at most $most MiB"
}

one_lost glibc "$WORK/glibc"
[ ! -x "$WORK/musl" ] || one_lost musl "$WORK/musl"
if command -v javac >/dev/null; then
    javac -d "$WORK" "$ROOT/tests/e2e/Lookup.java" 2>"$WORK/javac.log" || fail "javac"
    one_lost java java -cp "$WORK" Lookup
fi
if command -v promtool >/dev/null; then one_lost go go_lookups; else MISSING+=(promtool); fi
all_lost
stop_teal
nothing_missing
