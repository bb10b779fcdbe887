#!/usr/bin/env bash
# What a release asks and tells the outside world: a program from the gates folder with its environment, a signed webhook
# and a Prometheus query as gates that pass and do not, hooks, and signed notifications, each with a receiver that
# checks.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/release.sh"
need curl jq python3
need_binaries
settings

KEY="a key of more than sixteen characters"
printf '%s\n' "$KEY" >"$WORK/key"
chmod 600 "$WORK/key"
mkdir -m 755 "$WORK/gates" "$WORK/hooks"
mkdir "$WORK/told"
echo 200 >"$WORK/told/gate"
echo 0.5 >"$WORK/told/value"

start_backend backend blue=127.0.0.2:0 green=127.0.0.3:0
spawn receiver python3 "$ROOT/tests/e2e/receiver.py" --key "$KEY" --told "$WORK/told"
wait_for 10 "receiver" grep -q '^ready ' "$WORK/receiver.log"
RECEIVER=http://$(sed -n 's/^ready //p' "$WORK/receiver.log")

# program FOLDER NAME EXIT_CODE: leaves its environment in $WORK/NAME.environment.
program() {
    printf '#!/bin/sh\nenv | sort >%s\npwd\nexit %s\n' "$WORK/$2.environment" "$3" >"$WORK/$1/$2.new"
    chmod 755 "$WORK/$1/$2.new"
    mv "$WORK/$1/$2.new" "$WORK/$1/$2"
}
program gates smoke 0
program hooks retire-new 0
program hooks retire-old 0

{
    head_of_config
    printf '[release]\ngates_dir = "%s"\nhooks_dir = "%s"\n' "$WORK/gates" "$WORK/hooks"
    printf '[apps.shop]\nservices = ["service-a", "serviceb"]\n'
    service service-a "$POOL_NET.0.10" 7000 "blue=100@$(address backend blue)" "green=0@$(address backend green)"
    service serviceb "$POOL_NET.0.11" 7000 "blue=100@$(address backend blue)" "green=0@$(address backend green)"
} >"$CONFIG"
start_teal

# specification KEYS GATE...: a release file of one step with these gates.
specification() {
    local gate gates
    gates=$(printf '"%s", ' "${@:2}")
    cat <<TOML
[release]
app = "shop"
to = "green"
version = "2.0"
reason = "a test"
rollback_close_after = "0s"
on_rolled_back = ["retire-new"]
$1
[[release.steps]]
percent = 100
bake = "0s"
min_connections = 0
gates = [${gates%, }]
[release.judgement]
enabled = false
[[release.notify]]
url = "$RECEIVER/told"
secret_file = "$WORK/key"
TOML
    for gate in "${@:2}"; do
        printf '[[release.gates]]\nname = "%s"\n' "$gate"
        case $gate in
            program) printf 'exec = "smoke"\n' ;;
            web) printf 'webhook = "%s/gate"\nsecret_file = "%s"\ntimeout = "3s"\n' "$RECEIVER" "$WORK/key" ;;
            errors)
                printf 'prometheus = "%s"\nmax = 1\n' "$RECEIVER"
                printf 'query = "errors{service='\''{{service}}'\'',color='\''{{color}}'\''}"\n'
                ;;
        esac
    done
}

# posted FILTER: lines of the receiver that it is true of, one each.
posted() { grep '^{' "$WORK/receiver.log" | jq -c "select($1)"; }
was_told() { [ "$(posted ".path == \"/told\" and .signed and .body.notice == \"$1\" and .body.release == \"$2\"" | wc -l)" -ge 1 ]; }
environment() { sed -n "s/^$2=//p" "$WORK/$1.environment"; }

# Every gate passes.
specification 'on_confirmed = ["retire-old"]
undo_window = "1s"' program web errors >"$WORK/shop.toml"
told 0 start "$WORK/shop.toml"
FIRST=$(of_release shop .release)
told 0 wait shop --for awaiting --timeout 30s
expect "TEAL_RELEASE" "$(environment smoke TEAL_RELEASE)" "$FIRST"
expect "TEAL_APP, TEAL_VERSION" "$(environment smoke TEAL_APP) $(environment smoke TEAL_VERSION)" "shop 2.0"
expect "TEAL_STEP, TEAL_PERCENT" "$(environment smoke TEAL_STEP) $(environment smoke TEAL_PERCENT)" "1 100"
expect "TEAL_MEMBERS" "$(environment smoke TEAL_MEMBERS)" "service-a serviceb"
expect "TEAL_FROM, TEAL_TO" "$(environment smoke TEAL_FROM_SERVICE_A) $(environment smoke TEAL_TO_SERVICE_A)" "blue green"
expect "TEAL_PREVIEW" "$(environment smoke TEAL_PREVIEW_SERVICEB)" "green.serviceb.local"
expect "PATH" "$(environment smoke PATH)" "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the shell itself adds, and nothing else.
expect "the rest of the environment" "$(grep -vE '^(TEAL_|PATH=|PWD=|SHLVL=|OLDPWD=|_=)' "$WORK/smoke.environment" || true)" ""
expect "the folder it runs in" "$(environment smoke PWD)" /
expect "signed questions of the gate" "$(posted '.path == "/gate" and .signed' | wc -l)" 1
expect "the gate's members" "$(posted '.path == "/gate"' | jq -r '[.body.members[].preview] | join(" ")')" \
    "green.service-a.local green.serviceb.local"
expect "queries" "$(posted '.query' | jq -r .query | sort | paste -sd' ')" \
    "errors{service='service-a',color='green'} errors{service='serviceb',color='green'}"
wait_for 10 "notification that it awaits a confirm" was_told awaiting "$FIRST"
told 0 confirm shop -m "all is well" --no-save
told 0 wait shop --for confirmed --timeout 20s
wait_for 10 "notification that it is confirmed" was_told confirmed "$FIRST"
wait_for 20 "the hook after the undo window" test -s "$WORK/retire-old.environment"
expect "TEAL_RELEASE of the hook" "$(environment retire-old TEAL_RELEASE)" "$FIRST"
sed -i 's/to = "green"/to = "blue"/; s/version = "2.0"/version = "1.0"/' "$WORK/shop.toml"
wait_for 10 "the end of the undo window" in_phase closed shop
told 0 start "$WORK/shop.toml"
told 0 wait shop --for awaiting --timeout 30s
told 0 confirm shop -m "back for the next case" --no-save
wait_for 20 "the end of the undo window" in_phase closed shop
say "passed: TEAL_* as documented; $(posted '.path == "/gate" and .signed' | wc -l) signed gate and" \
    "$(posted '.path == "/told" and .signed' | wc -l) signed notifications; hooks ran"

# holds GATE WORDS: that gate alone does not pass, and the release holds; then it is rolled back.
holds() {
    specification '' "$1" >"$WORK/shop.toml"
    told 0 start "$WORK/shop.toml"
    wait_for 30 "hold by the gate $1" is_held gate shop
    local release note
    release=$(of_release shop .release) note=$(of_release shop .hold.note)
    expect_match "hold by the gate $1" "$note" "$2"
    expect "weights of serviceb, held" "$(weights_of serviceb)" "100 0"
    wait_for 10 "notification that it holds" was_told hold "$release"
    told 11 wait shop --for awaiting --timeout 20s
    if [ -n "${3:-}" ]; then
        # Asked again, and this time it passes.
        $3
        told 0 resume shop
        told 0 wait shop --for awaiting --timeout 30s
    fi
    told 0 rollback shop -m "another case follows"
    wait_for 20 "the end of the rollback" in_phase closed shop
    wait_for 10 "notification of the rollback" was_told rollback "$release"
    say "$1: $note${3:+; passed when asked again}"
}
program_passes() { program gates smoke 0; }
web_passes() { echo 200 >"$WORK/told/gate"; }
value_is_good() { echo 0.5 >"$WORK/told/value"; }

rm -f "$WORK/retire-new.environment"
program gates smoke 3
holds program "gate program failed.*3" program_passes
wait_for 10 "the hook after a rollback" test -s "$WORK/retire-new.environment"
chmod 777 "$WORK/gates/smoke"
holds program "gate program is inconclusive.*writ"
chmod 755 "$WORK/gates/smoke"
echo 403 >"$WORK/told/gate"
holds web "gate web failed.*403" web_passes
echo 503 >"$WORK/told/gate"
holds web "gate web is inconclusive.*503" web_passes
expect "IDs of one question that was asked again" \
    "$(posted '.path == "/gate"' | jq -r '"\(.body.release) \(.id)"' | sort -u | wc -l)" \
    "$(($(posted '.path == "/gate"' | jq -r .body.release | sort -u | wc -l) + 2))"
echo 2 >"$WORK/told/value"
holds errors "gate errors failed.*2" value_is_good
: >"$WORK/told/value"
holds errors "gate errors is inconclusive.*no value" value_is_good
expect "questions and notifications that were not signed" "$(posted '.path != "/api/v1/query" and (.signed | not)' | wc -l)" 0
say "$(posted '.path == "/told"' | jq -r .body.notice | sort | uniq -c | sed 's/^ *//' | paste -sd, | sed 's/,/, /g')," \
    "all signed; $(metric teal_release_gate_runs_total 'result="passed"') gates passed," \
    "$(metric teal_release_gate_runs_total 'result="failed"') failed," \
    "$(metric teal_release_gate_runs_total 'result="inconclusive"') were inconclusive"
told 0 log --verify
stop_teal
