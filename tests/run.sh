#!/bin/sh
# Runs test programs one after the other: tests/run.sh <name of the variant> program... Closes with one
# line over all of them. A program that fails without saying which case (a crash, a leak) is one failure.
set -u

variant=$1
shift
[ $# -gt 0 ] || { echo "no test program has that name"; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed="" unsaid=0
for program; do
    # A program that hangs is one that failed; none takes a tenth of this.
    { timeout -k 10 400 "$program" 2>&1; echo $? >"$folder/code"; } | tee "$folder/output"
    cat "$folder/output" >>"$folder/all"
    code=$(cat "$folder/code")
    [ "$code" -eq 0 ] && continue
    failed="$failed $program"
    echo "FAILED: $program (exit code $code)"
    grep -q '^\[  FAILED  \] [0-9]* test(s)' "$folder/output" || unsaid=$((unsaid + 1))
done
awk -v variant="$variant" -v programs=$# -v unsaid=$unsaid '
    /^\[ +(PASSED|SKIPPED|FAILED) +\] [0-9]+ test\(s\)/ { count[$2] += $4 }
    END { printf "tests (%s): %d passed, %d failed, %d skipped in %d programs\n", variant,
          count["PASSED"], count["FAILED"] + unsaid, count["SKIPPED"], programs }' "$folder/all"
[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }
