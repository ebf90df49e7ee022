#!/bin/sh
# image.sh push: builds the image with the artifact MODEL in it and pushes it to REPOSITORY, with an SBOM and its
#                provenance, which BuildKit attaches; its name by digest is the output `image`
# image.sh sign: signs IMAGE with the identity of the workflow that runs, without a key
# image.sh verify: fails unless cd-deploy of the main branch of this repository signed IMAGE
# shellcheck disable=SC2153 # IMAGE is the environment's
set -eu
. k8s/deploy/lib.sh

case $1 in
push)
    check_user
    need REPOSITORY
    [ -s "$MODEL" ] || die "$MODEL: expected an artifact"
    # Into the build's context, which leaves build/ out.
    trap 'rm -f deployed-model.json' EXIT
    cp "$MODEL" deployed-model.json
    mkdir -p build
    docker buildx build --push --sbom=true --provenance=mode=max --metadata-file build/image.json \
        --build-arg MODEL=deployed-model.json --build-arg REVISION="${GITHUB_SHA:-unknown}" \
        --tag "$REPOSITORY:$USER_ID-${GITHUB_RUN_ID:-0}-${GITHUB_RUN_ATTEMPT:-1}" .
    image=$REPOSITORY@$(jq --raw-output '."containerimage.digest"' build/image.json)
    check_image "$image"
    output image "$image"
    ;;
sign)
    check_image "$IMAGE"
    cosign sign --yes "$IMAGE"
    ;;
verify)
    check_image "$IMAGE"
    need GITHUB_REPOSITORY
    cosign verify --certificate-oidc-issuer https://token.actions.githubusercontent.com --certificate-identity \
        "https://github.com/$GITHUB_REPOSITORY/.github/workflows/cd-deploy.yaml@refs/heads/main" "$IMAGE" >/dev/null
    ;;
esac
