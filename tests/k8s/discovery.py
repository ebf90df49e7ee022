"""Shows that a Prometheus with k8s/monitoring's configuration, as its own ServiceAccount and with the rights that
k8s/tenant gives that, finds the pods of every user's namespace and no other. For cluster_check.py, and a Prometheus
that was built with Kubernetes discovery, as Debian's is not (`make prometheus3`).
"""
import re
import shutil

from programs import Prometheus
from report import ROOT, poll

USERS = (ROOT / "k8s/users").read_text().split()
ACCOUNT = "/api/v1/namespaces/monitoring/serviceaccounts/prometheus/token"


def pod(namespace, phase="Running", **labels):
    """What a kubelet would have made of a predictor."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                  "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "kserve-container", "image": "ridged", "securityContext": restricted,
                 "ports": [{"containerPort": 8080, "name": "http1"}]}
    return ({"apiVersion": "v1", "kind": "Pod",
             "metadata": {"name": f"found-{phase.lower()}", "namespace": namespace, "labels": labels},
             "spec": {"containers": [container]}},
            {"status": {"phase": phase, "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}})


def make(cluster, manifest, status):
    for answer in (cluster.ask("POST", cluster.path(manifest, name=False), manifest),
                   cluster.ask("PATCH", cluster.path(manifest) + "/status", status, "application/merge-patch+json")):
        if not answer.good:
            raise RuntimeError(f"{manifest['metadata']}: {answer.message}")


def configured(cluster, folder):
    """The committed configuration, which says beside what it says where the API server is."""
    token, authority, out = folder / "discovery-token", folder / "discovery-ca", folder / "discovery"
    answer = cluster.ask("POST", ACCOUNT, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                                           "spec": {"expirationSeconds": 600}})
    token.write_text(answer.body["status"]["token"])
    authority.write_text(cluster.authority.read_text())
    shutil.copytree(ROOT / "k8s/monitoring/rules", out / "rules")
    text = (ROOT / "k8s/monitoring/prometheus.yml").read_text()
    (out / "prometheus.yml").write_text(re.sub(
        "(?m)^( +)- role: pod$",
        rf"\g<0>\n\1  api_server: https://127.0.0.1:{cluster.port}\n\1  authorization: {{credentials_file: {token}}}"
        rf"\n\1  tls_config: {{ca_file: {authority}}}", text))
    return out / "prometheus.yml"


def wrong(cluster, folder, program):
    """Namespaces are there, with what k8s/tenant puts into them. Returns what is wrong."""
    found = {"serving.kserve.io/inferenceservice": "california-housing"}
    for namespace in [*(f"kubeflow-{user}" for user in USERS), "default"]:
        make(cluster, *pod(namespace, **found))
        make(cluster, *pod(namespace, "Succeeded", **found))
    make(cluster, *pod("kubeflow-user01", "Pending"))  # no predictor
    p = Prometheus("discovery", folder, program, configured(cluster, folder))
    expected = {(f"kubeflow-{user}", user, "found-running", "127.0.0.1:8000") for user in USERS}

    def targets():
        found = [t["labels"] for t in p.get("targets")["activeTargets"]]
        return {tuple(labels.get(name) for name in ("namespace", "user_id", "pod", "instance"))
                for labels in found if labels["job"] == "ridged"}

    poll(lambda: targets() >= expected, 60)
    complaints = [line for line in p.text().splitlines() if re.search("forbidden|level=ERROR", line)]
    lost = expected - targets()
    strange = {t for t in targets() if t[1] not in USERS or t[0] != f"kubeflow-{t[1]}" or
               t[2] in ("found-succeeded", "found-pending")}
    p.stop()
    return [f"not found: {t}" for t in lost] + [f"found: {t}" for t in strange] + complaints[:3]
