#!/bin/sh
# Checks k8s/monitoring/alertmanager*.yml and the relay's rules: amtool (AMTOOL names another) accepts them, and
# every alert of rules/ is routed to whom it must reach. A step that fails prints what it said.
set -u
cd "$(dirname "$0")/../.." || exit 1
AMTOOL=${AMTOOL:-amtool}
PROMTOOL=${PROMTOOL:-promtool}
FROM=k8s/monitoring
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0

# step NAME COMMAND...: passes if the command does.
step() {
    name=$1
    shift
    if "$@" >"$tmp/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        cat "$tmp/said"
    fi
}

# One line for each alert of the rules: its name and the labels its rule gives it, as amtool takes them.
alerts() {
    awk '/^ *- alert: / {if (line != "") print line; line = "alertname=" $3; labels = 0; next}
         /^ *labels:/ {match($0, /[^ ]/); labels = RSTART; next}
         labels > 0 {match($0, /[^ ]/)
                     if (RSTART > labels) {sub(/:$/, "", $1); line = line " " $1 "=" $2} else labels = 0}
         END {print line}' "$FROM"/rules/*.yml
}

# Whom an alert must reach: whoever asks for retraining the relay, SevereModelDrift whoever is on call.
expected() {
    case "$1" in
    *alertname=ModelDriftDetected\ *action=retrain*) echo ridge-relay ;;
    *alertname=SevereModelDrift*) echo pager ;;
    *) echo people ;;
    esac
}

# routed FILE LABELS RELAY: amtool names the receiver, which RELAY stands for when it is the relay.
routed() {
    want=$(expected "$2")
    [ "$want" = ridge-relay ] && want=$3
    # shellcheck disable=SC2086
    got=$("$AMTOOL" config routes test --config.file="$1" $2 user_id=user01 namespace=kubeflow-user01 \
        model_name=m 2>"$tmp/why") || { cat "$tmp/why"; return 1; }
    [ "$got" = "$want" ] || { echo "$2: expected $want, got $got"; return 1; }
}

# The rules say what the routes rest on: exactly one alert asks for retraining, and SevereModelDrift does not.
asks() {
    alerts | grep 'action=retrain' | sed 's/ .*//' | sort -u >"$tmp/asks"
    echo alertname=ModelDriftDetected | diff - "$tmp/asks"
}

# A muted alert would be neither dispatched nor resolved.
unmuted() {
    ! sed -n '/^inhibit_rules:/,/^receivers:/p' "$FROM/alertmanager.yml" | grep 'target_matchers' | grep ModelDriftDetected
}

# Before 0.32 Alertmanager knows no payload and before 0.28 no http_headers; then nothing else may be wrong.
direct() {
    if "$AMTOOL" check-config "$FROM/alertmanager-direct.yml" >"$tmp/direct" 2>&1; then return; fi
    cat "$tmp/direct"
    grep -q 'field payload not found' "$tmp/direct" &&
        ! grep 'field' "$tmp/direct" | grep -vE 'field (payload|http_headers) not found'
}

step 'configuration' "$AMTOOL" check-config "$FROM/alertmanager.yml"
step 'direct configuration' direct
step 'only ModelDriftDetected asks for retraining' asks
step 'no rule mutes it' unmuted
alerts >"$tmp/alerts"
while read -r labels; do
    step "route of $labels" routed "$FROM/alertmanager.yml" "$labels" ridge-relay
done <"$tmp/alerts"
if "$AMTOOL" check-config "$FROM/alertmanager-direct.yml" >/dev/null 2>&1; then
    while read -r labels; do
        step "direct route of $labels" routed "$FROM/alertmanager-direct.yml" "$labels" github
    done <"$tmp/alerts"
fi
step 'rule tests' "$PROMTOOL" test rules tests/stack/relay_rules_test.yml

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
