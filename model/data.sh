#!/bin/sh
# Makes data/california.csv, data/train.csv and data/holdout.csv: the California housing table (Pace and
# Barry 1997, "Sparse spatial autoregressions") with the columns scikit-learn derives from it, and its
# split by tests/golden/holdout_rows.txt.
#
#   sh model/data.sh [FILE]      FILE, or DATA in the environment: a local copy of the table, as CSV with
#                                those columns, as StatLib's cal_housing.data, or as its archive
#
# Without one, a copy beside the project is taken, else the archive is downloaded. Whatever the source,
# the result has the same bytes: every number is written with 17 significant digits.
set -eu
export LC_ALL=C

mirrors='https://ndownloader.figshare.com/files/5976036
https://www.dcc.fc.up.pt/~ltorgo/Regression/cal_housing.tgz'
archive_sha256=aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681
table_sha256=157b6c0d3acd6d93a50c411d0cd4130d8c719ce5eb17b61f1c45300f2af6fc85
holdout_rows=tests/golden/holdout_rows.txt

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die() {
    echo "data: $*" >&2
    exit 1
}

# has FILE SHA256
has() {
    [ "$(sha256sum <"$1")" = "$2  -" ] || {
        echo "data: $1: expected sha256 $2, got $(sha256sum <"$1")" >&2
        return 1
    }
}

download() {
    for url in $mirrors; do
        echo "data: downloading $url" >&2
        if curl -fsSL --retry 2 --connect-timeout 20 --max-time 300 -o "$work/archive.tgz" "$url" &&
            has "$work/archive.tgz" "$archive_sha256"; then
            return
        fi
    done
    die "no mirror gave the archive; name a local copy: make data DATA=FILE"
}

find_source() {
    for file in "${1:-${DATA:-}}" ../shared/data/california_housing.csv ../shared/data/cal_housing.data; do
        if [ -n "$file" ] && [ -f "$file" ]; then
            echo "$file"
            return
        elif [ -n "$file" ] && [ "$file" = "${1:-${DATA:-}}" ]; then
            die "$file: no such file"
        fi
    done
    download
    echo "$work/archive.tgz"
}

# Either form of the table to the derived columns.
derive() {
    awk -F, '
        function put(value, end) { printf "%.17g%s", value, end }
        NR == 1 {
            derived = /^MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal\r?$/
            print "MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal"
        }
        $1 !~ /^-?[0-9]/ { next }
        NF != 9 { print "data: line " NR ": expected 9 numbers, got " NF > "/dev/stderr"; exit 1 }
        derived { for (i = 1; i <= 9; i++) put($i + 0, i < 9 ? "," : "\n"); next }
        {
            put($8 + 0, ","); put($3 + 0, ","); put($4 / $7, ","); put($5 / $7, ","); put($6 + 0, ",")
            put($6 / $7, ","); put($2 + 0, ","); put($1 + 0, ","); put($9 / 100000, "\n")
        }'
}

source=$(find_source "${1:-}")
[ -f "$holdout_rows" ] || die "$holdout_rows: no such file; run from the top of the project"
case $source in
*.tgz | *.tar.gz)
    tar -xzOf "$source" CaliforniaHousing/cal_housing.data >"$work/table"
    ;;
*) cat "$source" >"$work/table" ;;
esac

derive <"$work/table" >"$work/california.csv"
has "$work/california.csv" "$table_sha256"
awk -v train="$work/train.csv" -v holdout="$work/holdout.csv" '
    NR == FNR { held[$1 + 0]; next }
    FNR == 1 { print >train; print >holdout; next }
    { print >(FNR - 2 in held ? holdout : train) }' "$holdout_rows" "$work/california.csv"
mkdir -p data
mv "$work/california.csv" "$work/train.csv" "$work/holdout.csv" data/
echo "data: data/train.csv and data/holdout.csv from $source" >&2
