# What the scripts of a deployment share; read by them with `.`, from the project's top. Everything comes in
# through the environment, so that no value of a request is ever part of a command line.
# shellcheck shell=sh
MODEL_NAME=california-housing
SERVED=/mnt/models/model.json # where tests/image/rootfs.sh puts the artifact in the image

die() {
    # On GitHub a line of this form stands at the head of the run's page.
    echo "${GITHUB_ACTIONS:+::error::}$*" >&2
    exit 1
}

# need NAME...: these variables must say something
need() {
    for name; do
        eval "[ -n \"\${$name:-}\" ]" || die "$name: expected a value"
    done
}

# matches TEXT PATTERN: all of the text, in one line; the text is never part of a pattern
matches() {
    case $1 in *"
"*) return 1 ;; esac
    printf '%s\n' "$1" | grep -Eqx -- "$2"
}

# Sets namespace once USER_ID is known to be one of k8s/users.
check_user() {
    if ! matches "${USER_ID:-}" '[a-z0-9]{1,32}' || ! grep -qx -- "$USER_ID" k8s/users; then
        die "user_id: expected one of k8s/users"
    fi
    namespace=kubeflow-$USER_ID
}

has_digest() {
    matches "${1:-}" '[A-Za-z0-9./:_-]{1,255}@sha256:[0-9a-f]{64}'
}

# An image is always named by its digest: what was signed is what runs.
check_image() {
    has_digest "${1:-}" || die "image: expected NAME@sha256:DIGEST, got '${1:-}'"
}

check_mode() {
    case ${DEPLOYMENT_MODE:=Standard} in
    Standard | Knative) ;;
    *) die "DEPLOYMENT_MODE: expected Standard or Knative" ;;
    esac
    matches "${CANARY_PERCENT:=10}" '[1-9]|[1-9][0-9]|100' || die "CANARY_PERCENT: expected 1 to 100"
}

# The image in service by its digest, or nothing where nothing has been deployed.
image_in_service() {
    kubectl --namespace "$namespace" get inferenceservice "$MODEL_NAME" --ignore-not-found \
        --output 'jsonpath={.spec.predictor.containers[0].image}'
}

# take_artifact IMAGE FILE: the artifact out of an image
take_artifact() {
    mkdir -p "$(dirname "$2")"
    docker pull --quiet "$1" >&2
    container=$(docker create "$1")
    docker cp "$container:$SERVED" "$2" >&2
    docker rm "$container" >/dev/null
}

# A result that further steps read; elsewhere a line on stdout.
output() {
    echo "$1=$2" >>"${GITHUB_OUTPUT:-/dev/stdout}"
}

# summary FILE: for the run's page
summary() {
    [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$1" >>"$GITHUB_STEP_SUMMARY"
}
