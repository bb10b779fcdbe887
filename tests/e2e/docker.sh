#!/usr/bin/env bash
# Real containers: on Docker's default bridge, with teal as their server, and on a network of their own, through
# Docker's server 127.0.0.11. Both reach http://serviceb.local/, whose colors are containers too, and see both at
# exactly 50:50. In a release with lanes, what a container calls depends on its own color. The Docker daemon is the
# scenario's own, in its namespaces and folder.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/names.sh"
source "$(dirname "$0")/release.sh"
need dockerd docker containerd runc iptables busybox
own_namespaces
settings
! ldd "$(command -v busybox)" >/dev/null 2>&1 || skip "busybox is not static here"
# Whatever Docker runs on this machine is out of sight, and this one is for others.
mount -t tmpfs tmpfs /run
start_internet
DNS=198.18.0.53 CGROUP=teal-e2e-$$-$RANDOM
# Containers end before their folders go; -1 is all of this process namespace.
end_containers() {
    [ "$$" != 1 ] || kill -KILL -1 2>/dev/null || true
    awk -v under="$WORK/" 'index($5, under) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l
}
remove_cgroups() { find /sys/fs/cgroup -depth -type d -path "*/$CGROUP*" -exec rmdir {} + 2>/dev/null; }
CLEANUPS+=(end_containers remove_cgroups)

export DOCKER_HOST=unix://$WORK/docker.sock DOCKER_CONFIG=$WORK/docker-config
echo '{}' >"$WORK/daemon.json"
spawn dockerd dockerd --config-file "$WORK/daemon.json" --data-root "$WORK/docker" --exec-root "$WORK/exec" -H "$DOCKER_HOST" \
    --pidfile "$WORK/docker.pid" --storage-driver vfs --cgroup-parent "/$CGROUP" --bip 172.29.0.1/24
DOCKERD=$SPAWNED
docker_or_gone() { docker version || ! kill -0 "$DOCKERD"; }
wait_for 30 "answer of dockerd" docker_or_gone
docker version >/dev/null 2>&1 || skip "dockerd does not start here: $(grep -v level=info "$WORK/dockerd.log" | tail -n 1)"

# The image: busybox for the colors, curl with its libraries for the callers, and the lookups by musl.
mkdir -p "$WORK/image/bin" "$WORK/image/etc"
cp "$(command -v busybox)" "$WORK/image/bin/busybox"
for applet in sh httpd nslookup cat mkdir true; do ln -s busybox "$WORK/image/bin/$applet"; done
mapfile -t LIBRARIES < <(ldd "$(command -v curl)" | grep -oE '/[^ ]+')
cp -L --parents "${LIBRARIES[@]}" "$WORK/image"
cp "$(command -v curl)" "$WORK/image/bin/curl"
echo 'hosts: files dns' >"$WORK/image/etc/nsswitch.conf"
c_clients
[ ! -x "$WORK/musl" ] || cp "$WORK/musl" "$WORK/image/bin/musl"
tar -C "$WORK/image" -c . | docker import - box >"$WORK/import.log" 2>&1 || fail "docker import"
docker run --rm --network none box true >"$WORK/first.log" 2>&1 || skip "no containers here: $(tail -n 1 "$WORK/first.log")"
docker network create --subnet 172.29.1.0/24 own >"$WORK/network.log" 2>&1 || fail "docker network create"
# color NAME ADDRESS: a container that serves its name.
color() {
    docker run -d --stop-signal KILL --name "$1" --network own --ip "$2" box sh -c "mkdir /www && echo $1 >/www/index.html && httpd -f -p 80 -h /www" \
        >"$WORK/$1.log" 2>&1 || fail "docker run $1"
    wait_for 10 "web server $1" curl -fsS --max-time 1 "http://$2/"
}
color blue 172.29.1.10
color green 172.29.1.11
{
    head_of_names "$FIRST" "$SECOND" | sed "s|^listen = .*:53\"\]|listen = [\"$DNS:53\"]|; s|^pool = .*|pool = \"198.18.0.0/16\"|"
    service serviceb 198.18.0.80 80 "blue=50@172.29.1.10:80" "green=50@172.29.1.11:80"
} >"$CONFIG"
start_teal

COUNT=100
# sees WHERE ARGUMENT...: of a container there.
sees() {
    local where=$1 begin spent
    shift
    docker run --rm "$@" box cat /etc/resolv.conf >"$WORK/$where-resolv.log" 2>&1 || fail "$where: docker run"
    begin=$EPOCHREALTIME
    docker run --rm "$@" box sh -c "i=0; while [ \$i -lt $COUNT ]; do curl -sSf --max-time 5 http://serviceb.local/ || echo failed; i=\$((i + 1)); done" \
        >"$WORK/$where.log" 2>&1 || fail "$where: docker run"
    spent=$(awk -v begin="$begin" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.1f", end - begin }')
    expect "$where: colors" "$(sort "$WORK/$where.log" | uniq -c | awk '{ print $2, $1 }' | paste -sd ' ')" \
        "blue $((COUNT / 2)) green $((COUNT / 2))"
    # A resolver's timeout is 5 s.
    at_most "$where: seconds of $COUNT requests and their container" "$spent" 5
    if [ -x "$WORK/musl" ]; then
        docker run --rm "$@" box musl serviceb.local www.example nobody.local nobody.example >"$WORK/$where-musl.log" 2>&1 \
            || fail "$where: lookups by musl"
        expect "$where: lookups by musl" "$(awk '{ $2 = ""; print }' "$WORK/$where-musl.log" | sed 's/ error .*/ none/' | tr -s ' \n' ' ')" \
            "serviceb.local 198.18.0.80 www.example $WWW4 $WWW6 nobody.local none nobody.example none "
        at_most "$where: the slowest lookup by musl in ms" "$(sort -n -k 2,2 "$WORK/$where-musl.log" | awk '{ took = $2 } END { print took }')" 1000
    fi
    expect_match "$where: the internet" "$(docker run --rm "$@" box nslookup www.example 2>&1)" "$WWW4"
    expect_match "$where: a missing name" "$(docker run --rm "$@" box nslookup nobody.local 2>&1)" NXDOMAIN
    say "docker, $where: $COUNT requests in $spent s, colors 50:50 exactly"
}
sees default-bridge --dns "$DNS"
expect "the default bridge's server" "$(awk '/^nameserver/ { print $2 }' "$WORK/default-bridge-resolv.log")" "$DNS"
sees own-network --dns "$DNS" --network own
expect "the own network's server" "$(awk '/^nameserver/ { print $2 }' "$WORK/own-network-resolv.log")" 127.0.0.11
expect_match "names of containers" "$(docker run --rm --dns "$DNS" --network own box nslookup blue 2>&1)" 172.29.1.10

# In front of serviceb, and released together with it.
front() {
    docker run -d --stop-signal KILL --name "$1" --network own --ip "$2" --dns "$DNS" box sh -c "mkdir /www && echo $1 >/www/index.html && httpd -f -p 80 -h /www" \
        >"$WORK/$1.log" 2>&1 || fail "docker run $1"
    wait_for 10 "web server $1" curl -fsS --max-time 1 "http://$2/"
}
front front-blue 172.29.1.20
front front-green 172.29.1.21
{
    head_of_names "$FIRST" "$SECOND" | sed "s|^listen = .*:53\"\]|listen = [\"$DNS:53\"]|; s|^pool = .*|pool = \"198.18.0.0/16\"|"
    printf '[apps.shop]\nservices = ["front", "serviceb"]\nlanes = "require"\n'
    service front 198.18.0.81 80 "blue=100@172.29.1.20:80" "green=0@172.29.1.21:80" | sed 's|^\[services.front\]|&\ndepends_on = ["serviceb"]|'
    service serviceb 198.18.0.80 80 "blue=100@172.29.1.10:80" "green=0@172.29.1.11:80"
} | replace_config
wait_for 10 "the weights of the file" weights_are "100 0" serviceb
cat >"$WORK/release.toml" <<END
[release]
app = "shop"
to = "green"
[[release.steps]]
percent = 10
bake = "1h"
[[release.steps]]
percent = 100
[release.judgement]
enabled = false
END
told 0 start "$WORK/release.toml" -m "lanes of containers"
wait_for 10 "first step" in_phase baking shop
# calls CONTAINER: what it is answered by serviceb.
calls() {
    docker exec "$1" sh -c "i=0; while [ \$i -lt $COUNT ]; do curl -sSf --max-time 5 http://serviceb.local/ || echo failed; i=\$((i + 1)); done" \
        2>&1 | sort | uniq -c | awk '{ print $2, $1 }' | paste -sd ' '
}
expect "what the old front calls" "$(calls front-blue)" "blue $COUNT"
expect "what the new front calls" "$(calls front-green)" "green $COUNT"
told 0 rollback shop -m "seen"
expect "what the new front calls after the rollback" "$(wait_for 10 "rollback" in_phase closed shop && calls front-green)" "blue $COUNT"
say "docker, lanes at 10 %: $COUNT of $COUNT calls of each front reach its own color"
stop_teal
docker rm -f front-blue front-green blue green >"$WORK/rm.log" 2>&1 || fail "docker rm"
finish_child "$DOCKERD" || fail "dockerd ended with $?"
nothing_missing
