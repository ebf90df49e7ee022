#!/bin/sh
# deploy.sh deploy: IMAGE into service for USER_ID; what served before is the output `previous`
# deploy.sh verify: waits for its pods, then verify.py: answers to the bit, error ratio, latency
# deploy.sh promote: in Knative mode, all requests to IMAGE
# deploy.sh rollback: PREVIOUS back into service, and the proof that it answers as its own artifact does
#
# Each applies k8s/overlays/USER_ID with that digest and nothing else changed, as the narrow role
# ridged-deployer may. In Knative mode a new digest gets CANARY_PERCENT of the requests until it is promoted.
set -eu
. k8s/deploy/lib.sh

check_user
check_mode
: "${READY_SECONDS:=300}"

# apply IMAGE PERCENT: of the requests, in Knative mode
apply() {
    check_image "$1"
    [ -d "k8s/overlays/$USER_ID" ] || die "k8s/overlays/$USER_ID: no such overlay"
    folder=build/deploy/$USER_ID
    mkdir -p "$folder"
    {
        echo "resources: [../../../k8s/overlays/$USER_ID]"
        echo "images: [{name: ridged, newName: '${1%@*}', digest: '${1#*@}'}]"
        [ "$DEPLOYMENT_MODE" = Standard ] || echo "components: [../../../k8s/knative]"
        [ "$DEPLOYMENT_MODE" = Standard ] || [ "$2" = 100 ] || printf '%s\n' 'patches:' \
            '  - target: {kind: InferenceService}' \
            "    patch: '[{\"op\": \"add\", \"path\": \"/spec/predictor/canaryTrafficPercent\", \"value\": $2}]'"
    } >"$folder/kustomization.yaml"
    kubectl apply --server-side --force-conflicts --field-manager ridged-deploy \
        --selector app.kubernetes.io/name=ridged --kustomize "$folder"
}

# The image of every predictor pod and whether it is ready, a pod a line.
pods() {
    kubectl --namespace "$namespace" get pods --selector "serving.kserve.io/inferenceservice=$MODEL_NAME" \
        --field-selector status.phase!=Failed,status.phase!=Succeeded --output \
        'jsonpath={range .items[*]}{.spec.containers[?(@.name=="kserve-container")].image} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

# wait_ready IMAGE PERCENT: until its pods are ready, and for all requests no others are left. The
# InferenceService's own condition may be that of the image before.
wait_ready() {
    end=$(($(date +%s) + READY_SECONDS))
    while :; do
        there=$(pods) || there= # the API server may be away for a moment
        ready=$(printf '%s\n' "$there" | grep -cFx "$1 True") || :
        others=$(printf '%s\n' "$there" | grep -cvFx "$1 True") || :
        [ "$ready" -gt 0 ] && { [ "$2" != 100 ] || [ "$others" = 0 ]; } && break
        [ "$(date +%s)" -lt "$end" ] || die "$namespace: $1 is not ready after $READY_SECONDS s; its pods: $there"
        sleep 1
    done
    echo "$namespace: $ready ready pods of $1"
}

# Prometheus through the API server, where PROMETHEUS_URL does not say another way; until this script ends.
find_prometheus() {
    [ -z "${PROMETHEUS_URL:-}" ] || return 0
    kubectl --namespace monitoring port-forward service/prometheus :9090 >build/loop/forward &
    forward=$!
    trap 'kill "$forward" 2>/dev/null || :' EXIT
    end=$(($(date +%s) + 30))
    until port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' build/loop/forward) && [ -n "$port" ]; do
        if [ "$(date +%s)" -ge "$end" ] || ! kill -0 "$forward" 2>/dev/null; then
            die "Prometheus cannot be reached: kubectl port-forward ended or did not begin within 30 s"
        fi
        sleep 1
    done
    export PROMETHEUS_URL="http://127.0.0.1:$port"
}

share=100
[ "$DEPLOYMENT_MODE" = Standard ] || share=$CANARY_PERCENT

case $1 in
deploy)
    previous=$(image_in_service)
    if [ -n "$previous" ] && ! has_digest "$previous"; then
        echo "$namespace: $previous has no digest to go back to"
        previous=
    fi
    [ -n "$previous" ] || share=100
    output previous "$previous"
    apply "$IMAGE" "$share"
    ;;
verify)
    check_image "$IMAGE"
    [ -n "${PREVIOUS:-}" ] || share=100
    wait_ready "$IMAGE" "$share"
    take_artifact "$IMAGE" build/loop/deployed.json
    set -- --model build/loop/deployed.json
    if [ "$share" != 100 ]; then
        take_artifact "$PREVIOUS" build/loop/previous.json
        set -- "$@" --previous build/loop/previous.json
    fi
    find_prometheus
    python3 k8s/deploy/verify.py "$@"
    ;;
promote)
    apply "$IMAGE" 100
    wait_ready "$IMAGE" 100
    take_artifact "$IMAGE" build/loop/deployed.json
    python3 k8s/deploy/verify.py --model build/loop/deployed.json --answers_only
    ;;
rollback)
    [ -n "${PREVIOUS:-}" ] || die "$namespace: nothing was in service before; $IMAGE is left as it is"
    check_image "$PREVIOUS"
    [ "$DEPLOYMENT_MODE" = Standard ] || apply "$IMAGE" 0
    apply "$PREVIOUS" 100
    wait_ready "$PREVIOUS" 100
    take_artifact "$PREVIOUS" build/loop/previous.json
    python3 k8s/deploy/verify.py --model build/loop/previous.json --answers_only
    echo "$namespace: $PREVIOUS serves again"
    ;;
esac
