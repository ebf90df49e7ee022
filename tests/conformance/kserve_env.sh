#!/bin/sh
# A Python environment with KServe's own client and server under build/kserve; its interpreter is the last
# line of output. PYTHON names an interpreter of 3.9 or later.
set -eu

version=0.20.0
folder=build/kserve
if [ "$("$folder/bin/python" -c 'import importlib.metadata as m; print(m.version("kserve"))' 2>/dev/null)" != "$version" ]; then
    rm -rf "$folder"
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "kserve==$version"
fi
echo "$folder/bin/python"
