#!/usr/bin/env bash
# Clients that people use, against servers that people use, through teal: curl, wrk, redis-benchmark
# and pgbench with 0 errors; dig and kdig for what DNS says.
source "$(dirname "$0")/lib.sh"
need curl jq dig nginx
need_binaries
settings

read -r HTTP_BLUE HTTP_GREEN REDIS POSTGRES <<<"$("$LOAD" ports 4)"
MISSING=()

cat >"$WORK/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $WORK/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $WORK/nginx-1; proxy_temp_path $WORK/nginx-2; fastcgi_temp_path $WORK/nginx-3;
    uwsgi_temp_path $WORK/nginx-4; scgi_temp_path $WORK/nginx-5;
    keepalive_requests 1000000;
    server { listen 127.0.0.1:$HTTP_BLUE backlog=4096; location / { return 200 "Hello world!\n"; } }
    server { listen 127.0.0.1:$HTTP_GREEN backlog=4096; location / { return 200 "Welcome to the world!\n"; } }
}
END
spawn nginx nginx -e stderr -p "$WORK" -c "$WORK/nginx.conf"
wait_for 10 "web server" curl -fsS "http://127.0.0.1:$HTTP_GREEN/"
{
    head_of_config
    cat <<END
[services.web]
ports = [{ listen = 8080, target = 8080, name = "http" }]
[services.web.colors.blue]
weight = 50
endpoints = ["127.0.0.1:$HTTP_BLUE"]
[services.web.colors.green]
weight = 50
endpoints = ["127.0.0.1:$HTTP_GREEN"]
END
    service cache "$POOL_NET.0.20" 6379 "blue=1@127.0.0.1:$REDIS"
    service base "$POOL_NET.0.21" 5432 "blue=1@127.0.0.1:$POSTGRES"
} >"$CONFIG"
start_teal

ask() { dig @127.0.0.1 -p "$DNS_PORT" +tries=1 +time=2 "$@"; }
short() { ask +short "$@"; }
status() { ask "$@" | sed -nE 's/.*status: ([A-Z]+),.*/\1/p'; }
counts() { ask "$@" | sed -nE 's/.*ANSWER: ([0-9]+), AUTHORITY: ([0-9]+),.*/\1 \2/p'; }
flags() { ask "$@" | sed -nE 's/^;; flags: ([a-z ]*);.*/ \1 /p'; }
soa_in_authority() { ask +noall +authority "$@" | awk '{ print $4 }'; }

dns() {
    WEB=$(short web.local A)
    expect_match "A of web.local" "$WEB" "^${POOL_NET//./\\.}\."
    expect "A of cache.local" "$(short cache.local A)" "$POOL_NET.0.20"
    expect "flags aa, ra" "$(flags web.local A | grep -c ' aa .* ra ')" 1
    expect "rd only as asked" "$(flags +norec web.local A | grep -c ' rd ')" 0
    for how in +tcp +norec +bufsize=512 +bufsize=4096 +noedns +cookie +nocookie +dnssec; do
        expect "A with $how" "$(short "$how" web.local A)" "$WEB"
    done
    expect "no OPT unless asked" "$(ask +noedns web.local A | grep -c 'OPT PSEUDOSECTION')" 0
    expect "mixed case" "$(short WeB.LoCaL A)" "$WEB"
    expect "question echoed as sent" "$(ask WeB.LoCaL A | grep -c '^;WeB\.LoCaL\.')" 1
    expect "AAAA" "$(status web.local AAAA) $(counts web.local AAAA)" "NOERROR 0 1"
    expect "AAAA's authority" "$(soa_in_authority web.local AAAA)" SOA
    expect "TXT" "$(status web.local TXT) $(counts web.local TXT)" "NOERROR 0 1"
    expect "unknown name" "$(status nobody.local A) $(counts nobody.local A)" "NXDOMAIN 0 1"
    expect "unknown name's authority" "$(soa_in_authority nobody.local A)" SOA
    expect "SRV" "$(short _http._tcp.web.local SRV | awk '{ print $3, $4 }')" "8080 web.local."
    expect "PTR" "$(short -x "$WEB")" web.local.
    expect "SOA" "$(short local SOA | wc -l)" 1
    expect "NS" "$(short local NS)" ns.local.
    expect "outside the zone" "$(status example.com A)" REFUSED
    expect "EDNS version 1" "$(status +edns=1 +noednsnegotiation web.local A)" BADVERS
    expect "another opcode" "$(status +opcode=NOTIFY local SOA)" NOTIMP
    expect_match "preview name" "$(short green.web.local A)" "^${POOL_NET//./\\.}\."
    [ "$(short green.web.local A)" != "$WEB" ] || fail "the preview name has the service's address"
    say "dig: all as promised"
}

kdig_too() {
    local ask=(kdig @127.0.0.1 -p "$DNS_PORT" +retry=0 +time=2)
    expect "kdig" "$("${ask[@]}" +short web.local A)" "$WEB"
    expect "kdig +tcp" "$("${ask[@]}" +tcp +short web.local A)" "$WEB"
    expect_match "kdig +edns=1" "$("${ask[@]}" +edns=1 web.local A)" 'BADVERS'
    expect_match "kdig AAAA" "$("${ask[@]}" web.local AAAA)" 'status: NOERROR'
    expect_match "kdig unknown name" "$("${ask[@]}" nobody.local A)" 'status: NXDOMAIN'
    say "kdig: all as promised"
}

curls() {
    local count
    for _ in $(seq 100); do
        curl -fsS --max-time 5 --resolve "web.local:8080:$WEB" http://web.local:8080/ || fail "curl: exit $?"
    done | sort | uniq -c >"$WORK/curl.txt"
    count=$(awk '/Hello world/ { print $1 }' "$WORK/curl.txt")
    expect "blue of 100 by curl" "$count" 50
    for _ in 1 2 3; do
        expect "preview by curl" "$(curl -fsS --max-time 5 "http://$(short green.web.local A):8080/")" \
            "Welcome to the world!"
    done
    say "curl: 50 blue, 50 green; the preview name is green"
}

wrks() {
    local how
    for how in keep-alive close; do
        wrk -t 1 -c 50 -d 4s -H "Connection: $how" "http://$WEB:8080/" >"$WORK/wrk.log" || fail "wrk: exit $?"
        ! grep -E 'Socket errors|Non-2xx' "$WORK/wrk.log" || fail "wrk, $how"
        grep -qE '^ +[1-9][0-9]* requests in' "$WORK/wrk.log" || fail "wrk had no answer"
        say "wrk, $how: $(grep 'requests in' "$WORK/wrk.log")"
    done
}

redis() {
    spawn redis redis-server --bind 127.0.0.1 --port "$REDIS" --save '' --appendonly no --dir "$WORK"
    wait_for 10 "redis" redis-cli -p "$REDIS" ping
    redis-benchmark -h "$POOL_NET.0.20" -p 6379 -n 50000 -c 50 -d 100 -t set,get,lpush,lrange_100 --csv \
        >"$WORK/redis-benchmark.log" 2>&1 || fail "redis-benchmark: exit $?"
    # Each request on a connection of its own.
    redis-benchmark -h "$POOL_NET.0.20" -p 6379 -n 5000 -c 20 -k 0 -t ping --csv \
        >>"$WORK/redis-benchmark.log" 2>&1 || fail "redis-benchmark -k 0: exit $?"
    ! grep -iE 'error|refused|reset|closed' "$WORK/redis-benchmark.log" || fail "redis-benchmark"
    # Once for itself, once to prepare lrange.
    expect "redis through teal" "$(redis-cli -h "$POOL_NET.0.20" -p 6379 llen mylist)" 100000
    say "redis-benchmark: 0 errors"
}

postgres() {
    start_postgres "$POSTGRES" 127.0.0.1
    local to=(-h "$POOL_NET.0.21" -p 5432 -U teal)
    "$PG/pgbench" "${to[@]}" -c 10 -T 4 postgres >"$WORK/pgbench.log" 2>&1 || fail "pgbench"
    bench_held pgbench
    "$PG/pgbench" "${to[@]}" -C -c 5 -t 50 postgres >"$WORK/pgbench-C.log" 2>&1 || fail "pgbench -C"
    bench_held pgbench-C
    stop_postgres
}

dns
if command -v kdig >/dev/null; then kdig_too; else MISSING+=(kdig); fi
curls
if command -v wrk >/dev/null; then wrks; else MISSING+=(wrk); fi
if command -v redis-benchmark >/dev/null && command -v redis-server >/dev/null; then redis; else MISSING+=(redis); fi
if find_postgres; then postgres; else MISSING+=(postgresql); fi
expect "connection errors" "$(metric teal_connection_errors_total)" 0
stop_teal
[ "${#MISSING[@]}" = 0 ] || skip "the rest held, but these are not installed: ${MISSING[*]}"
