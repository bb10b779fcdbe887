#!/usr/bin/env bash
# A container's view: a namespace behind a bridge resolves names at an address inside the VIP pool and
# connects to VIPs of a pool outside 127.0.0.0/8. The bridge comes after teal has started and goes again;
# who is behind no bridge is turned away with RST, and the pool's route stays when teal stops.
source "$(dirname "$0")/lib.sh"
need curl jq ip dig
need_root "network namespaces"
need_binaries
settings

HOST=teal-$$-host INSIDE=teal-$$-inside OUTSIDE=teal-$$-outside
remove_namespaces() {
    local namespace
    for namespace in "$HOST" "$INSIDE" "$OUTSIDE"; do ip netns delete "$namespace" 2>/dev/null || true; done
}
CLEANUPS+=(remove_namespaces)
ip netns add "$HOST" 2>/dev/null || skip "this machine does not allow network namespaces"
ip netns add "$INSIDE"
ip netns add "$OUTSIDE"
for namespace in "$HOST" "$INSIDE" "$OUTSIDE"; do ip -n "$namespace" link set lo up; done
IN=(ip netns exec "$HOST")
BACKEND_IN=("${IN[@]}")

start_backend backend blue=127.0.0.1:7000 green=127.0.0.1:7001
cat >"$CONFIG" <<END
[dns]
listen = ["198.18.0.53:53"]
upstreams = []
[vip]
pool = "198.18.0.0/16"
[metrics]
listen = "127.0.0.1:$METRICS_PORT"
[defaults]
health = { kind = "none" }
[services.shop]
ports = [{ listen = 80 }]
[services.shop.colors.blue]
weight = 100
endpoints = ["127.0.0.1:7000"]
[services.shop.colors.green]
weight = 0
endpoints = ["127.0.0.1:7001"]
END
start_teal
"${IN[@]}" ip route show table local | grep -q '^local 198.18.0.0/16 dev lo' || fail "no local route for the pool"

# join NAMESPACE SUBNET: a link between the host and a namespace, whose default route leads to the host.
join() {
    ip -n "$HOST" link add "to-$2" type veth peer name eth0 netns "$1" || skip "no veth links here"
    ip -n "$1" address add "10.199.$2.2/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "10.199.$2.1"
    ip -n "$HOST" link set "to-$2" up
}
resolve() { ip netns exec "$1" dig @198.18.0.53 "$2" +short +time=2 +tries=1; }
resolves() { [ -n "$(resolve "$@")" ] && [[ $(resolve "$@") != *';'* ]]; }
opens() { ip netns exec "$1" "$LOAD" open "$2:80" --connections 20; }

join "$INSIDE" 1
join "$OUTSIDE" 2
ip -n "$HOST" address add 10.199.2.1/24 dev to-2
ip -n "$HOST" link add bridge0 type bridge || skip "no bridges here"
ip -n "$HOST" link set bridge0 up
ip -n "$HOST" link set to-1 master bridge0
ip -n "$HOST" address add 10.199.1.1/24 dev bridge0
wait_for 10 "answer behind the bridge" resolves "$INSIDE" shop.local
vip=$(resolve "$INSIDE" shop.local)
expect "answers behind the bridge" "$(opens "$INSIDE" "$vip" | jq -c .answers)" '{"blue":20}'
preview=$(resolve "$INSIDE" green.shop.local)
expect "the preview name behind the bridge" "$(opens "$INSIDE" "$preview" | jq -c .answers)" '{"green":20}'
say "behind the bridge: $vip and $preview answer"

# 7: refused, 56: reset; what came of it depends on how soon the RST is there. 28 would be a hang.
code=0
ip netns exec "$OUTSIDE" curl -sS --max-time 5 "http://$vip/" 2>"$WORK/outside" || code=$?
[ "$code" = 7 ] || [ "$code" = 56 ] || fail "who is behind no bridge: curl ends with $code: $(cat "$WORK/outside")"
wait_for 5 "count of who was turned away" metric_is 1 teal_connection_errors_total 'reason="not_allowed"'
ip netns exec "$OUTSIDE" dig @198.18.0.53 shop.local +time=2 +tries=1 | grep -q "status: REFUSED" \
    || fail "DNS answers who is behind no bridge"
say "behind no bridge: RST and REFUSED, counted"

ip -n "$HOST" link delete bridge0
ip -n "$HOST" address add 10.199.1.1/24 dev to-1
refused_now() { ip netns exec "$INSIDE" dig @198.18.0.53 shop.local +time=2 +tries=1 | grep -q "status: REFUSED"; }
wait_for 10 "REFUSED once the bridge is gone" refused_now

stop_teal
"${IN[@]}" ip route show table local | grep -q '^local 198.18.0.0/16 dev lo' || fail "the route went with teal"
"${IN[@]}" "$TEAL" route --config "$CONFIG" --remove
! "${IN[@]}" ip route show table local | grep -q 198.18.0.0 || fail "teal route --remove left the route"
say "the route stayed when teal stopped, and went with teal route --remove"
