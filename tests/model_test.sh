#!/bin/sh
# A model from the rows in data/ to an answer: trained, good enough on the rows held out, served by ridged, whose
# answers are to the bit those of `ridge predict`. model_test.sh <folder of the programs>.
set -eu

programs=$1
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || :; rm -rf "$work"' EXIT
server=""

"$programs/ridge" train --data data/train.csv --target MedHouseVal --centres 1024 --name california-housing \
    --version test --out "$work/model.json"
"$programs/ridge" validate --model "$work/model.json" --data data/holdout.csv --max_mae 0.32 --min_r2 0.8
"$programs/ridged" --model_dir="$work/model.json" --host=127.0.0.1 --http_port=0 --metrics_port=0 --drain_delay=0 \
    2>"$work/log" &
server=$!
tries=0
until port=$(sed -n 's/.*"event":"ready".*"http_port":\([0-9]*\).*/\1/p' "$work/log") && [ -n "$port" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 200 ] || ! kill -0 "$server" 2>/dev/null; then
        cat "$work/log"
        exit 1
    fi
    sleep 0.05
done
GATEWAY_URL="http://127.0.0.1:$port" python3 k8s/deploy/verify.py --model "$work/model.json" --answers_only
kill -TERM "$server"
wait "$server"
