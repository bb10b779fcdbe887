#!/usr/bin/env bash
# Source ports over a real link: 2,000 short connections a second to one endpoint, so many that the
# ports of the host wrap around, without an error. Client and teal in one network namespace, the
# backend in another, joined by veth. 20 s, or 60 s with LONG=1.
source "$(dirname "$0")/lib.sh"
need curl jq ip
need_root "network namespaces"
need_binaries
settings

RATE=2000
SECONDS_OF_LOAD=$([ "${LONG:-0}" = 1 ] && echo 60 || echo 20)
HERE=teal-$$-here THERE=teal-$$-there

remove_namespaces() {
    ip netns delete "$HERE" 2>/dev/null
    ip netns delete "$THERE" 2>/dev/null
}
CLEANUPS+=(remove_namespaces)
ip netns add "$HERE" 2>/dev/null || skip "this machine does not allow network namespaces"
ip netns add "$THERE"
ip -n "$HERE" link add teal0 type veth peer name teal0 netns "$THERE" || skip "no veth links here"
ip -n "$HERE" address add 10.199.0.1/24 dev teal0
ip -n "$THERE" address add 10.199.0.2/24 dev teal0
for namespace in "$HERE" "$THERE"; do
    ip -n "$namespace" link set lo up
    ip -n "$namespace" link set teal0 up
done
IN=(ip netns exec "$HERE")
BACKEND_IN=(ip netns exec "$THERE")
# As the package's sysctl file sets it.
"${IN[@]}" sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse'
read -r low high <<<"$("${IN[@]}" cat /proc/sys/net/ipv4/ip_local_port_range)"
connections=$((RATE * SECONDS_OF_LOAD))
[ "$connections" -gt $((high - low)) ] || fail "$connections connections do not wrap ports $low to $high"

start_backend backend blue=10.199.0.2:7000
{
    head_of_config
    service shop "$POOL_NET.0.10" 7000 "blue=100@10.199.0.2:7000"
} >"$CONFIG"
start_teal
spawn open "${IN[@]}" "$LOAD" open "$POOL_NET.0.10:7000" --rate "$RATE" --connections "$connections" --at-once 500
code=0
ended "$SPAWNED" || code=$?
say "$(report open)"
say "source ports in TIME_WAIT towards the backend: $("${IN[@]}" ss -Htan state time-wait dst 10.199.0.2 2>/dev/null | wc -l)"
if [ "$code" != 0 ]; then
    http /metrics | grep -E '^teal_connection(_errors|s_closed)_total|^teal_connect_retries_total'
    fail "connections failed"
fi
# The rate must have been kept, or the ports were not tried: a tenth is left for a busy machine.
[ "$(value open '.seconds | floor')" -le $((SECONDS_OF_LOAD * 11 / 10)) ] \
    || skip "this machine is too busy for $RATE connections a second: $(value open .seconds) s"
expect "connection errors" "$(metric teal_connection_errors_total)" 0
stop_teal
