#!/usr/bin/env python3
"""Holds the three workflows to what others rely on, and to what keeps them safe.

    contract.py              exit code 1 names what is broken
    contract.py --self_test  breaks every rule on purpose, and fails if one is not noticed

What GitHub itself would refuse is found by actionlint and by the runner's parser, common weaknesses by zizmor;
here are the rules of this project.
"""
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = ".github/workflows/"
NAMES = {
    "ci-test": ["lint", "test", "model-test", "docker-build", "deploy"],
    "cd-deploy": ["build-and-push", "deploy-kserve", "verify-deployment", "notify"],
    "retrain-model": ["prepare-data", "retrain", "validate", "trigger-deploy"],
}
INPUTS = ["user_id", "drift_score", "drift_reason", "correlation_id"]
CALL = "./.github/workflows/cd-deploy.yaml"
OTHERS = ["Makefile", "README.md", "k8s/users", "k8s/monitoring/rules/alerts.yml"]


def read():
    files = [f"{FOLDER}{name}.yaml" for name in NAMES] + OTHERS
    texts = {file: (ROOT / file).read_text() for file in files}
    texts["files"] = " ".join(sorted(p.name for p in (ROOT / FOLDER).iterdir()))
    return texts


def yaml_of(text):
    document = yaml.safe_load(text)
    document["on"] = document.pop(True, document.get("on"))  # YAML 1.1 reads the key as a truth value
    return document


def steps(workflow):
    for name, job in workflow["jobs"].items():
        for step in job.get("steps", []):
            yield name, step


def names_and_jobs(texts, flows):
    if texts["files"] != " ".join(sorted(f"{name}.yaml" for name in NAMES)):
        yield f"{FOLDER}: expected the files of {', '.join(NAMES)}, got {texts['files']}"
    for name, jobs in NAMES.items():
        if flows[name]["name"] != name or list(flows[name]["jobs"]) != jobs:
            yield f"{name}: expected that name and the jobs {', '.join(jobs)}"


def dispatch(texts, flows):
    flow = flows["retrain-model"]
    if list(flow["on"]) != ["workflow_dispatch"]:
        yield "retrain-model: expected to be dispatched and nothing else"
    inputs = flow["on"]["workflow_dispatch"]["inputs"]
    if list(inputs) != INPUTS or any(i["type"] != "string" or not i["required"] for i in inputs.values()):
        yield f"retrain-model: expected the required texts {', '.join(INPUTS)}, got {', '.join(inputs)}"
    if "(${{ inputs.correlation_id }})" not in flow["run-name"]:
        yield "retrain-model: the relay looks for (CORRELATION_ID) in the run's name"
    first = next(iter(flow["jobs"].values()))
    if first["steps"][1].get("run") != "make retrain-request" or first["permissions"].get("actions") != "read":
        yield "retrain-model: expected the first job to begin with `make retrain-request` and to read the runs"


def chain(texts, flows):
    if flows["retrain-model"]["jobs"]["trigger-deploy"].get("uses") != CALL:
        yield "retrain-model: expected a call, so that the run ends when the deployment is verified"
    if flows["retrain-model"]["jobs"]["trigger-deploy"]["with"].get("artifact") != "retrained-model":
        yield "retrain-model: expected the retrained artifact to be deployed"
    ci = flows["ci-test"]
    push, pull = ci["on"]["push"]["branches"], ci["on"]["pull_request"]["branches"]
    if (push, pull) != (["main", "develop"], ["main"]) or set(ci["on"]) != {"push", "pull_request"}:
        yield "ci-test: expected push to main and develop, and pull requests to main"
    deploy = ci["jobs"]["deploy"]
    if deploy["if"] != "github.event_name == 'push' && github.ref == 'refs/heads/main'" or \
            deploy["needs"] != [j for j in NAMES["ci-test"] if j != "deploy"] or deploy["uses"] != CALL:
        yield "ci-test: expected a deployment of main alone, behind every other job"
    if set(flows["cd-deploy"]["on"]) != {"workflow_call", "workflow_dispatch"}:
        yield "cd-deploy: expected to be called, or started by hand"


def verification(texts, flows):
    jobs = flows["cd-deploy"]["jobs"]
    runs = {name: [s.get("run", "") for s in job["steps"]] for name, job in jobs.items()}
    if [r for r in runs["deploy-kserve"] if r in ("make image-verify", "make deploy")] != ["make image-verify", "make deploy"]:
        yield "cd-deploy: expected the signature to be verified before anything is deployed"
    back = jobs["verify-deployment"]["steps"][-1]
    if back.get("run") != "make rollback" or back["if"] != "failure() || cancelled()":
        yield "cd-deploy: expected what fails verification to be put back"
    if jobs["notify"].get("if") != "always()" or jobs["notify"]["needs"] != NAMES["cd-deploy"][:-1]:
        yield "cd-deploy: expected a notice whatever happens"
    for name, flow in flows.items():
        for job, step in steps(flow):
            if "continue-on-error" in step or re.search(r"\|\|\s*(true|echo|:)", step.get("run", "")):
                yield f"{name}: {job}: a step that cannot fail"


def limits(texts, flows):
    validate = flows["retrain-model"]["jobs"]["validate"]["steps"][-1]["env"]
    mae, r2 = (float(re.search(r"\|\| '([0-9.]+)'", validate[v])[1]) for v in ("MAX_MAE", "MIN_R2"))
    rules = yaml.safe_load(texts["k8s/monitoring/rules/alerts.yml"])
    alert = " ".join(r["expr"] for g in rules["groups"] for r in g["rules"] if r.get("alert") == "ModelDriftDetected")
    highest, lowest = float(re.search(r"mae\S* > ([0-9.]+)", alert)[1]), float(re.search(r"r2\S* < ([0-9.]+)", alert)[1])
    if not (mae < highest and r2 > lowest):
        yield f"retrain-model: expected limits stricter than the alert's {highest} and {lowest}, got {mae} and {r2}"


def rights(texts, flows):
    for name, flow in flows.items():
        if flow.get("permissions") != {}:
            yield f"{name}: expected permissions: {{}} at the top"
        for job, body in flow["jobs"].items():
            if "permissions" not in body or "write" in [v for k, v in body["permissions"].items() if k != "id-token"]:
                yield f"{name}: {job}: expected permissions of its own, none to write but id-token"
            if "uses" not in body and not isinstance(body.get("timeout-minutes"), int):
                yield f"{name}: {job}: expected timeout-minutes"
            if "container" in body and not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", body["container"]):
                yield f"{name}: {job}: expected a container by its digest"
            if "secrets" in body and not isinstance(body["secrets"], dict):
                yield f"{name}: {job}: expected secrets by name"


def pins(texts, flows):
    known = {}
    for name in NAMES:
        for line in texts[f"{FOLDER}{name}.yaml"].splitlines():
            match = re.match(r"\s*(?:- )?uses: (\S+?)(?:@(\S+))?(?: # (.*))?$", line)
            if not match or match[1] == CALL:
                continue
            if not re.fullmatch("[0-9a-f]{40}", match[2] or "") or not re.fullmatch(r"v\d+\.\d+\.\d+", match[3] or ""):
                yield f"{name}: {match[1]}: expected a commit and its version"
            if known.setdefault(match[1], match.group(2, 3)) != match.group(2, 3):
                yield f"{name}: {match[1]}: expected one version everywhere"
        for job, step in steps(flows[name]):
            if step.get("uses", "").startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
                yield f"{name}: {job}: expected a checkout that keeps no credentials"


def injection(texts, flows):
    for name, flow in flows.items():
        for job, step in steps(flow):
            if "${{" in step.get("run", ""):
                yield f"{name}: {job}: expected what a script reads in env, not in its text"


def concurrency(texts, flows):
    expected = {
        "retrain-model": ("retrain-${{ inputs.user_id }}-california-housing", False),
        "cd-deploy": ("deploy-${{ inputs.user_id }}", False),
        "ci-test": ("ci-${{ github.ref }}", "${{ github.event_name == 'pull_request' }}"),
    }
    for name, (group, cancel) in expected.items():
        if flows[name].get("concurrency") != {"group": group, "cancel-in-progress": cancel}:
            yield f"{name}: expected the concurrency group {group}"


def targets(texts, flows):
    there = {"build/ridge"} | {t for line in re.findall(r"^([a-z0-9/ -]+):(?!=)", texts["Makefile"], re.M) for t in line.split()}
    for name, flow in flows.items():
        for job, step in steps(flow):
            for words in re.findall(r"\bmake ([^&|\n]*)", step.get("run", "")):
                for word in words.split():
                    if not re.search(r'["$=]', word) and word not in there and not step["name"].startswith("What a checkout"):
                        yield f"{name}: {job}: the Makefile has no target {word}"


def documented(texts, flows):
    used = set()
    for name in NAMES:
        used |= set(re.findall(r"\b(?:vars|secrets)\.([A-Z0-9_]+)", texts[f"{FOLDER}{name}.yaml"]))
    section = texts["README.md"].split("## Retraining and deployment", 1)[-1].split("\n## ")[0]
    listed = set(re.findall(r"^\| (.*?) \|", section, re.M))
    listed = {n for cell in listed for n in re.findall(r"`([A-Z][A-Z0-9_]+)`", cell)}
    for missing in sorted(used ^ listed):
        yield f"README: {missing}: in the workflows or in the table, not in both"
    if any(re.match("AWS_(ACCESS|SECRET)", n) for n in used):
        yield "a long-lived key"


RULES = [names_and_jobs, dispatch, chain, verification, limits, rights, pins, injection, concurrency, targets, documented]

# What each rule must notice: (rule, file, what is there, what it becomes).
RETRAIN, DEPLOY, CI = (f"{FOLDER}{n}.yaml" for n in ("retrain-model", "cd-deploy", "ci-test"))
MISTAKES = [
    (names_and_jobs, "files", "cd-deploy.yaml", "cd.yaml"),
    (names_and_jobs, CI, "  model-test:\n", "  model:\n"),
    (dispatch, RETRAIN, "  workflow_dispatch:\n", "  push:\n  workflow_dispatch:\n"),
    (dispatch, RETRAIN, "      drift_score:\n", "      score:\n"),
    (dispatch, RETRAIN, "type: string", "type: number"),
    (dispatch, RETRAIN, "(${{ inputs.correlation_id }})\n\non", "\n\non"),
    (dispatch, RETRAIN, "run: make retrain-request", "run: make deploy-request"),
    (dispatch, RETRAIN, "      actions: read\n", ""),
    (chain, RETRAIN, "      artifact: retrained-model\n", ""),
    (chain, CI, " && github.ref == 'refs/heads/main'", ""),
    (chain, CI, "[lint, test, model-test, docker-build]", "[lint, test, docker-build]"),
    (chain, CI, "branches: [main, develop]", "branches: [main]"),
    (chain, DEPLOY, "  workflow_dispatch:\n", "  repository_dispatch:\n  workflow_dispatch:\n"),
    (verification, DEPLOY, "run: make image-verify", "run: make image-sign"),
    (verification, DEPLOY, "if: failure() || cancelled()\n", "if: cancelled()\n"),
    (verification, DEPLOY, "    if: always()\n", ""),
    (verification, DEPLOY, "run: make verify-deployment", "run: make verify-deployment || true"),
    (verification, DEPLOY, "run: make verify-deployment", "continue-on-error: true\n        run: make verify-deployment"),
    (limits, RETRAIN, "'0.43'", "'0.50'"),
    (limits, RETRAIN, "'0.77'", "'0.70'"),
    (rights, CI, "permissions: {}", "permissions: {contents: read}"),
    (rights, RETRAIN, "      contents: read\n", "      contents: write\n"),
    (rights, RETRAIN, "    timeout-minutes: 60\n", ""),
    (rights, CI, "@sha256:9344f8b8992482f80cba753f323adeaf17690076c095ccff6cc9536be98185dc", ""),
    (rights, RETRAIN, "    secrets:\n      NOTIFY_WEBHOOK: ${{ secrets.NOTIFY_WEBHOOK }}", "    secrets: inherit"),
    (pins, RETRAIN, "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7"),
    (pins, RETRAIN, "3d3c42e5aac5ba805825da76410c181273ba90b1", "3d3c42e5aac5ba805825da76410c181273ba90b2"),
    (pins, RETRAIN, " # v7.0.1", ""),
    (pins, RETRAIN, "persist-credentials: false", "persist-credentials: true"),
    (injection, RETRAIN, "run: make retrain\n", "run: make retrain USER_ID=${{ inputs.user_id }}\n"),
    (concurrency, RETRAIN, "cancel-in-progress: false", "cancel-in-progress: true"),
    (concurrency, DEPLOY, "group: deploy-${{ inputs.user_id }}", "group: deploy"),
    (targets, RETRAIN, "run: make champion", "run: make champignon"),
    (documented, DEPLOY, "vars.MAX_LATENCY", "vars.MAX_DELAY"),
    (documented, "README.md", "`EKS_CLUSTER`", "`CLUSTER`"),
    (documented, DEPLOY, "secrets.PROMETHEUS_TOKEN", "secrets.AWS_SECRET_ACCESS_KEY"),
]


def problems(texts, rules=RULES):
    flows = {name: yaml_of(texts[f"{FOLDER}{name}.yaml"]) for name in NAMES}
    return [problem for rule in rules for problem in rule(texts, flows)]


def self_test(texts):
    failed = []
    for rule, file, there, becomes in MISTAKES:
        if there not in texts[file]:
            failed.append(f"{rule.__name__}: {file} has no {there!r}")
        elif not problems({**texts, file: texts[file].replace(there, becomes, 1)}, [rule]):
            failed.append(f"{rule.__name__}: does not notice {becomes!r} for {there!r}")
    failed += [f"{rule.__name__}: no mistake" for rule in RULES if rule not in [m[0] for m in MISTAKES]]
    return failed


def main():
    texts = read()
    found = self_test(texts) if sys.argv[1:] == ["--self_test"] else problems(texts)
    print(*found, sep="\n", end="\n" if found else "")
    if not found:
        print(f"workflows: {len(RULES)} rules hold" if not sys.argv[1:] else f"workflows: {len(MISTAKES)} mistakes noticed")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
