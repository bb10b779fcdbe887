#!/usr/bin/env bash
# Real resolvers, for which teal is the only server of resolv.conf: each resolves a service, a name of the internet,
# and a name that is missing in each of both. No lookup may take a second: none is lost, none waits for a timeout.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/names.sh"
own_namespaces
need dig
settings
start_internet
VIP=$POOL_NET.0.10
{
    head_of_names "$FIRST" "$SECOND"
    service web "$VIP" 80 "blue=1@127.0.0.1:7000"
} >"$CONFIG"
start_teal
c_clients

# Further names show the second lookup of a process, its sockets being open.
ASKED=(web.local www.example nobody.local nobody.example web.local www.example)
COUNT=0 WORST=0

# took CLIENT MILLISECONDS
took() {
    at_most "$1: a lookup in ms" "$2" 1000
    COUNT=$((COUNT + 1))
    WORST=$(greater "$2" "$WORST")
}

# library CLIENT COMMAND...: a program that takes names and prints NAME MILLISECONDS RESULT for each.
library() {
    local client=$1 name took result expected slowest=0 lines
    shift
    "$@" "${ASKED[@]}" >"$WORK/$client.log" 2>&1 || fail "$client: exit $?"
    while read -r name took result; do
        case $name in
            web.local) expected="^$VIP\$" ;;
            www.example) expected="^($WWW4 $WWW6|$WWW6 $WWW4)\$" ;;
            nobody.*) expected='^error ' ;;
        esac
        expect_match "$client, $name" "$result" "$expected"
        took "$client, $name" "$took"
        slowest=$(greater "$took" "$slowest")
    done <"$WORK/$client.log"
    lines=$(wc -l <"$WORK/$client.log")
    expect "$client: lookups" "$lines" "${#ASKED[@]}"
    say "$client: $lines lookups, slowest $slowest ms"
}

# program CLIENT COMMAND...: a program that is told one name and shows what it found; its start counts.
program() {
    local client=$1 name begin spent text slowest=0
    shift
    for name in "${ASKED[@]:0:4}"; do
        begin=$EPOCHREALTIME
        text=$("$@" "$name" 2>&1) || true
        spent=$(awk -v begin="$begin" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.1f", (end - begin) * 1000 }')
        case $name in
            web.local) expect_match "$client, $name" "$text" "(^|[^0-9.])${VIP//./\\.}([^0-9.]|\$)" ;;
            www.example) expect_match "$client, $name" "$text" "$WWW4|$WWW6" ;;
            nobody.*)
                ! grep -qE "$VIP|$WWW4|$WWW6" <<<"$text" || fail "$client, $name: $text"
                # What it says of a missing name; a timeout or SERVFAIL reads otherwise.
                [ -z "$text" ] || expect_match "$client, $name" "$text" "NXDOMAIN|no such host"
                ;;
        esac
        took "$client, $name" "$spent"
        slowest=$(greater "$spent" "$slowest")
    done
    say "$client: 4 lookups, slowest $slowest ms, its start included"
}

ahosts() { getent ahosts "$1" | awk '{ print $1 }' | sort -u; }
both_digs() { dig "$@" A && dig "$@" AAAA; }
# Whom it cannot connect to it tells of with the address, and there it did resolve the name.
go_client() { GODEBUG=netdns=go promtool query instant "http://$1:1/" up; }

library glibc "$WORK/glibc"
library glibc-tcp env RES_OPTIONS=use-vc "$WORK/glibc"
library glibc-edns0 env RES_OPTIONS=edns0 "$WORK/glibc"
library glibc-single env RES_OPTIONS=single-request "$WORK/glibc"
# Each name with the suffix first, as in a cluster's containers.
library glibc-ndots5 env LOCALDOMAIN=local RES_OPTIONS=ndots:5 "$WORK/glibc"
expect "a short name by the search list" "$(LOCALDOMAIN=local ahosts web)" "$VIP"
program getent ahosts
expect "both families by getent" "$(ahosts www.example | paste -sd ' ')" "$WWW4 $WWW6"
[ ! -x "$WORK/musl" ] || library musl "$WORK/musl"
if command -v busybox >/dev/null; then program busybox busybox nslookup; else MISSING+=(busybox); fi
if command -v promtool >/dev/null; then program go go_client; else MISSING+=(promtool); fi
program dig both_digs
program kdig kdig
if command -v delv >/dev/null; then program delv delv -i; else MISSING+=(delv); fi
library python python3 "$ROOT/tests/e2e/lookup.py"
# These are large: they are asked where they are installed.
if command -v node >/dev/null; then
    library node node "$ROOT/tests/e2e/lookup.js" system
    library node-c-ares node "$ROOT/tests/e2e/lookup.js" c-ares
fi
if command -v javac >/dev/null; then
    javac -d "$WORK" "$ROOT/tests/e2e/Lookup.java" 2>"$WORK/javac.log" || fail "javac"
    library java java -cp "$WORK" Lookup
fi
stop_teal
say "resolvers: $COUNT lookups, each right, slowest $WORST ms"
nothing_missing
