#!/bin/sh
# What needs no tool and no network: what is generated is what its script writes, whatever names the users names
# those of k8s/users, and the manifests name this version's image.
#
#   sources.sh VERSION
set -eu

version=$1
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

fail() {
    echo "$1" >&2
    exit 1
}

sh k8s/overlays.sh "$made/overlays"
diff -r "$made/overlays" k8s/overlays || fail "k8s/overlays: not what k8s/overlays.sh writes from k8s/users"

sh k8s/monitoring.sh "$made/tenants"
diff -r "$made/tenants" k8s/monitoring/tenants || fail "k8s/monitoring/tenants: not what k8s/monitoring.sh writes from k8s/users"

sed 's/^/kubeflow-/' k8s/users >"$made/expected"
sed -n 's/^ *- \(kubeflow-[a-z0-9]*\)$/\1/p' k8s/monitoring/prometheus.yml >"$made/scraped"
diff "$made/expected" "$made/scraped" || fail "k8s/monitoring/prometheus.yml: scrapes other namespaces than k8s/users has"

if grep -rnE '^ *image: ridge' k8s | grep -v " image: ridged:$version\$"; then
    fail "k8s: expected the image ridged:$version"
fi
echo "k8s: $(wc -l <k8s/users) overlays as generated, one list of users, image ridged:$version"
