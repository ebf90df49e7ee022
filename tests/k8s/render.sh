#!/bin/sh
# What kustomize makes of every user's overlay, plain and with each variant laid over it, into
# FOLDER/<variant>/<user>.yaml; then of monitoring, into FOLDER/monitoring.yaml.
#
#   render.sh KUSTOMIZE FOLDER
set -eu

kustomize=$1
out=$2
rm -rf "$out"
for variant in standard knative runtime; do
    mkdir -p "$out/$variant"
    while read -r user; do
        if [ "$variant" = standard ]; then
            overlay=k8s/overlays/$user
        else # as a deployment does: kustomize takes paths from the kustomization's folder
            overlay=$out/overlay
            mkdir -p "$overlay"
            up=$(printf '%s' "$overlay" | sed 's|[^/][^/]*|..|g')
            printf 'resources: [%s/k8s/overlays/%s]\ncomponents: [%s/k8s/%s]\n' \
                "$up" "$user" "$up" "$variant" >"$overlay/kustomization.yaml"
        fi
        "$kustomize" build "$overlay" >"$out/$variant/$user.yaml"
    done <k8s/users
done
rm -r "$out/overlay"
"$kustomize" build k8s/monitoring >"$out/monitoring.yaml"
