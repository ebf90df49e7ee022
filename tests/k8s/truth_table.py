#!/usr/bin/env python3
"""Who may reach what, by the NetworkPolicies that are rendered, beside what truth-table.txt says.

    truth_table.py <network-config-analyzer's nca> <rendered> [--write]

The analyser reads all sixteen users' policies, monitoring's, and a cast: pods as KServe and the workloads of
monitoring make them, and outsiders. The table shows two users; the others must be the same but for the name.
Then every policy of a user and of monitoring is left out in turn: a table that stays the same says that the
policy, or this test, does nothing.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

TABLE = pathlib.Path("tests/k8s/truth-table.txt")
SHOWN = ("user01", "user02")
MONITORING = ("alertmanager", "grafana", "grafana-accounts", "prometheus", "ridge-relay", "tenant-proxy")
# Beside ours, by namespace: whom a cluster has. `stray` pods bear none of the labels that openings are for.
OUTSIDERS = {
    "default": {"other": {}},
    "envoy-gateway-system": {"gateway": {}},
    "istio-system": {"gateway": {}},
    "knative-serving": {"activator": {}},
    "kube-system": {"dns": {"k8s-app": "kube-dns"}, "other": {}},
    "monitoring": {"stray": {}},
}
HEADER = """\
# Written by `make truth-table TRUTH=--write`, compared by `make truth-table`. What is not listed is refused,
# except that the kubelet reaches the pods of its node. {} more users are as these two. `addresses` are outside
# the cluster; whether a network takes pods for such, too, it decides itself.
"""


def read(path):
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def namespace(name, labels):
    labels = {**labels, "kubernetes.io/metadata.name": name}  # as the API server does
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(where, name, labels):
    container = {"name": "main", "image": "none"}
    meta = {"name": name, "namespace": where, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}


def pods_of(manifest):
    """The pods that come of a workload, one each."""
    meta = manifest["metadata"]
    if manifest["kind"] == "InferenceService":
        made = {"serving.kserve.io/inferenceservice": meta["name"], "component": "predictor"}
        yield pod(meta["namespace"], "ridged", {**meta["labels"], **made})
    elif manifest["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob"):
        spec = manifest["spec"]
        labels = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["metadata"]["labels"]
        yield pod(meta["namespace"], labels["app.kubernetes.io/name"], labels)


def cast(manifests, users):
    """Namespaces, pods, policies: the analyser wants them in this order."""
    labels = {m["metadata"]["name"]: m["metadata"].get("labels", {}) for m in manifests if m["kind"] == "Namespace"}
    outsiders = {**OUTSIDERS, **{f"kubeflow-{user}": {"stray": {}} for user in users}}
    yield from (namespace(name, labels.get(name, {})) for name in sorted({*labels, *outsiders}))
    yield from (p for m in manifests for p in pods_of(m))
    yield from (pod(where, name, own) for where, pods in outsiders.items() for name, own in pods.items())
    yield from (m for m in manifests if m["kind"] == "NetworkPolicy")


def analyse(nca, manifests, users):
    """(from, to, what) of every pair that may connect and has one of ours in it."""
    everybody = list(cast(manifests, users))
    pods = sum(m["kind"] == "Pod" for m in everybody)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "cast.yaml").write_text(yaml.safe_dump_all(everybody), "utf-8")
        command = [nca, "--connectivity", "-r", folder, "-o", "txt_no_fw_rules"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if f"cluster has {pods} unique endpoints" not in text:
        sys.exit(f"the analyser has not taken all {pods} pods: those it has not would look refused\n{text[:500]}")
    rows, outside = set(), {}
    for line in re.findall(r"^\S+ => .*$", text, re.MULTILINE):
        source, target, what = re.fullmatch(r"(\S+?)(?:\[Pod\])? => (\S+?)(?:\[Pod\])? : (.*)", line).groups()
        what = re.sub(r"\{protocols:(.*),dst_ports:(.*)\}", r"\1 \2", what).replace(", ", "+")
        if not any(end.startswith(("kubeflow-", "monitoring/")) for end in (source, target)):
            continue
        if target[0].isdigit():
            outside.setdefault((source, what), []).append(target)
        else:
            rows.add(("addresses" if source[0].isdigit() else source, target, what))
    for (source, what), ranges in outside.items():
        ranges.sort(key=lambda text: [int(n) for n in re.split(r"[.-]", text)])
        rows.add((source, "addresses " + ", ".join(ranges), what))
    return rows


def of_user(rows, user):
    """The rows of one user's namespace, as if the user were nobody in particular."""
    own = f"kubeflow-{user}/"
    return {tuple(cell.replace(own, "kubeflow-USER/") for cell in row) for row in rows if own in row[0] + row[1]}


def columns(rows):
    source, target = (max(len(row[i]) for row in rows if not row[i].startswith("addresses")) for i in (0, 1))
    return "".join(f"{a:{source}}  {b:{target}}  {what}\n" for a, b, what in sorted(rows))


def table(nca, variants, users):
    wrong, parts = [], [HEADER.format(len(users) - len(SHOWN))]
    for variant, manifests in variants.items():
        rows = analyse(nca, manifests, users)
        wrong += [f"{variant}: {user} differs from {users[0]}: {sorted(of_user(rows, user) ^ of_user(rows, users[0]))}"
                  for user in users if of_user(rows, user) != of_user(rows, users[0])]
        hidden = [f"kubeflow-{user}/" for user in users if user not in SHOWN]
        rows = {row for row in rows if not row[0].startswith(tuple(hidden)) and not row[1].startswith(tuple(hidden))}
        if variant != "standard":
            rows = {row for row in rows if "kubeflow-" in row[0] + row[1]}
        parts.append(f"\n## {variant}\n\n" + columns(rows))
    return "".join(parts), wrong


def without_each(nca, manifests, users):
    """The policies of users[0] and of monitoring that could as well be left out."""
    whole = analyse(nca, manifests, users)
    ours = [m for m in manifests if m["kind"] == "NetworkPolicy"
            and m["metadata"]["namespace"] in ("monitoring", f"kubeflow-{users[0]}")]
    idle = [policy["metadata"] for policy in ours
            if analyse(nca, [m for m in manifests if m is not policy], users) == whole]
    print(f"{len(ours) - len(idle)} of {len(ours)} policies show in the table when they are left out")
    return [f"policy {meta['namespace']}/{meta['name']}: the table is the same without it" for meta in idle]


def main():
    nca, rendered = sys.argv[1], pathlib.Path(sys.argv[2])
    users = pathlib.Path("k8s/users").read_text("utf-8").split()
    monitoring = read(rendered / "monitoring.yaml")
    names = {p["metadata"]["name"] for m in monitoring for p in pods_of(m)}
    wrong = [] if names == set(MONITORING) else [f"monitoring has {sorted(names)}, expected {sorted(MONITORING)}"]
    variants = {variant: monitoring + [m for user in users for m in read(rendered / variant / f"{user}.yaml")]
                for variant in ("standard", "knative")}
    text, differences = table(nca, variants, users)
    wrong += differences
    if "--write" in sys.argv:
        TABLE.write_text(text, "utf-8")
    if text != TABLE.read_text("utf-8"):
        (rendered / TABLE.name).write_text(text, "utf-8")
        wrong.append(f"{TABLE}: not what the policies say; that is in {rendered / TABLE.name}")
    few = [m for m in variants["standard"] if m["metadata"].get("namespace", m["metadata"]["name"])
           in ("monitoring", *(f"kubeflow-{user}" for user in SHOWN))]
    wrong += without_each(nca, few, SHOWN)
    print("\n".join(wrong) or f"{TABLE} is what the policies say, for {len(users)} users")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
