#!/bin/sh
# Checks who includes whom. Includes are written from the repository root, so every include line is an
# edge; an edge that the table below does not allow is printed and fails the check.
set -eu

fail=0
complain() {
    echo "layers: $1"
    fail=1
}

# room: rooms it may include (itself is always allowed)
allowed() {
    case "$1" in
    base) echo "" ;;
    model) echo "base" ;;
    metrics) echo "base" ;;
    server/http) echo "base" ;;
    server) echo "base" ;;
    server/predictor) echo "base model metrics server server/http" ;;
    server/relay) echo "base metrics server server/http" ;;
    *) echo "unknown" ;;
    esac
}

for file in $(git ls-files --cached --others --exclude-standard 'base/*.[ch]' 'model/*.[ch]' 'metrics/*.[ch]' 'server/*.[ch]'); do
    [ -f "$file" ] || continue
    room=$(dirname "$file")
    targets=$(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file")
    for target in $targets; do
        to=$(dirname "$target")
        case " $room $(allowed "$room") " in
        *" $to "*) ;;
        *) complain "$file must not include $target" ;;
        esac
    done
done

# only <file...> may include <header>
only() {
    header=$1
    pattern=$2
    files=$(grep -lE "^#include <$header" -r base model metrics server --include='*.[ch]' || true)
    for file in $files; do
        echo "$file" | grep -qE "$pattern" || complain "$file must not include <$header>"
    done
}
only 'event2/' '^server/http/'
only '(cblas|lapacke)' '^model/ridge\.c$'
only 'curl/' '^server/relay/'
only 'cjson/' '^base/json'

# The model room is silent: no printing, clocks, environment; its program's files are the exception.
silent=$(git ls-files --cached --others --exclude-standard 'model/*.c' | grep -vE '/(ridge_main|cmd_[a-z_]+)\.c$' || true)
for file in $silent; do
    if grep -nE '(^|[^a-z_])(printf|puts|perror|clock_gettime|gettimeofday|getenv) *\(|std(out|err)' "$file"; then
        complain "$file must not print, read a clock or the environment"
    fi
done

# Serving links no BLAS: it would cost start-up time and 35 MB for nothing.
if [ -x build/ridged ] && ldd build/ridged | grep -E 'blas|lapack|gfortran'; then
    complain "build/ridged must not link BLAS or LAPACK"
fi

[ "$fail" -eq 0 ] && echo "layers: every include points down"
exit "$fail"
