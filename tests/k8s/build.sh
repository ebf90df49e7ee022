#!/bin/sh
# Builds a real Kubernetes, without nodes: kube-apiserver, kube-controller-manager, kubectl, KServe's controller
# with its webhooks, and Knative's check of a Service, all from the Go modules that apiserver/go.mod and
# kserve/go.mod pin. About 20 minutes on two cores the first time, nothing afterwards: the programs stay in the
# user's cache, where a fresh clone finds them. Needs Go 1.26, a gigabyte for them and some for Go's own caches.
#
#   build.sh            builds what is missing, and prints the folder
#   build.sh --folder   prints the folder; exit code 1 if something is missing
set -eu

cd "$(dirname "$0")"
version=$(sed -n 's/^.*k8s.io\/kubernetes \(v[0-9.]*\).*/\1/p' apiserver/go.mod)
sums=$(cat apiserver/go.mod kserve/go.mod kserve/knative-check/main.go | sha256sum | cut -c1-12)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/ridged/kubernetes-$version-$sums

if [ "${1:-}" = --folder ]; then
    echo "$folder"
    for program in kubectl kube-apiserver kube-controller-manager kserve-manager knative-check; do
        [ -x "$folder/$program" ] || exit 1
    done
    exit
fi

build() {
    program=$folder/$2
    [ -x "$program" ] || (cd "$1" && go build -trimpath -ldflags "-s -w $4" -o "$program.new" "$3") >&2
    [ -x "$program" ] || mv "$program.new" "$program"
}

mkdir -p "$folder"
stamp="-X k8s.io/component-base/version.gitVersion=$version"
for program in kubectl kube-apiserver kube-controller-manager; do
    build apiserver $program k8s.io/kubernetes/cmd/$program "$stamp"
done
build kserve kserve-manager github.com/kserve/kserve/cmd/manager ''
build kserve knative-check ./knative-check ''
echo "$folder"
