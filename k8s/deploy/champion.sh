#!/bin/sh
# The model in service: champion.sh FILE. Out of the image that is deployed for USER_ID, so that neither a
# retraining nor a change of the code starts from anything else; the bundled model before the first deployment.
set -eu
. k8s/deploy/lib.sh

check_user
image=$(image_in_service)
if [ -z "$image" ]; then
    echo "nothing is deployed in $namespace: taking the bundled model"
    mkdir -p "$(dirname "$1")"
    cp model/california-housing.json "$1"
else
    check_image "$image"
    take_artifact "$image" "$1"
    echo "took the model of $image"
fi
