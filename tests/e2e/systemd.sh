#!/usr/bin/env bash
# The unit as systemd sees it: no complaint, and an exposure below 2.5.
source "$(dirname "$0")/lib.sh"
need systemd-analyze
[ -f "$ROOT/systemd/teal.service" ] || skip "there is no systemd/teal.service"
need_binaries

# The unit names the installed binary; this machine has the built one.
sed -E "s|/usr(/local)?/s?bin/teal|$TEAL|g" "$ROOT/systemd/teal.service" >"$WORK/teal.service"
systemd-analyze verify --man=no "$WORK/teal.service" >"$WORK/verify.log" 2>&1 || fail "systemd-analyze verify objects"
# Complaints about units of this machine are not ours.
! grep -F teal "$WORK/verify.log" || fail "systemd-analyze verify has remarks"
systemd-analyze security --offline=true --no-pager --threshold=25 "$WORK/teal.service" >"$WORK/security.log" 2>&1 \
    || fail "exposure: $(grep -F 'exposure level' "$WORK/security.log")"
say "$(grep -F 'exposure level' "$WORK/security.log")"
