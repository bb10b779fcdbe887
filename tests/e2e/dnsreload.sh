#!/usr/bin/env bash
# The configuration is reloaded every second under load: no query is lost, each is answered, and with the right
# address.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/names.sh"
own_namespaces
need dnsperf jq
settings
start_internet
DURATION=10
[ "${LONG:-0}" = 0 ] || DURATION=60
VIP=$POOL_NET.0.10

# edition NUMBER: the configuration's text, of which something of each kind changes every time.
edition() {
    # Each reload is one that was asked for.
    printf '[reload]\nwatch = false\n'
    head_of_names "$FIRST" "$SECOND"
    printf 'log_connections = %s\n' "$([ $(($1 % 2)) = 0 ] && echo true || echo false)"
    printf '[dns.records."edition.local"]\ntxt = ["%s"]\n' "$1"
    service web "$VIP" 80 "blue=$(($1 % 100))@127.0.0.1:7000" "green=50@127.0.0.1:7001"
    service "passing$1" "$POOL_NET.1.$1" 80 "blue=1@127.0.0.1:7000"
}
edition 0 >"$CONFIG"
start_teal
c_clients
# Names outside are asked once each, so that no answer is a kept one.
names $((DURATION * 5000)) reload | awk '
    BEGIN { count = split("web.local A,blue.web.local A,web.local AAAA,edition.local TXT,edition.local A", own, ",") }
    { print $1, "A"; print own[NR % count + 1] }' >"$WORK/mixed"

spawn perf dnsperf -s 127.0.0.1 -d "$WORK/mixed" -Q 10000 -l "$DURATION" -t 5 -v
PERF=$SPAWNED
wait_for 5 "load" grep -q '^> NOERROR' "$WORK/perf.log"
BEGIN=$EPOCHREALTIME RELOADS=0 CHECKED=0
while kill -0 "$PERF" 2>/dev/null; do
    RELOADS=$((RELOADS + 1))
    edition "$RELOADS" >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
    "$TEAL" reload --socket "$SOCKET" >"$WORK/reload.log" 2>&1 || fail "teal reload: exit $?"
    expect "what reload $RELOADS says" "$(kdig +short +retry=0 +time=2 @127.0.0.1 edition.local TXT)" "\"$RELOADS\""
    expect "what came with it" "$(kdig +short +retry=0 +time=2 @127.0.0.1 "passing$RELOADS.local" A)" "$POOL_NET.1.$RELOADS"
    # Until the next second begins, right answers are what is looked for.
    while awk -v begin="$BEGIN" -v now="$EPOCHREALTIME" -v due="$RELOADS" 'BEGIN { exit !(now - begin < due) }'; do
        "$WORK/glibc" web.local web.local www.example >"$WORK/right.log"
        expect "right answers" "$(awk '{ $2 = ""; print }' "$WORK/right.log" | sort -u | tr -s ' \n' ' ')" \
            "web.local $VIP www.example $WWW6 $WWW4 "
        CHECKED=$((CHECKED + 3))
        kill -0 "$PERF" 2>/dev/null || break
    done
done
ended "$PERF" || fail "dnsperf"
[ "$RELOADS" -ge "$DURATION" ] || fail "only $RELOADS reloads in $DURATION s"
LOST=$(awk '/Queries lost:/ { print $3 }' "$WORK/perf.log")
WRONG=$(grep -c '^> ' "$WORK/perf.log") RIGHT=$(grep -c '^> NOERROR' "$WORK/perf.log")
expect "lost" "$LOST" 0
expect "NOERROR of all answers" "$RIGHT" "$WRONG"
SLOWEST=$(grep '^> ' "$WORK/perf.log" | sort -g -k 5,5 | tail -n 1 | awk '{ print $5 * 1000 }')
at_most "slowest answer in ms" "$SLOWEST" 1000
stop_teal
say "dnsreload: $RELOADS reloads in $DURATION s, $RIGHT answers, 0 lost, 0 wrong, slowest $SLOWEST ms; $CHECKED lookups beside them right"
nothing_missing
