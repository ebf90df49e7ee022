#!/usr/bin/env bash
# All that is shown of a deployment for the users of k8s/users, as one table: targets of the Makefile, whose output is
# in build/deploy-check. Counted are what each says of itself, or else itself. Root, as buildah is without a daemon.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

logs=build/deploy-check
passed=0 failed=0
mkdir -p "$logs"
if ! sh tests/k8s/build.sh --folder >/dev/null; then
    echo "Please run \"make apiserver\" first, once: it builds Kubernetes and KServe, for about 20 minutes."
    exit 1
fi

# proof TARGET TEXT
proof() {
    local start=$SECONDS code=0 counts
    make --no-print-directory "$1" >"$logs/$1.log" 2>&1 || code=$?
    read -ra counts <<<"$(grep -Eo '[0-9]+ passed, [0-9]+ failed' "$logs/$1.log" | tail -n 1 | tr -cd '0-9 ')"
    if [ ${#counts[@]} != 2 ]; then counts=($((code == 0)) $((code != 0))); fi
    if [ "$code" != 0 ] && [ "${counts[1]}" = 0 ]; then counts[1]=1; fi
    passed=$((passed + counts[0])) failed=$((failed + counts[1]))
    printf '%-22s %-70s %4d %6d %5d\n' "$1" "$2" "${counts[@]}" $((SECONDS - start))
    if [ "${counts[1]}" != 0 ]; then grep -E 'FAILED|[Ee]rror|expected' "$logs/$1.log" | tail -n 20; fi
}

printf '%-22s %-70s %4s %6s %5s\n' target shows good failed s
proof k8s-check 'overlays as generated; all variants by the schemas, mistakes refused'
proof truth-table 'who may reach what by the NetworkPolicies, as the table says'
proof isolation 'a tenant gets nothing of another by the real proxy and Prometheus'
proof grafana-accounts-test "Grafana's accounts, from nothing, again, killed anywhere"
proof image 'the image by the Dockerfile, and its SBOM'
proof image-run-test 'it runs as any UID, read-only, without capabilities: size, start'
proof cluster-check "README's commands, rights, mistakes, on Kubernetes' and KServe's servers"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
