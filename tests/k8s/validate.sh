#!/bin/sh
# Checks k8s/base against the schemas of KServe's own CRDs, which come from its Go module. Needs Go (or the
# module's folder in KSERVE), python3 and its yaml.
set -eu

version=v0.20.0
if [ -z "${KSERVE:-}" ]; then
    KSERVE=$(cd "${TMPDIR:-/tmp}" && GOFLAGS=-mod=mod go mod download -json "github.com/kserve/kserve@$version" |
        sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
fi
exec python3 tests/k8s/validate.py "$KSERVE/config/crd/full" k8s/base/inferenceservice.yaml \
    k8s/base/servingruntime.yaml
