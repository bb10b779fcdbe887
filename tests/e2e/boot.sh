#!/usr/bin/env bash
# A booted Debian in a container, installed as the README says: the unit starts with its own user and
# capabilities, reloads with a result, keeps its route, logs to the journal and stops cleanly. Builds a
# Debian tree, which takes minutes: only with LONG=1.
source "$(dirname "$0")/lib.sh"
[ "${LONG:-0}" = 1 ] || skip "only with --long"
need debootstrap systemd-nspawn apt-get
need_root "a container"
need_binaries

TREE=$WORK/tree
# shellcheck disable=SC2016 # a format of apt
mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,procps,bind9-dnsutils bookworm \
    "$TREE" "$mirror" >"$WORK/debootstrap.log" 2>&1 || skip "no Debian tree can be built: $(tail -n 1 "$WORK/debootstrap.log")"
install -D -m 755 "$TEAL" "$TREE/usr/bin/teal"
install -D -m 644 -t "$TREE/usr/lib/systemd/system" "$ROOT"/systemd/teal.service "$ROOT"/systemd/teal-route.service
install -D -m 644 "$ROOT/systemd/50-teal.conf" "$TREE/usr/lib/sysctl.d/50-teal.conf"
install -D -m 644 "$ROOT/systemd/teal.sysusers" "$TREE/usr/lib/sysusers.d/teal.conf"
mkdir -p "$TREE/etc/teal"
cat >"$TREE/etc/teal/teal.toml" <<'END'
[dns]
listen = ["198.18.0.53:53"]
upstreams = []
[vip]
pool = "198.18.0.0/16"
[defaults]
health = { kind = "none" }
[services.shop]
ports = [{ listen = 80, target = 8000 }]
[services.shop.colors.blue]
weight = 100
endpoints = ["127.0.0.1"]
END
# Each line that begins with `ok` or `bad` is a check; the last word turns the machine off.
cat >"$TREE/root/try" <<'END'
#!/bin/bash
check() { local what=$1; shift; if "$@" >/root/last 2>&1; then echo "ok $what"; else echo "bad $what: $(tail -n 3 /root/last)"; fi; }
has() { grep -q -- "$1" <<<"$2"; }
check "active" systemctl is-active --quiet teal
check "route" has '^local 198.18.0.0/16' "$(ip route show table local)"
check "reused source ports" has 1 "$(cat /proc/sys/net/ipv4/tcp_tw_reuse)"
check "own user" has '^teal$' "$(ps -o user= -p "$(systemctl show -P MainPID teal)")"
check "one capability" has '0000000000000400' "$(grep CapEff "/proc/$(systemctl show -P MainPID teal)/status")"
check "name" has '^198\.18\.' "$(dig @198.18.0.53 shop.local +short)"
check "status" teal status
check "nothing warned" test -z "$(journalctl -u teal -p warning -o cat | grep -v '^-- ')"
echo broken >>/etc/teal/teal.toml
check "a broken file fails the reload" bash -c '! systemctl reload teal'
check "and the daemon goes on" systemctl is-active --quiet teal
sed -i '$d' /etc/teal/teal.toml
sed -i 's/weight = 100/weight = 50/' /etc/teal/teal.toml
check "a good file reloads" systemctl reload teal
check "the reload is in effect" has ' 50 ' "$(teal status)"
check "journal fields" has '"TARGET":"teal' "$(journalctl -u teal -o json)"
check "stop" systemctl stop teal
check "clean end" has '^success$' "$(systemctl show -P Result teal)"
check "the route stays" has '^local 198.18.0.0/16' "$(ip route show table local)"
echo done
systemctl poweroff
END
chmod 755 "$TREE/root/try"
cat >"$TREE/etc/systemd/system/try.service" <<'END'
[Unit]
After=teal.service
[Service]
ExecStart=/bin/bash -c '/root/try >/root/result 2>&1'
END
mkdir -p "$TREE/etc/systemd/system/multi-user.target.wants"
ln -s ../try.service "$TREE/etc/systemd/system/multi-user.target.wants/try.service"
ln -s /usr/lib/systemd/system/teal.service "$TREE/etc/systemd/system/multi-user.target.wants/teal.service"
timeout 120 systemd-nspawn --quiet --register=no --keep-unit --private-network --boot -D "$TREE" >"$WORK/boot.log" 2>&1 </dev/null || true
[ -e "$TREE/root/result" ] || skip "no container boots here: $(tail -n 1 "$WORK/boot.log")"
cat "$TREE/root/result"
grep -q '^done$' "$TREE/root/result" || fail "the container was stopped before the end"
! grep -q '^bad' "$TREE/root/result" || fail "not all held"
