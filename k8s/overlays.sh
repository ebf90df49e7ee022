#!/bin/sh
# Writes an overlay for each user of k8s/users into k8s/overlays, or the folder that is named, and removes
# those of users who are no longer there. `make k8s-check` fails if what is committed is not what this writes.
#
#   k8s/overlays.sh [FOLDER]
set -eu

here=$(dirname "$0")
out=${1:-$here/overlays}
mkdir -p "$out"
for folder in "$out"/*/; do
    [ ! -d "$folder" ] || grep -qx "$(basename "$folder")" "$here/users" || rm -r "$folder"
done
while read -r user; do
    mkdir -p "$out/$user"
    cat >"$out/$user/kustomization.yaml" <<END
# Written by k8s/overlays.sh.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: kubeflow-$user
resources:
  - ../../base
components:
  - ../../tenant
labels:
  - pairs:
      user-id: $user
patches:
  - target:
      kind: RoleBinding
      name: ridged-user
    patch: |
      - op: replace
        path: /subjects/0/name
        value: kubeflow-$user
END
done <"$here/users"
