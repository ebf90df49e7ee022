#!/bin/sh
# What the tests have executed, from the counters under build/cover: lines by room, then every function
# that never ran. cover.sh [FLOOR]: fails if that many percent of all lines were not executed.
set -eu

floor=${1:-0}
root=$(pwd)
cd build/cover
for counters in $(find . -name '*.gcda' -not -path './tests/*' | sort); do
    echo "Source ${counters#./}"
    gcov -n -f -r -s "$root" "$counters"
done | awk -v quote="'" -v floor="$floor" '
    /^Source/ { room = source = $2; sub(/\/[^\/]*$/, "", room); sub(/gcda$/, "c", source) }
    /^(Function|File) / { kind = $1; split($0, part, quote); name = part[2] }
    /^No executable lines/ { kind = "" }
    /^Lines executed/ {
        split($0, part, /[:%]| of /)
        if (kind == "File" && name == source) {
            hit[room] += part[2] / 100 * part[4]; lines[room] += part[4]
            hit["total"] += part[2] / 100 * part[4]; lines["total"] += part[4]
        } else if (kind == "Function" && part[2] == 0) {
            never = never "    " source ": " name "\n"
        }
        kind = ""
    }
    END {
        for (room in lines)
            printf "%-17s %5.1f %% of %4d lines\n", room, 100 * hit[room] / lines[room], lines[room] | "sort"
        close("sort")
        printf "never executed:\n%s", never == "" ? "    nothing\n" : never
        if (!(100 * hit["total"] >= floor * lines["total"]) || !lines["total"]) {
            printf "cover: expected at least %s %% of all lines\n", floor
            exit 1
        }
    }'
