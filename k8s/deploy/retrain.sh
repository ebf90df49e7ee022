#!/bin/sh
# retrain.sh prepare: base data and true values to training, selection and validation rows
# retrain.sh retrain: the candidates, and the one that the selection rows pick
# retrain.sh validate: fails unless that one is good, and better than the one in service, on rows none has seen
#
# Reads and writes build/loop; what each `ridge` command reports goes to the run's page.
set -eu
. k8s/deploy/lib.sh

prepared=build/loop/prepared retrained=build/loop/retrained
mkdir -p $prepared $retrained

# report FILE COMMAND...: runs it; its report goes to FILE, the log and the run's page, whatever it decides
report() {
    file=$1 code=0
    shift
    "$@" >"$file" || code=$?
    cat "$file"
    {
        printf '<details><summary>ridge %s</summary>\n\n```json\n' "$2"
        cat "$file"
        printf '```\n\n</details>\n\n'
    } >build/loop/page
    summary build/loop/page
    return $code
}

# The rows that the first model was trained on: BASE_DATA_URL, else the California housing table.
base_data() {
    if [ -n "${BASE_DATA_URL:-}" ]; then
        need BASE_DATA_SHA256
        curl --silent --show-error --fail --location --max-time 600 --retry 3 --output build/loop/base.csv "$BASE_DATA_URL"
        echo "$BASE_DATA_SHA256  build/loop/base.csv" | sha256sum --check --quiet || die "BASE_DATA_SHA256: not that of the data"
    else
        make data && cp data/train.csv build/loop/base.csv
    fi
}

case $1 in
prepare)
    base_data
    report $prepared/prepare.json build/ridge prepare --model $prepared/champion.json --data build/loop/base.csv \
        --feedback build/loop/feedback.csv --out $prepared
    ;;
retrain)
    # The version names the run, and two runs never make the same.
    date=$(date -u +%Y-%m-%d)
    report $retrained/retrain.json build/ridge retrain --champion $prepared/champion.json --data $prepared \
        --out $retrained/model.json --date "$date" \
        --version "$(date -u +%Y%m%d)-${GITHUB_RUN_ID:-0}-${GITHUB_RUN_ATTEMPT:-1}" \
        ${RETRAIN_CENTRES:+--centres "$RETRAIN_CENTRES"}
    ;;
validate)
    need MAX_MAE MIN_R2
    report build/loop/validate.json build/ridge validate --model $retrained/model.json \
        --data $prepared/validation.csv --champion $prepared/champion.json --max_mae "$MAX_MAE" --min_r2 "$MIN_R2" ||
        die "the retrained model is not put into service"
    ;;
esac
