#!/usr/bin/env bash
# The article's walk-through, from its templates: serviceB, in front, answers with what serviceA, behind it, says, which it calls by its
# name. B is released, then A, which is seen through B; then both go back in one release, and forward again, in lockstep
# and in lanes. Clients ask B in a loop all the time: no connection fails, and where both move nobody ever sees a new B
# with an old A or the other way round. Before any user does, green.serviceb.local opens the whole new chain.
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/release.sh"
need curl jq python3
need_binaries
settings

# Names without a port in the URL need port 80, and with it root.
WEB=80
[ "$(id -u)" = 0 ] || WEB=7080
# Backends have addresses of their own, as containers do.
NET=127.$((10 + $$ % 60))
PAGES=(python3 "$ROOT/tests/e2e/pages.py" --dns "127.0.0.1:$DNS_PORT" --port "$WEB")

# listeners NUMBER PORT COUNT: so many addresses of one version of a service.
listeners() { for index in $(seq "$3"); do echo "$NET.$1.$index:$2"; done; }
A1=$(listeners 1 5000 3) A2=$(listeners 2 5000 3) B1=$(listeners 3 5001 2) B2=$(listeners 4 5001 2)

# deploy VERSION LISTENERS TEXT [ARGUMENT...]
deploy() {
    # shellcheck disable=SC2086 # one word each
    spawn "$1" "${PAGES[@]}" serve --text "$3" "${@:4}" $2
    wait_for 10 "$1" grep -q '^ready$' "$WORK/$1.log"
}

# imported SERVICE=LISTENERS... TEMPLATE...: the article's templates as teal's configuration.
TEMPLATES=$ROOT/tests/local/import
imported() {
    local arguments=() argument
    for argument in "$@"; do
        case $argument in
            *=*) arguments+=(--endpoint "${argument%%=*}=$(cut -d: -f1 <<<"${argument#*=}" | paste -sd,)") ;;
            *) arguments+=("$TEMPLATES/$argument.yml") ;;
        esac
    done
    "$TEAL" import-compose --app shop "${arguments[@]}" 2>>"$WORK/import.log" || fail "import: $(tail -n 5 "$WORK/import.log")"
}
# shop ARGUMENT...: the same as the whole configuration, with lanes, and with A for those who declare it only.
shop() {
    head_of_config | grep -v '^health'
    printf 'health = { kind = "tcp", interval = "1s", timeout = "1s" }\n'
    imported "$@" | sed -e "s/listen = 80,/listen = $WEB,/" -e '/^\[apps.shop\]/a lanes = "require"' \
        -e '/^\[services.servicea\]/a restrict_callers = true'
}
# working SERVICE COLOR COUNT: so many of its endpoints work.
working() { metric_is "$3" teal_color_endpoints "service=\"$1\"" "color=\"$2\"" 'state="healthy"'; }

# seen: the answers since `mark`, most frequent first, as `COUNT TEXT`; only_seen TEXT... says which there may be.
mark() { MARK=$(wc -l <"$WORK/clients.log"); }
seen() { tail -n "+$((MARK + 1))" "$WORK/clients.log" | sort | uniq -c | sort -rn | sed 's/^ *//'; }
only_seen() {
    local what=$1 found
    shift
    found=$(seen | grep -vxE "[0-9]+ ($(IFS='|' && echo "$*"))" || true)
    say "$what: $(seen | paste -sd';')"
    [ -z "$found" ] || fail "$what: clients saw: $found"
}
answers() { tail -n "+$((MARK + 1))" "$WORK/clients.log" | grep -cxF "$1" || true; }
has_answered() { [ "$(answers "$2")" -ge "$1" ]; }
opened() { "${PAGES[@]}" open "$1"; }

# specification COLOR VERSION REASON PERCENT...: a release file. A step of 0 lasts until `next`.
specification() {
    local percent
    printf '[release]\napp = "shop"\nto = "%s"\nversion = "%s"\nreason = "%s"\n' "$1" "$2" "$3"
    printf 'rollback_close_after = "5s"\n'
    for percent in "${@:4}"; do
        printf '[[release.steps]]\npercent = %s\nbake = "%s"\nmin_connections = 30\nmax_wait = "60s"\n' \
            "$percent" "$([ "$percent" = 0 ] && echo 1h || echo 1s)"
    done
    printf '[release.judgement]\nfirst_byte_floor = "500ms"\n'
}
released() {
    told 0 wait shop --for awaiting --timeout 120s
    told 10 status shop --exit-code
}
confirmed() {
    told 0 confirm shop -m "seen by eye" --save
    told 0 wait shop --for confirmed --timeout 60s
}

shop "serviceA-v1=$A1" "serviceB-v1=$B1" first >"$CONFIG"
start_teal
deploy serviceA-v1 "$A1" "world!"
deploy serviceB-v1 "$B1" "Hello " --ask servicea.local --think 20
wait_for 10 "three of servicea" working servicea blue 3
wait_for 10 "two of serviceb" working serviceb blue 2
expect "before" "$(opened serviceb.local)" "Hello world!"
# Only who declares it may call A.
expect_match "servicea.local for somebody else" "$(opened servicea.local)" "^failed: .*reset"

spawn clients "${PAGES[@]}" ask serviceb.local
CLIENTS=$SPAWNED
wait_for 10 "clients" grep -q "^ready\$" "$WORK/clients.log"
mark
wait_for 20 "answers" has_answered 50 "Hello world!"

# The front: B-v2, while A is shared.
deploy serviceB-v2 "$B2" "Welcome to the " --ask servicea.local --think 20
shop "serviceA-v1=$A1" "serviceB-v1=$B1" "serviceB-v2=$B2" first frontend | replace_config
wait_for 10 "two of serviceb green" working serviceb green 2
specification green B-2 "Hello becomes Welcome" 10 50 100 >"$WORK/b.toml"
told 0 plan "$WORK/b.toml"
expect_match "plan of B" "$SAID" "not changed: servicea"
expect "green.serviceb.local at weight 0" "$(opened green.serviceb.local)" "Welcome to the world!"
mark
told 0 start "$WORK/b.toml"
released
wait_for 20 "answers of the new B" has_answered 100 "Welcome to the world!"
only_seen "B on green" "Welcome to the world!" "Hello world!"
told 14 start "$WORK/b.toml"
confirmed
expect "the file says so" "$(grep -A2 'serviceb.colors.green' "$CONFIG" | tail -n 1)" "weight = 100"
expect "A was not touched" "$(weights_of servicea)" 100

# The back: A-v2, seen through B, which is shared now.
deploy serviceA-v2 "$A2" "new world!"
# What a release has left stays: of the import only the new color is taken.
imported "serviceA-v1=$A1" "serviceA-v2=$A2" "serviceB-v2=$B2" frontend backend >"$WORK/backend.toml"
{ cat "$CONFIG" && echo && sed -n '/^\[services.servicea.colors.green\]/,/^$/p' "$WORK/backend.toml"; } | replace_config
wait_for 10 "three of servicea green" working servicea green 3
specification green A-2 "a new world" 10 50 100 >"$WORK/a.toml"
told 0 plan "$WORK/a.toml"
expect_match "plan of A" "$SAID" "not changed: serviceb"
mark
told 0 start "$WORK/a.toml"
released
wait_for 20 "answers of the new A" has_answered 100 "Welcome to the new world!"
only_seen "A on green" "Welcome to the world!" "Welcome to the new world!"
confirmed

# Both back to where it began, in one release, in lockstep and in lanes.
mark
specification blue both-1 "both back" 10 50 100 >"$WORK/back.toml"
told 0 start "$WORK/back.toml"
released
wait_for 20 "answers of the old chain" has_answered 100 "Hello world!"
confirmed
only_seen "both to blue" "Welcome to the new world!" "Hello world!"

# And forward again: the whole new chain is seen before any user sees it, and half of the way is gone back.
mark
specification green both-2 "both forward" 0 10 50 100 >"$WORK/forward.toml"
told 0 start "$WORK/forward.toml"
told 0 wait shop --for preview --timeout 20s
expect "green.serviceb.local before the first step" "$(opened green.serviceb.local)" "Welcome to the new world!"
expect "blue.serviceb.local meanwhile" "$(opened blue.serviceb.local)" "Hello world!"
expect "serviceb.local meanwhile" "$(opened serviceb.local)" "Hello world!"
only_seen "clients before the first step" "Hello world!"
told 0 next shop
wait_for 60 "half of the connections on green" of_release_is 50 shop .percent
wait_for 20 "answers of the new chain" has_answered 100 "Welcome to the new world!"
told 0 rollback shop -m "let us see it go back"
told 0 wait shop --for rolled-back --timeout 30s
only_seen "both to green, and back at 50 %" "Welcome to the new world!" "Hello world!"
mark
wait_for 20 "answers after the rollback" has_answered 100 "Hello world!"
only_seen "after the rollback" "Hello world!"

finish_child "$CLIENTS" || fail "clients ended with $?"
expect "connections in lanes that were split" "$(metric teal_lane_fallbacks_total)" 0
expect "violations of weight 0" "$(metric teal_weight_zero_violations_total)" 0
told 0 log --verify
say "$(grep -vc '^ready$' "$WORK/clients.log") answers in all, $(grep -c '^failed' "$WORK/clients.log" || true) failed;" \
    "$(metric teal_lane_connections_total) connections in lanes; $SAID"
expect "failed connections" "$(grep -c '^failed' "$WORK/clients.log" || true)" 0
stop_teal
