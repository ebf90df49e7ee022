#!/bin/sh
# Checks a document against SPDX 2.3 with the SPDX project's own tools: spdx.sh <JSON>. Needs PyPI once.
set -eu

version=0.8.5
folder=build/spdx-tools
if ! "$folder/bin/python" -m pip show spdx-tools 2>/dev/null | grep -qx "Version: $version"; then
    rm -rf "$folder"
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "spdx-tools==$version"
fi
"$folder/bin/pyspdxtools" --version SPDX-2.3 --infile "$1"
echo "image: $1 is valid SPDX 2.3"
