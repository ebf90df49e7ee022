#!/bin/sh
# Builds the image and saves it as an OCI archive: build.sh <name:tag> <archive> [docker|buildah].
# By docker where an engine answers; otherwise, as root on Debian, by buildah: no daemon and no registry,
# the base made here by mmdebstrap under the name that the Dockerfile asks for. Environment: REVISION, MODEL,
# SOURCE_DATE_EPOCH. buildah: two builds of the same sources and packages have the same digest.
set -eu

name=$1 archive=$2
engine=${3:-$(docker info >/dev/null 2>&1 && echo docker || echo buildah)}
base=docker.io/library/debian:12
state=$PWD/build/buildah

mkdir -p "${archive%/*}"
set -- --build-arg "REVISION=$REVISION" --build-arg "MODEL=$MODEL" \
    --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH"

# vfs and chroot ask nothing of the kernel that a container of its own would not have.
in_store() {
    command=$1
    shift
    buildah --root "$state/storage" --runroot "$state/run" --storage-driver vfs "$command" "$@"
}

# What apt here is told of mirrors goes into the base, and no further: the last stage copies only files
# that dpkg knows.
make_base() {
    sources=$(grep -ls bookworm /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources | tail -n 1)
    echo "making $base"
    apt-config dump Acquire >"$state/apt.conf"
    # shellcheck disable=SC2086 # no file, no argument
    mmdebstrap --quiet --variant=minbase --aptopt="$state/apt.conf" bookworm "$state/base.tar" $sources
    container=$(in_store from scratch)
    in_store add --quiet "$container" "$state/base.tar" >/dev/null
    in_store commit --quiet --rm "$container" "$base" >/dev/null
    rm "$state/base.tar"
}

case $engine in
docker)
    docker build "$@" --tag "$name" .
    docker save --output "$archive" "$name"
    ;;
buildah)
    missing=
    for package in buildah mmdebstrap; do
        command -v $package >/dev/null || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        apt-get update -qq
        # shellcheck disable=SC2086 # a list
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
    mkdir -p "$state"
    in_store inspect --type image "$base" >/dev/null 2>&1 || make_base
    in_store build --isolation chroot --pull=never --timestamp "$SOURCE_DATE_EPOCH" --identity-label=false \
        "$@" --tag "$name" .
    rm -f "$archive"
    in_store push --quiet "$name" "oci-archive:$archive:$name"
    in_store rmi "$name" >/dev/null # the archive has it; the base stays
    ;;
*)
    echo "image: expected docker or buildah, got $engine" >&2
    exit 2
    ;;
esac
