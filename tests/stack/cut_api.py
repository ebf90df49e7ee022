#!/usr/bin/env python3
"""Cuts GitHub's own OpenAPI description down to the calls that ridge-relay makes, once per API version.

    cut_api.py api.github.com.deref.json OUT

OUT has every call under /<version>/repos/..., so that one server answers for both versions. The description is
that of the older one; what the newer one changes in a call stands in it as JSON patches
(x-github-breaking-changes), which are applied here. Two things are made to be what GitHub does: `created` takes a
search such as >=2026-11-25, as its own text says, not only a date; and a dispatch may have no members but those of
its version.
"""
import copy
import json
import pathlib
import sys

OLDER, NEWER = "2022-11-28", "2026-03-10"
RUNS = "/repos/{owner}/{repo}/actions/workflows/{workflow_id}"
CALLS = ((RUNS + "/dispatches", "post"), (RUNS + "/runs", "get"),
         ("/repos/{owner}/{repo}/actions/runs/{run_id}", "get"))
CHANGES = "x-github-breaking-changes"


def patched(operation, version):
    """The operation in that version."""
    result = copy.deepcopy(operation)
    for change in operation.get(CHANGES, ()):
        if change["version"] > version:
            continue
        for step in change["patch"]:
            *way, last = [word.replace("~1", "/").replace("~0", "~") for word in step["path"].split("/")[1:]]
            place = result
            for word in way:
                place = place[int(word) if isinstance(place, list) else word]
            last = int(last) if isinstance(place, list) else last
            if step["op"] == "remove":
                del place[last]
            elif step["op"] in ("add", "replace"):
                place[last] = step["value"]
            else:
                raise ValueError(f"{CHANGES}: expected add, replace or remove, got {step['op']}")
    result.pop(CHANGES, None)
    return result


def corrected(operation):
    for parameter in operation["parameters"]:
        if parameter["name"] == "created":
            del parameter["schema"]["format"]
    if "requestBody" in operation:
        operation["requestBody"]["content"]["application/json"]["schema"]["additionalProperties"] = False
    return operation


def cut(description):
    paths = {}
    for path, method in CALLS:
        for version in (OLDER, NEWER):
            paths[f"/{version}{path}"] = {method: corrected(patched(description["paths"][path][method], version))}
    return {"openapi": description["openapi"], "info": description["info"], "paths": paths}


def main():
    source, out = map(pathlib.Path, sys.argv[1:])
    result = cut(json.loads(source.read_text()))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
