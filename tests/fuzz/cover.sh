#!/bin/sh
# What each fuzz target executes of the code that it is for, as lines, by its committed corpus and what
# fuzzing has added to it under build/fuzz/corpus.
set -eu

root=$(pwd)
while read -r target sources; do
    find build/cover -name '*.gcda' -delete
    set -- "tests/fuzz/corpus/$target"
    [ -d "build/fuzz/corpus/$target" ] && set -- "$@" "build/fuzz/corpus/$target"
    "build/cover/tests/fuzz/replay_$target" "$@" | sed 's/.*replay_//'
    for source in $sources; do
        (cd build/cover && gcov -n -r -s "$root" "${source%.c}.gcda") |
            awk -v quote="'" -v source="$source" '
                /^File/ { split($0, part, quote); file = part[2] }
                /^Lines executed/ && file == source { sub(/^Lines executed:/, ""); print "    " source ": " $0; file = "" }'
    done
done <<'END'
json base/json_read.c base/json_write.c
number base/number.c
dataset model/dataset.c
feedback model/feedback_rows.c
model_file model/model_file.c
http server/http/parser.c
v1 server/predictor/v1.c
webhook server/relay/webhook.c
api server/predictor/api.c server/predictor/api_feedback.c server/predictor/feedback.c
END
