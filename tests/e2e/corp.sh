#!/usr/bin/env bash
# A company's server, a dnsmasq, owns corp.local, below teal's own zone. Names there are asked of it, names of the
# internet of the other server, and a capture of everything that leaves shows no name that teal answers for.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/names.sh"
need curl jq kdig dnsmasq tcpdump
two_namespaces
need_binaries
settings
# Here the internet is behind the link.
FIRST=10.199.0.3 SECOND=10.199.0.3 CORP=10.199.0.2 DC1=10.20.0.1
INTERNET_IN=("${BACKEND_IN[@]}")
start_internet
spawn dnsmasq "${BACKEND_IN[@]}" dnsmasq --keep-in-foreground --log-facility=- --pid-file= --conf-file=/dev/null --no-resolv \
    --no-hosts --listen-address="$CORP" --bind-interfaces --local=/corp.local/ \
    --host-record="dc1.corp.local,$DC1" --srv-host=_ldap._tcp.corp.local,dc1.corp.local,389
corp_answers() { [ "$("${BACKEND_IN[@]}" kdig +short +time=1 +retry=0 "@$CORP" dc1.corp.local A)" = "$DC1" ]; }
wait_for 10 "answer of dnsmasq" corp_answers
VIP=$POOL_NET.0.10
{
    head_of_names "$FIRST"
    printf '[dns.forward."corp.local"]\nupstreams = ["%s"]\n' "$CORP"
    printf '[dns.records."printer.local"]\na = ["192.0.2.10"]\n[dns.records."alias.local"]\ncname = "web.local"\n'
    service web "$VIP" 80 "blue=1@127.0.0.1:7000"
} >"$CONFIG"
start_teal

spawn tcpdump "${BACKEND_IN[@]}" tcpdump -i teal0 --immediate-mode -U -n -s 0 -w "$WORK/capture" udp or tcp
CAPTURE=$SPAWNED
wait_for 10 "capture" grep -q 'listening on' "$WORK/tcpdump.log"

ask() { "${IN[@]}" kdig @127.0.0.1 +retry=0 +time=3 "$@"; }
status() { ask "$@" | sed -nE 's/.*status: ([A-Z]+);.*/\1/p'; }
for how in +notcp +tcp; do
    expect "dc1.corp.local $how" "$(ask +short "$how" dc1.corp.local A)" "$DC1"
    expect "DC1.Corp.LOCAL $how" "$(ask +short "$how" DC1.Corp.LOCAL A)" "$DC1"
    expect "SRV in corp.local $how" "$(ask +short "$how" _ldap._tcp.corp.local SRV)" "0 0 389 dc1.corp.local."
    expect "a missing name of corp.local $how" "$(status "$how" nobody.corp.local A)" NXDOMAIN
    expect "x.local $how" "$(status "$how" x.local A)" NXDOMAIN
    expect "notcorp.local $how" "$(status "$how" notcorp.local A)" NXDOMAIN
    expect "www.example $how" "$(ask +short "$how" www.example A)" "$WWW4"
done
# What is teal's own, whatever is asked of it.
OWN=0
for name in web.local blue.web.local WEB.Local x.local a.b.x.local nobody.web.local printer.local alias.local local \
    ns.local _http._tcp.web.local xcorp.local corp.local.local secret.test host.home.arpa localhost a.localhost \
    some.invalid some.onion 1.0.0.10.in-addr.arpa 1.1.168.192.in-addr.arpa 10.0."${POOL_NET#*.}".127.in-addr.arpa \
    1.0.0.127.in-addr.arpa; do
    for type in A AAAA SRV TXT PTR SOA NS MX HTTPS ANY DS; do
        OWN=$((OWN + 1))
        expect_match "$name $type" "$(status "$name" "$type")" '^(NOERROR|NXDOMAIN)$'
    done
done
# The capture is complete once it has what was asked last.
expect "www.example" "$(ask +short www.example AAAA)" "$WWW6"
captured() { tcpdump -n -r "$WORK/capture" 2>/dev/null | grep -q 'AAAA? www.example'; }
wait_for 10 "the last question in the capture" captured
kill -INT "$CAPTURE"
ended "$CAPTURE" || fail "tcpdump ended with $?"
expect "packets that the capture lost" "$(awk '/dropped by kernel/ { print $1 }' "$WORK/tcpdump.log")" 0
# Questions are `TYPE? NAME. `.
tcpdump -n -v -r "$WORK/capture" 2>/dev/null | grep -oE '[A-Za-z0-9]+\? [^ ]+' | awk '{ print tolower($2) }' >"$WORK/asked"
sort "$WORK/asked" | uniq -c >"$WORK/asked.log"
expect "questions for dc1.corp.local in the capture" "$(grep -qx 'dc1.corp.local.' "$WORK/asked" && echo some)" some
LEAKED=$(grep -vxE '(.*\.)?corp\.local\.|(.*\.)?example\.' "$WORK/asked" || true)
expect "names that left" "$LEAKED" ""
# And in whatever form it may have left: labels are in plain text on the wire.
for label in web printer alias notcorp secret; do
    ! grep -qaiF "$label" "$WORK/capture" || fail "\"$label\" left in some packet"
done
# Each server was asked what is its own.
to() { tcpdump -n -v -r "$WORK/capture" "dst host $1" 2>/dev/null | grep -oE '\? [^ ]+' | tr '[:upper:]' '[:lower:]' | sort -u; }
expect "asked of the internet" "$(to "$FIRST")" "? www.example."
! to "$CORP" | grep -q example || fail "the company's server was asked for names of the internet"
stop_teal
say "corp: $(wc -l <"$WORK/asked") questions left, for corp.local and example only; $OWN for names of our own did not"
