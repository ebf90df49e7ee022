#!/usr/bin/env python3
"""What a real API server, real controllers and KServe's own webhooks make of the manifests.

    cluster_check.py --programs FOLDER [--prometheus PROGRAM]     (build.sh prints the folder)

Runs the commands of README's "In a cluster" on an empty one, then deploys one digest, another, and the first again
with the narrow role that the workflow has. Then applies monitoring and the overlay of every user as they are; sees
that controllers make of them pods that are admitted and find all they name, that Services and policies meet pods,
that applying again changes nothing; who may do what; that the mistakes of mistakes.py are refused; what KServe makes
of the Knative and the ServingRuntime variant, the former by Knative's own check; and that the program takes the
arguments of each. Prints a line each, then `N passed, N failed`.
"""
import argparse
import base64
import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import urllib.request

import yaml

from cluster import HERE, Cluster, Program  # first: it makes the modules of tests/stack known
import accounts_test
import discovery
from mistakes import MISTAKES, account
from report import check, poll, run, say, wait

ROOT = HERE.parents[1]
USERS = (ROOT / "k8s/users").read_text().split()
TENANTS = [f"kubeflow-{user}" for user in USERS]
MODEL, DEADLINE_S = "california-housing", 600
OVERLAYS = [f"k8s/overlays/{user}" for user in USERS]


def render(cluster, folder):
    done = cluster.kubectl("kustomize", folder)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(yaml.safe_load_all(done.stdout))


def name_of(manifest):
    return f"{manifest['metadata'].get('namespace', '')}/{manifest['kind']}/{manifest['metadata']['name']}"


def brief(text):
    return " ".join(text.split())[:240]


# ---- the README's commands ----

FIRST, NEXT = (f"registry.example/ridged@sha256:{digit * 64}" for digit in "ab")


def readme_blocks():
    """The indented blocks of the README's chapter on clusters, in order."""
    chapter = (ROOT / "README.md").read_text().split("\n## In a cluster\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", chapter, re.M)
    return [textwrap.dedent(block) for block in blocks]


def check_readme(cluster, folder):
    """Runs them in one shell, in a copy of what they need, as they stand."""
    place = folder / "clone"
    shutil.copytree(ROOT / "k8s", place / "k8s")
    shutil.copy(ROOT / "Makefile", place)
    (place / "github-token").write_text("token")
    blocks = readme_blocks()
    script = "".join(f"echo '@ {i}'\n{block}" for i, block in enumerate(blocks))
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=place, text=True, capture_output=True, env={
        **cluster.environment, "IMAGE": FIRST, "NEXT": NEXT, "MAKEFLAGS": "--no-print-directory"})
    begun = done.stdout.count("\n@ ") + done.stdout.startswith("@ ")
    for i, block in enumerate(blocks):
        good = i < begun - 1 or (i == begun - 1 and done.returncode == 0)
        check(f"README: {block.splitlines()[0].strip()} ...", good, "" if good else done.stderr[-1000:] or "not reached")
    warnings = [line for line in done.stderr.splitlines() if "arning" in line]
    check("README: no command warned of anything", not warnings, warnings or "")
    if done.returncode:
        raise RuntimeError("the README's commands failed, which all that follows builds on")


# ---- apply ----

def apply(cluster, folder):
    """No error and no warning; what was said if there was one."""
    done = cluster.kubectl("apply", "--server-side", "--kustomize", folder)
    return "" if done.returncode == 0 and not done.stderr else done.stderr or f"exit code {done.returncode}"


def as_wanted(manifest):
    """What was asked for, without what the server and controllers say of it."""
    kept = {key: value for key, value in manifest.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in manifest["metadata"].items()
                        if key not in ("managedFields", "resourceVersion")}
    return kept


def start_anew(cluster, namespaces):
    """KServe refuses to change an InferenceService's mode: the old one goes first."""
    path = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices/" + MODEL
    for namespace in namespaces:
        cluster.ask("DELETE", path.format(namespace))
    if not poll(lambda: all(cluster.ask("GET", path.format(n)).status == 404 and not image_of(cluster, n)
                            for n in namespaces)):
        raise RuntimeError(f"{namespaces}: an InferenceService and its pods were deleted, and are still there")


def check_apply(cluster):
    """Everything as it is in the repository, where the README's commands had put in other images."""
    start_anew(cluster, TENANTS)
    said = {folder: apply(cluster, folder) for folder in ["k8s/monitoring", *OVERLAYS]}
    wrong = {folder: text for folder, text in said.items() if text}
    check(f"server-side apply of monitoring and {len(OVERLAYS)} overlays: no error, no warning", not wrong, wrong or "")


def check_again(cluster):
    changed = []
    for folder in ["k8s/monitoring", *OVERLAYS]:
        manifests = render(cluster, folder)
        before = [cluster.ask("GET", cluster.path(m)).body for m in manifests]
        text = apply(cluster, folder)
        after = [cluster.ask("GET", cluster.path(m)).body for m in manifests]
        changed += [text] if text else []
        changed += [name_of(b) for b, a in zip(before, after) if as_wanted(a) != as_wanted(b)]
    check("applied again, nothing changes", not changed, changed or "")


# ---- what became of it ----

def is_ready(cluster, namespace):
    answer = cluster.ask("GET", f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{MODEL}")
    conditions = answer.body.get("status", {}).get("conditions", []) if answer.good else []
    return ("Ready", "True") in [(c["type"], c["status"]) for c in conditions]


def check_pods(cluster):
    wait(f"{len(TENANTS)} InferenceServices are ready", lambda: all(is_ready(cluster, t) for t in TENANTS))

    def idle(path, ready):
        found = [w for w in cluster.list(path) if w["metadata"]["namespace"] in [*TENANTS, "monitoring"]]
        return len(found) if found and all(w["status"].get(ready, 0) == w["spec"]["replicas"] for w in found) else 0

    wait("Deployments have all their pods", lambda: idle("/apis/apps/v1/deployments", "availableReplicas"))
    wait("StatefulSets have all their pods", lambda: idle("/apis/apps/v1/statefulsets", "availableReplicas"))
    wait("the Job of Grafana's accounts is done", lambda: cluster.ask(
        "GET", "/apis/batch/v1/namespaces/monitoring/jobs/grafana-accounts-now").body["status"].get("succeeded") == 1)
    refused = [f"{e['involvedObject']['name']}: {e['message']}" for e in cluster.list(
        "/api/v1/events", fieldSelector="type=Warning") if e["reason"] == "FailedCreate"]
    check("no controller was refused a pod", not refused, refused or "")


def check_accounts(cluster, folder):
    """With the token and the rights that its pod has."""
    token = cluster.ask("POST", "/api/v1/namespaces/monitoring/serviceaccounts/grafana-accounts/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}).body["status"]["token"]

    def password(user):
        secret = cluster.ask("GET", f"/api/v1/namespaces/monitoring/secrets/grafana-{user}").body
        return base64.b64decode(secret.get("data", {}).get("password", "")).decode()

    where = accounts_test.Cluster(f"https://127.0.0.1:{cluster.port}", token, cluster.authority.read_text(), password)
    wrong = accounts_test.in_a_cluster(folder, where)
    check("Grafana's accounts program fills the users' Secrets by its rights", not wrong, wrong or "")
    before = [password(user) for user in USERS]
    text = apply(cluster, "k8s/monitoring")
    check("monitoring applied again leaves the passwords", not text and before == [password(user) for user in USERS],
          text)


# ---- the program, by what KServe made of its arguments ----

def environment_of(container, pod):
    """As the kubelet would set it."""
    found = {}
    for variable in container.get("env", []):
        path = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        label = re.fullmatch(r"metadata\.labels\['(.*)'\]", path)
        if label:
            found[variable["name"]] = pod["metadata"].get("labels", {}).get(label[1], "")
        elif path:
            found[variable["name"]] = pod["metadata"].get(path.removeprefix("metadata."), "")
        else:
            found[variable["name"]] = variable.get("value", "")
    return found


def check_start(folder, text, user, pod):
    """build/ridged with the container's arguments and environment, its volumes being folders here."""
    container, place = pod["spec"]["containers"][0], folder / f"start-{user}"
    volumes = {"/mnt/models": place / "models", "/var/lib/ridged": place / "feedback",
               "/etc/ridged/feedback": place / "secret"}
    for volume in volumes.values():
        volume.mkdir(parents=True)
    shutil.copy(ROOT / f"model/{MODEL}.json", place / "models/model.json")
    (place / "secret/token").write_text("of-" + user)
    environment = environment_of(container, pod)
    arguments = []
    for argument in container["args"]:
        argument = re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], argument)
        for path, volume in volumes.items():
            argument = argument.replace("=" + path, f"={volume}")
        arguments.append(argument)
    program = Program(f"ridged-{user}", folder, ROOT / "build/ridged", *arguments, "--host=127.0.0.1", "--http_port=0",
                      "--metrics_port=0", "--drain_delay=0", env=environment)
    ready = program.wait_for(r'"event":"ready".*"metrics_port":(\d+)')
    with urllib.request.urlopen(f"http://127.0.0.1:{ready[1]}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    program.stop()
    wrong = [line for line in program.text().splitlines() if '"level":"info"' not in line]
    wrong += [what for what in (f'user_id="{user}"', f'namespace="kubeflow-{user}"', f'model_name="{MODEL}"')
              if what not in metrics]
    check(f"ridged starts by the arguments of {text}, knows them all and whose it is", not wrong, wrong or "")


def pod_in(cluster, namespace):
    pods = selects(cluster, namespace, {"matchLabels": {"serving.kserve.io/inferenceservice": MODEL}})
    return next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])


def check_replicas(cluster, folder):
    """As the README says how there come to be several."""
    user, namespace = USERS[-3], TENANTS[-3]
    text = apply(cluster, overlay(folder, user, None, [
        {"op": "replace", "path": "/metadata/annotations/serving.kserve.io~1autoscalerClass", "value": "hpa"},
        {"op": "add", "path": "/spec/predictor/maxReplicas", "value": 3}]))
    check("several replicas are accepted, without a warning", not text, text)
    scaler = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{MODEL}-predictor"
    wait("KServe makes a HorizontalPodAutoscaler of 1 to 3", lambda: [
        cluster.ask("GET", scaler).body.get("spec", {}).get(bound) for bound in ("minReplicas", "maxReplicas")] == [1, 3])


def check_discovery(cluster, folder, prometheus):
    """Last, as it leaves pods of its own."""
    if not prometheus:
        say("Prometheus' discovery is not tried: that needs build/prometheus3 (make prometheus3)")
        return
    wrong = discovery.wrong(cluster, folder, prometheus)
    check("Prometheus finds the pods of every user's namespace and no other", not wrong, wrong or "")


def check_levels(cluster):
    levels = {n["metadata"]["name"]: n["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
              for n in cluster.list("/api/v1/namespaces")}
    wrong = [n for n in [*TENANTS, "monitoring"] if levels[n] != "restricted"]
    check(f"{len(TENANTS) + 1} namespaces enforce the restricted profile", not wrong, wrong or "")


def selects(cluster, namespace, selector):
    """Pods that a label selector of the API finds; the server does the matching."""
    terms = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    for term in selector.get("matchExpressions", []):
        values = f" ({','.join(term['values'])})" if term.get("values") else ""
        terms.append({"In": f"{term['key']} in{values}", "NotIn": f"{term['key']} notin{values}",
                      "Exists": term["key"], "DoesNotExist": "!" + term["key"]}[term["operator"]])
    return cluster.list(f"/api/v1/namespaces/{namespace}/pods", labelSelector=",".join(terms))


def check_selectors(cluster):
    blind = [name_of(dict(policy, kind="NetworkPolicy")) for policy in cluster.list(
        "/apis/networking.k8s.io/v1/networkpolicies")
        if not selects(cluster, policy["metadata"]["namespace"], policy["spec"]["podSelector"])]
    check("every NetworkPolicy selects pods that there are", not blind, blind or "")
    budgets = {b["metadata"]["namespace"]: b["status"].get("expectedPods") for b in cluster.list(
        "/apis/policy/v1/poddisruptionbudgets")}
    wrong = {tenant: budgets.get(tenant) for tenant in TENANTS if budgets.get(tenant) != 1}
    check("every PodDisruptionBudget counts its predictor", not wrong, wrong or "")
    empty = []
    for service in cluster.list("/api/v1/namespaces/monitoring/services"):
        name = service["metadata"]["name"]
        slices = cluster.list("/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices",
                              labelSelector=f"kubernetes.io/service-name={name}")
        ports = {port["name"] for s in slices if s.get("endpoints") for port in s.get("ports") or []}
        empty += [f"{name}:{port['name']}" for port in service["spec"]["ports"] if port["name"] not in ports]
    check("every port of monitoring's Services leads to a pod", not empty, empty or "")


def check_training(cluster):
    said = []
    for path in sorted((ROOT / "k8s/training").glob("*.yaml")):
        for job in yaml.safe_load_all(path.read_text()):
            job["metadata"]["namespace"] = TENANTS[0]
            pod = pod_from(job["spec"]["template"], TENANTS[0], job["metadata"]["name"])
            said += [f"{path.name}: {a.message or a.warnings}" for a in (
                cluster.try_apply(job), cluster.try_create(pod)) if not a.good or a.warnings]
    check("the Jobs of k8s/training and their pods are admitted in a tenant's namespace", not said, said or "")


# ---- rights ----

READ = [("get", "inferenceservices", "serving.kserve.io"), ("list", "pods", ""), ("get", "deployments", "apps")]
DEPLOY = [("patch", "inferenceservices", "serving.kserve.io"), ("patch", "poddisruptionbudgets", "policy")]
NEVER = [("get", "secrets", ""), ("list", "secrets", ""), ("create", "pods", ""), ("delete", "namespaces", ""),
         ("delete", "inferenceservices", "serving.kserve.io"), ("patch", "deployments", "apps"),
         ("create", "rolebindings", "rbac.authorization.k8s.io"), ("escalate", "roles", "rbac.authorization.k8s.io"),
         ("patch", "networkpolicies", "networking.k8s.io"), ("impersonate", "users", ""), ("create", "pods/exec", ""),
         ("create", "pods/portforward", ""), ("create", "serviceaccounts/token", "")]


def rights(cluster, who, acts, namespaces):
    """Those of acts that are allowed, in which namespace; "" is all of them."""
    user, groups = who
    found = set()
    for verb, resource, group in acts:
        for namespace in namespaces:
            if cluster.may(user, groups, verb, resource, group, namespace):
                found.add((verb, resource, namespace))
    return found


def expect_rights(cluster, text, who, allowed, where, further=()):
    """Of all acts, exactly `allowed` in exactly `where`, and the further (verb, resource, namespace)."""
    found = rights(cluster, who, READ + DEPLOY + NEVER, [*TENANTS, "monitoring", "default", "kube-system", ""])
    wanted = {(verb, resource, namespace) for verb, resource, _ in allowed for namespace in where} | set(further)
    check(text, found == wanted, sorted(map(str, found ^ wanted)) or "")


def check_rights(cluster):
    wrong = {}
    for user, tenant in zip(USERS, TENANTS):
        found = rights(cluster, (user, [tenant]), READ + DEPLOY + NEVER, [*TENANTS, "monitoring", "default", ""])
        if found != {(verb, resource, tenant) for verb, resource, _ in READ}:
            wrong[user] = sorted(map(str, found))
    check(f"each of {len(USERS)} users reads one's own namespace, and nothing anywhere else", not wrong, wrong or "")
    deployer = ("deployer", ["ridged-deployers"])
    expect_rights(cluster, "the deployer changes InferenceServices and budgets of users, looks for Prometheus' pod, and "
                  "nothing else", deployer, READ + DEPLOY, TENANTS, [("list", "pods", "monitoring")])
    forwards = [pod for pod in ("prometheus-0", "alertmanager-0", "grafana", "") if cluster.may(
        *deployer, "create", "pods/portforward", namespace="monitoring", name=pod)]
    check("the deployer is let through to Prometheus alone", forwards == ["prometheus-0"], forwards)
    expect_rights(cluster, "Prometheus lists pods in the users' namespaces, and nothing anywhere else",
                  account("monitoring", "prometheus"), [("list", "pods", "")], TENANTS)
    for namespace, name in ((TENANTS[0], "ridged"), (TENANTS[0], "default"), ("monitoring", "default")):
        expect_rights(cluster, f"the account {name} of {namespace} may nothing", account(namespace, name), [], [])


# ---- mistakes ----

def pod_from(template, namespace, name):
    metadata = {**copy.deepcopy(template.get("metadata", {})), "namespace": namespace, "name": name}
    metadata.pop("creationTimestamp", None)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def good_objects(cluster, folder):
    """What the mistakes are made in, by KIND/NAME."""
    manifests = render(cluster, "k8s/monitoring") + render(cluster, overlay(folder, USERS[0], "runtime"))
    manifests += render(cluster, OVERLAYS[0])
    found = {f"{m['kind']}/{m['metadata']['name']}": m for m in manifests}
    found.update({key.rsplit("-", 1)[0]: m for key, m in found.items() if m["kind"] == "ConfigMap"})
    deployment = cluster.ask("GET", f"/apis/apps/v1/namespaces/{TENANTS[0]}/deployments/{MODEL}-predictor").body
    found[f"Pod/{MODEL}-predictor"] = pod_from(deployment["spec"]["template"], TENANTS[0], "trial")
    return found


def pod_of(manifest):
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    if "template" in spec:
        return spec["template"]["spec"]
    return spec.get("predictor", spec)


def attempt(cluster, manifest, who):
    named = {"user": who[0], "groups": who[1]} if who else {}
    return (cluster.try_create if manifest["kind"] == "Pod" else cluster.try_apply)(manifest, **named)


def check_mistakes(cluster, folder):
    objects = good_objects(cluster, folder)
    for name in sorted({mistake[0] for mistake in MISTAKES}):
        answer = attempt(cluster, objects[name], None)
        if not answer.good or answer.warnings:
            check(f"{name} is accepted without mistakes", False, answer.message or answer.warnings)
    for name, change, words, *who in MISTAKES:
        wrong = copy.deepcopy(objects[name])
        pod = pod_of(wrong)
        exec(change, {"m": wrong, "p": pod, "c": (pod.get("containers") or [None])[0]})
        answer = attempt(cluster, wrong, who[0] if who else None)
        refused = not answer.good and all(word in answer.message for word in words.split("|"))
        whose = f" by {who[0][0].replace('system:serviceaccount:', '')}" if who else ""
        check(f"refused: {name}{whose}: {change}", refused, brief(answer.message) or "accepted")


# ---- variants, upgrade and rollback ----

def overlay(folder, user, component, *patches):
    """A kustomization as README has it: the user's overlay with a component over it, or None."""
    place = folder / f"{component}-{user}"
    place.mkdir(exist_ok=True)
    relative = os.path.relpath(ROOT / "k8s", place)
    (place / "kustomization.yaml").write_text(yaml.safe_dump({
        "resources": [f"{relative}/overlays/{user}"],
        "components": [f"{relative}/{component}"] if component else [],
        "patches": [{"target": {"kind": "InferenceService"}, "patch": json.dumps(patch)} for patch in patches]}))
    return place


def image_of(cluster, namespace):
    pods = selects(cluster, namespace, {"matchLabels": {"serving.kserve.io/inferenceservice": MODEL}})
    return {pod["spec"]["containers"][0]["image"] for pod in pods if pod["status"]["phase"] == "Running"
            and "deletionTimestamp" not in pod["metadata"]}


def check_upgrade(cluster, folder):
    """As the narrow role that the workflow has."""
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"].update({"as": "deployer", "as-groups": ["ridged-deployers"]})
    narrow = folder / "deployer"
    narrow.write_text(json.dumps(config))
    environment = {**cluster.environment, "KUBECONFIG": str(narrow), "USER_ID": USERS[0]}
    for text, image in (("deployed", FIRST), ("upgraded", NEXT), ("rolled back", FIRST)):
        done = subprocess.run(["sh", "k8s/deploy/deploy.sh", "deploy"], cwd=folder / "clone", text=True,
                              capture_output=True, env={**environment, "IMAGE": image})
        if check(f"{text}: the workflow's own script does it with the narrow role", done.returncode == 0,
                 done.stderr[-500:]):
            wait(f"{text}: {image[-6:]} is what runs", lambda: image_of(cluster, TENANTS[0]) == {image})
    text = apply(cluster, OVERLAYS[0])
    check("an overlay applied without the digest is refused as a conflict", "conflict" in text, text.split("\n")[0])


def knative_says(cluster, service):
    return subprocess.run([cluster.programs / "knative-check"], input=json.dumps(service), text=True,
                          capture_output=True).stdout.strip()


KNATIVE_MISTAKES = [
    ("s['affinity'] = {'podAffinity': {}}", "affinity"),
    ("s['securityContext'] = {'runAsNonRoot': True}", "securityContext"),
    ("s['volumes'][0] = {'name': 'feedback', 'persistentVolumeClaim': {'claimName': 'c'}}", "persistentVolumeClaim"),
    ("c['env'][0] = {'name': 'A', 'valueFrom': {'fieldRef': {'fieldPath': 'metadata.name'}}}", "fieldRef"),
    ("c['ports'].append({'containerPort': 8000})", "more than one container port"),
    ("c['name'] = 'queue-proxy'", "reserved"),
    ("c['ports'][0]['containerPort'] = 9090", "9090"),
    ("traffic[0]['percent'] = 110", "110"),
]


def check_knative(cluster, folder):
    namespace = TENANTS[-1]
    start_anew(cluster, [namespace])
    text = apply(cluster, overlay(folder, USERS[-1], "knative"))
    check("the Knative variant is accepted, without a warning", not text, text)
    path = f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services/{MODEL}-predictor"
    made = poll(lambda: cluster.ask("GET", path).good and cluster.ask("GET", path).body)
    check("KServe makes a Knative Service of it", made)
    if not made:
        return
    say_no = knative_says(cluster, made)
    check("Knative accepts that Service", not say_no, say_no)
    check_start(folder, "the Knative Service's pod", USERS[-1], made["spec"]["template"])
    for change, word in KNATIVE_MISTAKES:
        wrong = copy.deepcopy(made)
        spec = wrong["spec"]["template"]["spec"]
        exec(change, {"s": spec, "c": spec["containers"][0], "traffic": wrong["spec"].setdefault("traffic", [{}])})
        said = knative_says(cluster, wrong)
        check(f"refused by Knative: {change}", word in said, brief(said))
    text = apply(cluster, overlay(folder, USERS[-1], "knative", [
        {"op": "add", "path": "/spec/predictor/canaryTrafficPercent", "value": 10}]))
    check("a canary of 10 % is accepted in the Knative variant", not text, text)


def check_runtime(cluster, folder):
    user, namespace = USERS[-2], TENANTS[-2]
    start_anew(cluster, [namespace])
    text = apply(cluster, overlay(folder, user, "runtime"))
    check("the ServingRuntime variant is accepted, without a warning", not text, text)
    cluster.ask("POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    wait("the ServingRuntime variant is ready", lambda: is_ready(cluster, namespace))
    check_start(folder, "the ServingRuntime's pod", user, pod_in(cluster, namespace))

    def refused():
        return [e["message"] for e in cluster.list(f"/api/v1/namespaces/{namespace}/events")
                if e["reason"] == "FailedCreate" and "storage-initializer" in e["message"]]

    text = apply(cluster, overlay(folder, user, "runtime", [
        {"op": "replace", "path": "/spec/predictor/model/storageUri", "value": "s3://bucket/model"}]))
    check("storage by s3:// is accepted, without a warning", not text, text)
    wait("the pod with KServe's storage initializer as it is shipped is refused", lambda: bool(refused()))
    done = cluster.kubectl("patch", "clusterstoragecontainer", "default", "--type=merge",
                           "--patch-file=k8s/runtime/storage-initializer.yaml")
    cluster.kubectl("--namespace", namespace, "delete", "replicaset", "--all")
    wait("with k8s/runtime/storage-initializer.yaml it is admitted", lambda: done.returncode == 0 and any(
        pod["spec"].get("initContainers") for pod in cluster.list(f"/api/v1/namespaces/{namespace}/pods")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--prometheus", type=pathlib.Path, help="one with Kubernetes discovery")
    options = parser.parse_args()

    def body(folder):
        cluster = Cluster(folder, options.programs)
        cluster.start()
        cluster.install_kserve()
        cluster.start_kubelet()
        check_readme(cluster, folder)
        check_upgrade(cluster, folder)
        check_apply(cluster)
        check_pods(cluster)
        check_again(cluster)
        check_levels(cluster)
        check_selectors(cluster)
        check_training(cluster)
        check_rights(cluster)
        check_start(folder, "the predictor's pod", USERS[0], pod_in(cluster, TENANTS[0]))
        check_accounts(cluster, folder)
        check_mistakes(cluster, folder)
        check_knative(cluster, folder)
        check_runtime(cluster, folder)
        check_replicas(cluster, folder)
        check_discovery(cluster, folder, options.prometheus)

    sys.exit(run("cluster-check", DEADLINE_S, body, Program.stop_all))


if __name__ == "__main__":
    main()
