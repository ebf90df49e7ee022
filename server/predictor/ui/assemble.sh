#!/bin/sh
# assemble.sh FOLDER: makes FOLDER/page.html, the whole page in one document, and FOLDER/policy, the
# Content-Security-Policy that lets exactly its style and its script run and nothing else load.
set -eu
from=$(dirname "$0")
uplot=$from/vendor/uplot
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The line break after <style> and <script> belongs to what the browser hashes.
{
    echo
    cat "$uplot/uPlot.min.css"
    echo
    cat "$from/page.css"
} >"$work/style"
{
    printf '\n/*! uPlot\n'
    cat "$uplot/LICENSE"
    printf '\n*/\n'
    cat "$uplot/uPlot.iife.min.js" "$from/page.js"
} >"$work/script"
if grep -qi -e '</script' -e '<!--' "$work/script" || grep -qi '</style' "$work/style"; then
    echo "$0: expected no end tag and no comment inside style and script" >&2
    exit 1
fi

hash_of() {
    # shellcheck disable=SC2059  # the digest's bytes, as escapes, are the format
    env printf "$(sha256sum <"$1" | cut -c 1-64 | sed 's/../\\x&/g')" | base64
}

awk -v style="$work/style" -v script="$work/script" '
    function insert(file,   line) { while ((getline line < file) > 0) if (n++) print line; n = 0 }
    { print }
    $0 == "<style>" { insert(style) }
    $0 == "<script>" { insert(script) }' "$from/page.html" >"$work/page.html"
printf '%s' "default-src 'none'; script-src 'sha256-$(hash_of "$work/script")'; \
style-src 'sha256-$(hash_of "$work/style")'; connect-src 'self'; img-src data:; base-uri 'none'; \
form-action 'none'; frame-ancestors 'none'" >"$work/policy"

mkdir -p "$1"
# Each by a rename, so that two builds at a time never see half a file.
for name in page.html policy; do
    cp "$work/$name" "$1/.$name.$$"
    mv "$1/.$name.$$" "$1/$name"
done
