#!/bin/sh
# Checks what render.sh has rendered against the schemas of Kubernetes and of KServe's own CRDs, which come from
# its Go module. Needs Go, or the module's folder in KSERVE.
#
#   validate.sh PYTHON RENDERED
set -eu

version=v0.20.0
if [ -z "${KSERVE:-}" ]; then
    KSERVE=$(cd "${TMPDIR:-/tmp}" && GOFLAGS=-mod=mod go mod download -json "github.com/kserve/kserve@$version" |
        sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
fi
exec "$1" tests/k8s/validate.py "$KSERVE" "$2"
