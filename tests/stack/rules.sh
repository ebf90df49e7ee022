#!/bin/sh
# Checks k8s/monitoring with promtool (PROMTOOL names another) and our own tools: configuration, rules and
# their tests, the rewriting for tests/stack, dashboards. A step that fails prints what it said.
set -u
cd "$(dirname "$0")/../.." || exit 1
PROMTOOL=${PROMTOOL:-promtool}
export PROMTOOL PYTHONDONTWRITEBYTECODE=1
FROM=k8s/monitoring
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
echo '[]' >"$tmp/targets.json"
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
rewrite() {
    python3 tests/stack/rewrite.py "$FROM" "$tmp/seconds" --targets "$tmp/targets.json" \
        --replace alertmanager.monitoring.svc:9093=127.0.0.1:9093 "$@"
}
# damage FILE SED: the comparison must refuse a rewritten file with this change.
damage() {
    rewrite && sed -i "$2" "$tmp/seconds/$1" && ! rewrite --check
}
namespaces() {
    for n in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 20; do echo "kubeflow-user$n"; done >"$tmp/expected"
    sed -n 's/^ *- \(kubeflow-user.*\)/\1/p' "$FROM/prometheus.yml" | diff "$tmp/expected" -
}
# Debian builds Prometheus without Kubernetes discovery, so there the rewritten file is the one to check.
config() {
    if "$PROMTOOL" check config "$FROM/prometheus.yml" >"$tmp/config" 2>&1; then return; fi
    grep -q 'field kubernetes_sd_configs not found' "$tmp/config" || { cat "$tmp/config"; return 1; }
    rewrite && "$PROMTOOL" check config "$tmp/seconds/prometheus.yml"
}

step 'rules' "$PROMTOOL" check rules "$FROM"/rules/*.yml
step 'configuration' config
step 'the sixteen namespaces' namespaces
step 'rule tests' "$PROMTOOL" test rules tests/stack/rules_test.yml
step 'rewriting changes durations, addresses and paths only' rewrite
step 'a changed limit is noticed' damage rules/alerts.yml 's/0\.45/0.46/'
step 'a changed label is noticed' damage rules/alerts.yml 's/action: retrain/action: none/'
step 'a lost line is noticed' damage rules/recording.yml '20d'
step 'a duration left as it was is noticed' damage rules/alerts.yml 's/for: 10s/for: 5m/'
step 'a range of another length is noticed' damage rules/recording.yml 's/\[10s\]/[20s]/'
step 'changed relabelling is noticed' damage prometheus.yml 's/action: keep/action: drop/'
step 'a changed route is noticed' damage alertmanager.yml 's/receiver: ridge-relay/receiver: people/'
step 'a recovery that is not sent is noticed' damage alertmanager.yml 's/send_resolved: true/send_resolved: false/'
step 'an interval left as it was is noticed' damage alertmanager.yml 's/group_interval: 10s/group_interval: 5m/'
step 'dashboards' python3 tests/stack/lint_dashboards.py
step 'the linter finds what is broken' python3 tests/stack/lint_dashboards_test.py

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
