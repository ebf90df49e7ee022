#!/bin/sh
# Runs ridged in the image's root file system as a cluster would: read-only, no capabilities, no new
# privileges, a user nobody has heard of, first process of its namespace; probes it, predicts, stops it.
# test.sh <root file system>. Needs root.
set -eu

root=$1
uid=$((20000 + $$ % 40000))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "image: $1"
    cat "$work/log" 2>/dev/null || :
    exit 1
}
[ "$(id -u)" = 0 ] || fail "expected to run as root, for chroot"

# What is in it: what the programs load, and nothing that runs besides.
find "$root" -type f -perm /111 -not -path "$root/usr/bin/*" -printf '/%P\n' | sort >"$work/there"
for program in "$root"/usr/bin/*; do
    chroot "$root" /lib64/ld-linux-x86-64.so.2 --list "/usr/bin/${program##*/}"
done | sed -n 's/^.* => \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p' | sort -u >"$work/loaded"
diff "$work/loaded" "$work/there" || fail "expected exactly the libraries that are loaded"
find "$root" -perm /6000 | grep . && fail "expected no set-uid file"
find "$root" \( -name '*sh' -o -name busybox \) | grep . && fail "expected no shell"
grep -q 'BEGIN CERTIFICATE' "$root/etc/ssl/certs/ca-certificates.crt" || fail "expected CA certificates"

mkdir "$work/root"
# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount --pid --fork sh -c '
    mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && cd "$2" &&
    exec setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid --no-new-privs \
        chroot --userspec="$3:$3" --groups= "$2" /usr/bin/ridged --http_port=0 --metrics_port=0 \
        --host=127.0.0.1 --drain_delay=0' sh "$root" "$work/root" "$uid" >"$work/log" 2>&1 &
outer=$!
tries=0
until grep -q '"event":"ready"' "$work/log"; do
    tries=$((tries + 1))
    if [ $tries -gt 200 ] || ! kill -0 $outer 2>/dev/null; then fail "expected it to get ready"; fi
    sleep 0.05
done
inner=$(cat /proc/$outer/task/$outer/children)
inner=${inner% }
port() { sed -n "s/.*\"event\":\"ready\".*\"$1\":\([0-9]*\).*/\1/p" "$work/log"; }
http=http://127.0.0.1:$(port http_port) metrics=http://127.0.0.1:$(port metrics_port)

grep -q "^Uid:	$uid	$uid	$uid	$uid" "/proc/$inner/status" || fail "expected user $uid"
[ "$(grep -c '^Cap\(Inh\|Prm\|Eff\|Amb\):	0000000000000000' "/proc/$inner/status")" = 4 ] ||
    fail "expected no capabilities"
grep -q '^NoNewPrivs:	1' "/proc/$inner/status" || fail "expected no new privileges"
grep -q "^NSpid:	$inner	1$" "/proc/$inner/status" || fail "expected process 1"
curl -sSf "$http/" | grep alive >/dev/null || fail "expected life"
curl -sSf "$http/readyz" >/dev/null || fail "expected readiness"
curl -sSf "$metrics/healthz" >/dev/null || fail "expected health"
curl -sSf "$metrics/metrics" | grep "^model_prediction_total" >/dev/null || fail "expected metrics"
curl -sSf "$http/v1/models/california-housing:predict" \
    -d '{"instances":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}' >"$work/answer" ||
    fail "expected a prediction"
grep -q '^{"predictions":\[[0-9.]*\]}$' "$work/answer" || fail "expected a prediction, got $(cat "$work/answer")"
kill -TERM "$inner"
code=0
wait $outer || code=$?
[ $code = 0 ] || fail "expected exit code 0, got $code"
echo "image: $(find "$root" -type f | wc -l) files, $(du -sk "$root" | cut -f1) KB, ran as user $uid and stopped"
