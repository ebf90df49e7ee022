#!/bin/sh
# Ends a run that was asked for wrongly, or twice: request.sh retrain | deploy.
#
# GitHub's dispatch cannot be repeated safely and ridge-relay has to repeat it after a lost answer, so two runs
# may bear one correlation id. The younger ends here. GitHub lists a run some seconds after it began; one that
# sees itself in the list is taken to see its elders.
set -eu
. k8s/deploy/lib.sh

check_user
if [ "$1" = deploy ]; then
    matches "${REASON:-}" '[ -~]{0,320}' || die "reason: expected at most 320 printable characters"
    exit 0
fi

matches "${DRIFT_SCORE:-}" '[0-9]{1,9}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?' || die "drift_score: expected a number"
matches "${DRIFT_REASON:-}" '[ -~]{1,200}' || die "drift_reason: expected 1 to 200 printable characters"
matches "${CORRELATION_ID:-}" '[A-Za-z0-9._-]{8,64}' || die "correlation_id: expected 8 to 64 of A-Z a-z 0-9 . _ -"
need GITHUB_REPOSITORY GITHUB_RUN_ID GH_TOKEN

tries=0
while :; do
    bearers=$(gh api --method GET "repos/$GITHUB_REPOSITORY/actions/workflows/retrain-model.yaml/runs" \
        --raw-field event=workflow_dispatch --raw-field per_page=100 |
        jq --raw-output '.workflow_runs[] | select((.display_title // .name) | endswith("(" + env.CORRELATION_ID + ")")) | .id')
    for id in $bearers; do
        [ "$id" -ge "$GITHUB_RUN_ID" ] || die "run $id already bears $CORRELATION_ID"
    done
    case " $(echo "$bearers" | tr '\n' ' ')" in *" $GITHUB_RUN_ID "*) exit 0 ;; esac
    tries=$((tries + 1))
    [ $tries -lt 30 ] || die "GitHub does not list this run; whether an older one bears $CORRELATION_ID is unknown"
    sleep 5
done
