# What the scenarios about names share; sourced after lib.sh.
# shellcheck shell=bash disable=SC2034 # the scenarios use what is set here
#
# A scenario that calls own_namespaces runs in a network and a mount namespace of its own: its resolv.conf names teal, its "internet"
# is a knotd on 127.0.1.1 and 127.0.1.2 with the zone example.

# The upstreams, and what they say of www.example.
FIRST=127.0.1.1 SECOND=127.0.1.2
WWW4=192.0.2.80 WWW6=2001:db8::80

# own_namespaces: goes on in namespaces where nothing but lo is, and which no process outlives.
own_namespaces() {
    local namespaces=(-nm --propagation private --pid --fork --mount-proc --kill-child)
    if [ -z "${TEAL_E2E_OWN:-}" ]; then
        need unshare ip curl
        need_root "network and mount namespaces"
        unshare "${namespaces[@]}" true 2>/dev/null || skip "this machine does not allow network and mount namespaces"
        need_binaries
        rm -rf "$WORK"
        TEAL_E2E_OWN=1 TEAL=$TEAL LOAD=$LOAD exec unshare "${namespaces[@]}" "$0"
    fi
    unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
    ip link set lo up
    # Some clients ask for families only that the host has an address of.
    ip address add 10.199.9.1/32 dev lo
    ip address add fd00:199::1/128 dev lo nodad 2>/dev/null || true
    instead_of /etc/resolv.conf 'nameserver 127.0.0.1'
    instead_of /etc/nsswitch.conf 'hosts: files dns'
    instead_of /etc/hosts '127.0.0.1 localhost'
}

# instead_of FILE TEXT: what the file says in here.
instead_of() {
    local file
    file=$WORK/$(basename "$1")
    printf '%s\n' "$2" >"$file"
    mount --bind "$file" "$1" || skip "nothing can be mounted over $1"
}

# start_internet: all of many.example exists. INTERNET_IN is a prefix such as `ip netns exec NAME`.
INTERNET_IN=()
start_internet() {
    need knotd kdig
    mkdir "$WORK/knot"
    cat >"$WORK/knot.conf" <<END
server:
    listen: [ $(printf '%s@53\n' "$FIRST" "$SECOND" | sort -u | paste -sd ,) ]
    rundir: $WORK/knot
    udp-workers: 1
    background-workers: 1
database:
    storage: $WORK/knot
log:
  - target: stderr
    any: warning
zone:
  - domain: example
    file: $WORK/example.zone
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    semantic-checks: off
END
    cat >"$WORK/example.zone" <<END
\$ORIGIN example.
\$TTL 60
@ SOA ns.example. host.example. 1 3600 900 604800 30
@ NS ns
ns A $FIRST
www A $WWW4
www AAAA $WWW6
*.many A $WWW4
*.many AAAA $WWW6
END
    spawn internet "${INTERNET_IN[@]}" knotd -c "$WORK/knot.conf"
    INTERNET=$SPAWNED
    wait_for 10 "answer of knotd" outside_answers
}
outside_answers() { [ "$("${INTERNET_IN[@]}" kdig +short +time=1 +retry=0 "@$SECOND" www.example A)" = "$WWW4" ]; }

# head_of_names UPSTREAM...: the configuration but services, for a resolv.conf that names teal.
head_of_names() {
    local upstreams
    printf -v upstreams '"%s", ' "$@"
    head_with_dns 53 "upstreams = [${upstreams%, }]
max_forwards = 1000
forward_rate_per_source = \"off\""
}

# c_clients: builds lookup.c with glibc, and with musl where that is here.
c_clients() {
    cc -O1 -o "$WORK/glibc" "$ROOT/tests/e2e/lookup.c" 2>"$WORK/cc.log" || fail "cc"
    if command -v musl-gcc >/dev/null; then
        musl-gcc -O1 -static -o "$WORK/musl" "$ROOT/tests/e2e/lookup.c" 2>"$WORK/musl.log" || fail "musl-gcc"
    else
        MISSING+=(musl-gcc)
    fi
}
MISSING=()

# names COUNT PREFIX: so many names of the internet.
names() { seq -f "$2%g.many.example" "$1"; }

# lookups LOG: of lines NAME MILLISECONDS RESULT: how many, how many not as www.example, p50, p99 and maximum.
lookups() {
    sort -n -k 2,2 "$WORK/$1.log" | awk -v first="$WWW4" -v second="$WWW6" '
        { took[NR] = $2; if (NF != 4 || !index($0, " " first) || !index($0, " " second)) failed++ }
        function part(share) { i = int(NR * share); return took[i < 1 ? 1 : i] }
        END { print NR, failed + 0, part(0.5), part(0.99), took[NR] }'
}

# at_most WHAT ACTUAL BOUND
at_most() { awk -v actual="$2" -v bound="$3" 'BEGIN { exit !(actual <= bound) }' || fail "$1: $2, more than $3"; }

# greater ONE OTHER
greater() { printf '%s\n' "$@" | sort -g | tail -n 1; }

# nothing_missing: the end of a scenario.
nothing_missing() { [ "${#MISSING[@]}" = 0 ] || skip "the rest held, but these are not installed: ${MISSING[*]}"; }
