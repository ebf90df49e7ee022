#!/bin/sh
# The true values that came in for USER_ID: feedback.sh FILE. The server's journal over its own route, with the
# token of that user's namespace. GATEWAY_URL may have {namespace} in it.
set -eu
. k8s/deploy/lib.sh

check_user
need GATEWAY_URL FEEDBACK_TOKEN
mkdir -p "$(dirname "$1")"
umask 077 # and not on a command line, which every process may read
header=$(mktemp)
trap 'rm -f "$header"' EXIT
printf 'Authorization: Bearer %s\n' "$FEEDBACK_TOKEN" >"$header"
url=$(printf '%s' "$GATEWAY_URL" | sed "s/{namespace}/$namespace/g")
curl --silent --show-error --fail --connect-timeout 10 --max-time 900 --retry 3 --header "@$header" \
    --output "$1" "$url/v1/models/$MODEL_NAME:feedback" || die "the feedback journal could not be fetched"
echo "feedback journal: $(wc -l <"$1") lines"
