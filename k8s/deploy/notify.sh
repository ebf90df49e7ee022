#!/bin/sh
# Says how a deployment ended, on the run's page and, where NOTIFY_WEBHOOK names a URL, there as JSON. A webhook
# that does not answer fails nothing.
set -eu
. k8s/deploy/lib.sh

case "$BUILD $DEPLOY $VERIFY ${ROLLBACK:-skipped}" in
"success success success skipped") outcome="in service" ;;
*" success") outcome="put back: $PREVIOUS" ;;
*" skipped") outcome="not deployed" ;;
*) outcome="not verified and not put back: see to it" ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/page" <<END
### $USER_ID: $outcome

| build-and-push | deploy-kserve | verify-deployment |
|---|---|---|
| $BUILD | $DEPLOY | $VERIFY |

Image: \`${IMAGE:-none}\`
END
summary "$work/page"
jq --null-input --arg outcome "$outcome" '{user_id: env.USER_ID, reason: env.REASON, outcome: $outcome,
    image: env.IMAGE, previous: env.PREVIOUS,
    run: "\(env.GITHUB_SERVER_URL)/\(env.GITHUB_REPOSITORY)/actions/runs/\(env.GITHUB_RUN_ID)"}' | tee "$work/outcome"
[ -z "${NOTIFY_WEBHOOK:-}" ] || {
    # Not on a command line: the URL is a secret.
    printf 'url = "%s"\n' "$NOTIFY_WEBHOOK" >"$work/curl"
    curl --silent --show-error --fail --max-time 20 --config "$work/curl" --header 'Content-Type: application/json' \
        --data-binary "@$work/outcome" || echo "the webhook did not take it"
}
