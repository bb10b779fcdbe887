# What the scenarios of releases share; sourced after lib.sh.
# shellcheck shell=bash disable=SC2034 # the scenarios use what is set here

# release ARGUMENT...: the command, as somebody who types it.
release() { "${IN[@]}" env TEAL_SOCKET="$SOCKET" "$TEAL" release "$@"; }

# told CODE ARGUMENT...: the same, which must end with that exit code; what it said is in SAID.
told() {
    local code=0
    SAID=$(release "${@:2}" 2>&1) || code=$?
    [ "$code" = "$1" ] || fail "teal release ${*:2}: exit code $code instead of $1: $SAID"
}

# of_release APP FILTER: a value of what the control socket says of an app's last release.
of_release() {
    curl -fsS --max-time 10 --unix-socket "$SOCKET" "http://teal/v1/releases?release=$1" | jq -r ".releases[0] | $2"
}
of_release_is() { [ "$(of_release "$2" "$3")" = "$1" ]; }
in_phase() { of_release_is "$1" "$2" .phase; }
is_held() { of_release_is "$1" "$2" ".hold.reason // \"none\""; }

# weights_of SERVICE: the weights in effect, as `blue green`.
weights_of() {
    curl -fsS --max-time 10 --unix-socket "$SOCKET" "http://teal/v1/status" \
        | jq -r --arg service "$1" '.services[] | select(.name == $service) | [.colors[].weight] | map(tostring) | join(" ")'
}
weights_are() { [ "$(weights_of "$2")" = "$1" ]; }

# replace_config: standard input becomes the configuration, by rename as editors and deployments do it.
replace_config() {
    cat >"$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
}

# decided SERVICE [COLOR]: connections that the split gave to a color, or to all of them.
decided() { metric teal_split_decisions_total "service=\"$1\"" ${2:+"color=\"$2\""}; }
has_decided() { [ "$(decided "$2")" -ge "$1" ]; }

# let_pass SERVICE COUNT: waits until so many further connections have come.
let_pass() { wait_for 60 "$2 further connections of $1" has_decided $(($(decided "$1") + $2)) "$1"; }
