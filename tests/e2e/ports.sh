#!/usr/bin/env bash
# Source ports over a real link: 2,000 short connections a second to one endpoint, so many that the
# ports of the host wrap around, without an error. Client and teal in one network namespace, the
# backend in another, joined by veth. 20 s, or 60 s with LONG=1. Before that, with a hundred ports only: teal says
# so when 80 of them are in use, and that it is over when they are not.
source "$(dirname "$0")/lib.sh"
need curl jq
need_binaries
settings
two_namespaces

RATE=2000
SECONDS_OF_LOAD=$([ "${LONG:-0}" = 1 ] && echo 60 || echo 20)
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

"${IN[@]}" sh -c 'echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range'
ports_used() { [ "$(metric "teal_source_ports_used" 'endpoint="10.199.0.2:7000"')" = "$1" ]; }
says_so() { "${IN[@]}" "$TEAL" status --socket "$SOCKET" | grep -F 'source ports 10.199.0.2:7000'; }
spawn few "${IN[@]}" "$LOAD" hold "$POOL_NET.0.10:7000" --connections 79
few=$SPAWNED
wait_for 20 "79 ports in use" ports_used 79
! says_so >/dev/null || fail "79 of 100 source ports are no problem yet"
spawn more "${IN[@]}" "$LOAD" hold "$POOL_NET.0.10:7000" --connections 3
wait_for 20 "the warning of source ports" says_so
expect "source ports that there are" "$(metric teal_source_ports_limit 'endpoint="10.199.0.2:7000"')" 100
expect_match "warning" "$(says_so)" 'of the 100 source ports towards this endpoint.*source_addresses'
grep -q 'ERROR.*source ports towards this endpoint' "$WORK/teal.log" || fail "the log does not say so"
finish_child "$SPAWNED" || fail "held connections ended"
finish_child "$few" || fail "held connections ended"
no_longer() { ! says_so; }
wait_for 20 "the end of the warning" no_longer
"${IN[@]}" sh -c "echo $low $high >/proc/sys/net/ipv4/ip_local_port_range"
say "source ports: warned of at 82 of 100, not at 79, and over with them"

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
