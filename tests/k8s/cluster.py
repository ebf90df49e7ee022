"""A Kubernetes without nodes: etcd, kube-apiserver, kube-controller-manager and KServe's controller with its
webhooks, all real and on loopback, with credentials of their own that end with them.

What is missing of a cluster is what runs containers. A stand-in for scheduler and kubelet reports pods as running
and ready, those of Jobs as succeeded, when every ConfigMap, Secret and claim that they name is there with the keys
they ask for. All are on one node, so affinity has no effect here; nor have NetworkPolicies.
"""
import base64
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "stack"))
from programs import Program, free_port  # noqa: E402
from report import poll  # noqa: E402

APPLY = "application/apply-patch+yaml"


def output_of(*words, **how):
    return subprocess.run([str(w) for w in words], check=True, text=True, capture_output=True, **how).stdout


def module(name, version_of):
    """The folder of a Go module, of the version that version_of/go.mod pins."""
    said = output_of("go", "mod", "download", "-json", name, cwd=version_of)
    return pathlib.Path(json.loads(said)["Dir"])


class Answer:
    def __init__(self, status, warnings, body):
        self.status, self.warnings, self.body = status, warnings, body
        self.good = status < 300

    @property
    def message(self):
        return self.body.get("message", "") if not self.good else ""


class Cluster:
    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.port, self.token = free_port(), base64.b32encode(os.urandom(20)).decode()
        self.authority = folder / "certificates/apiserver.crt"
        self.kubeconfig = folder / "kubeconfig"
        self.kinds, self.threads = {}, threading.local()
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "TMPDIR": str(folder),
                            "PATH": f"{programs}:{os.environ['PATH']}"}

    # ---- start ----

    def start(self):
        etcd, key = free_port(), self.folder / "service-accounts.key"
        Program("etcd", self.folder, "etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls",
                f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
                "--listen-peer-urls", f"http://127.0.0.1:{free_port()}")
        output_of("openssl", "genrsa", "-out", key, "2048")
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')
        Program("kube-apiserver", self.folder, self.programs / "kube-apiserver",
                f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
                f"--secure-port={self.port}", f"--cert-dir={self.authority.parent}", f"--token-auth-file={tokens}",
                f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
                "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/16", "--endpoint-reconciler-type=none")
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                      "certificate-authority": str(self.authority)}}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}]}))
        if not poll(self.ready, 120):
            log = (self.folder / "kube-apiserver.log").read_text()
            raise RuntimeError(f"kube-apiserver is not ready:\n{log[-4000:]}")
        Program("kube-controller-manager", self.folder, self.programs / "kube-controller-manager",
                f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}", f"--service-account-private-key-file={key}",
                f"--root-ca-file={self.authority}", "--controllers=*,-node-lifecycle-controller")

    def ready(self):
        try:
            return self.authority.exists() and self.ask("GET", "/readyz").status == 200
        except OSError:
            return False

    def install_kserve(self):
        """KServe's CRDs, configuration and controller, its webhooks by address; Knative's and Istio's CRDs, which
        it looks for."""
        kserve = module("github.com/kserve/kserve", HERE / "kserve")
        knative = module("knative.dev/serving", HERE / "kserve")
        istio = module("istio.io/api", HERE / "kserve")
        self.apply(output_of(self.programs / "kubectl", "kustomize", kserve / "config/crd"))
        for path in sorted((knative / "config/core/300-resources").glob("*.yaml")):
            self.apply(path.read_text())
        self.apply("\n---\n".join(document for document in (
            istio / "kubernetes/customresourcedefinitions.gen.yaml").read_text().split("\n---\n")
            if "name: virtualservices." in document))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kserve"}}))
        self.apply((kserve / "config/configmap/inferenceservice.yaml").read_text(), "kserve")
        self.apply(output_of(self.programs / "kubectl", "kustomize", kserve / "config/storagecontainers"))
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "knative-serving"}}))
        self.apply((knative / "config/core/configmaps/autoscaler.yaml").read_text())
        port, certificates = free_port(), self.folder / "k8s-webhook-server/serving-certs"
        certificates.mkdir(parents=True)
        output_of("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", certificates / "tls.key", "-out",
            certificates / "tls.crt")
        Program("kserve-manager", self.folder, self.programs / "kserve-manager", "--metrics-addr=0",
                f"--webhook-port={port}", f"--health-probe-addr=127.0.0.1:{free_port()}", env=self.environment
                ).wait_for("Serving webhook server", 60)
        hooks = list(yaml.safe_load_all((kserve / "config/webhook/manifests.yaml").read_text()))
        for hook in (h for hooks_of in hooks if hooks_of for h in hooks_of["webhooks"]):
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": base64.b64encode(
                (certificates / "tls.crt").read_bytes()).decode()}
        self.apply(yaml.safe_dump_all([h for h in hooks if h]))

    def start_kubelet(self):
        threading.Thread(target=Kubelet(self).work, daemon=True).start()

    # ---- the API ----

    def connection(self):
        """One for each thread, kept."""
        if not hasattr(self.threads, "connection"):
            self.threads.connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=60, context=ssl.create_default_context(cafile=str(self.authority)))
        return self.threads.connection

    def ask(self, method, path, body=None, kind="application/json", user=None, groups=()):
        connection = self.connection()
        headers = [("Authorization", f"Bearer {self.token}"), ("Content-Type", kind), ("Accept", "application/json")]
        if user:
            headers += [("Impersonate-User", user)] + [("Impersonate-Group", group) for group in groups]
        data = json.dumps(body).encode() if body is not None else b""
        connection.putrequest(method, path)
        for name, value in headers + [("Content-Length", str(len(data)))]:
            connection.putheader(name, value)
        connection.endheaders(data)
        response = connection.getresponse()
        text = response.read()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = {"message": text.decode(errors="replace")}
        return Answer(response.status, response.headers.get_all("Warning") or [], answer)

    def list(self, path, **parameters):
        return self.ask("GET", f"{path}?{urllib.parse.urlencode(parameters)}").body.get("items", [])

    def path(self, manifest, name=True):
        """Where an object of this kind is, or objects of its kind are made."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self.kinds:
            answer = self.ask("GET", root)
            self.kinds[version] = {r["kind"]: r for r in answer.body.get("resources", []) if "/" not in r["name"]}
        resource = self.kinds[version].get(kind, {"name": kind.lower() + "s", "namespaced": True})
        namespace = manifest["metadata"].get("namespace", "default")
        middle = f"/namespaces/{namespace}" if resource["namespaced"] else ""
        return f"{root}{middle}/{resource['name']}" + (f"/{manifest['metadata']['name']}" if name else "")

    def try_apply(self, manifest, **who):
        """What `kubectl apply --server-side` would come to; nothing is kept."""
        query = "fieldManager=kubectl&force=true&fieldValidation=Strict&dryRun=All"
        return self.ask("PATCH", f"{self.path(manifest)}?{query}", manifest, APPLY, **who)

    def try_create(self, manifest, **who):
        return self.ask("POST", f"{self.path(manifest, name=False)}?fieldValidation=Strict&dryRun=All", manifest, **who)

    def may(self, user, groups, verb, resource, group="", namespace="", name=""):
        """What `kubectl auth can-i` asks; resource may be RESOURCE/SUBRESOURCE, no namespace is all of them."""
        resource, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "resource": resource, "subresource": subresource, "group": group,
                      "namespace": namespace, "name": name}
        answer = self.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes}})
        return answer.body["status"]["allowed"]

    # ---- kubectl ----

    def kubectl(self, *words, text=None):
        done = subprocess.run([str(self.programs / "kubectl"), *map(str, words)], env=self.environment, text=True,
                              capture_output=True, input=text, cwd=HERE.parents[1])
        return done

    def apply(self, text, namespace=None):
        where = [f"--namespace={namespace}"] if namespace else []
        done = self.kubectl("apply", "--server-side", "--filename=-", *where, text=text)
        if done.returncode:
            raise RuntimeError(done.stderr)


class Kubelet:
    """Says of the pods that controllers make what a scheduler and a kubelet would, if their containers did well."""
    NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}}

    def __init__(self, cluster):
        self.cluster = cluster
        cluster.ask("POST", "/api/v1/nodes", self.NODE)

    def work(self):
        while True:
            try:
                for pod in self.cluster.list("/api/v1/pods"):
                    self.see_to(pod)
            except OSError:  # the API server has ended, or is about to
                pass
            time.sleep(0.5)

    def see_to(self, pod):
        path = "/api/v1/namespaces/{namespace}/pods/{name}".format(**pod["metadata"])
        if pod["metadata"].get("deletionTimestamp"):
            self.cluster.ask("DELETE", path + "?gracePeriodSeconds=0")
        elif (pod["metadata"].get("ownerReferences") and pod["status"]["phase"] == "Pending"
              and not missing(self.cluster, pod)):
            if "nodeName" not in pod["spec"]:
                self.cluster.ask("POST", path + "/binding", {
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": "node"}})
            self.cluster.ask("PATCH", path + "/status", {"status": status_of(pod)}, "application/merge-patch+json")


def status_of(pod):
    job = any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state = {"terminated": {"exitCode": 0}} if job else {"running": {"startedAt": now}}
    return {
        "phase": "Succeeded" if job else "Running", "startTime": now, "podIP": "192.0.2.1",
        "podIPs": [{"ip": "192.0.2.1"}],
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in (
            "PodScheduled", "Initialized", "ContainersReady", "Ready")],
        "containerStatuses": [{"name": c["name"], "image": c["image"], "imageID": c["image"], "ready": not job,
                               "restartCount": 0, "state": state} for c in pod["spec"]["containers"]]}


def missing(cluster, pod):
    """The ConfigMaps, Secrets and claims, with their keys, that the pod waits for."""
    namespace, found = pod["metadata"]["namespace"], []

    def look(kind, name, keys, optional):
        answer = cluster.ask("GET", f"/api/v1/namespaces/{namespace}/{kind}/{name}")
        if optional:
            return
        held = {**answer.body.get("data", {}), **answer.body.get("binaryData", {})} if answer.good else {}
        found.extend([f"{kind}/{name}"] if not answer.good else
                     [f"{kind}/{name}:{key}" for key in keys if key not in held])

    def sources(volume):
        return [volume, *volume.get("projected", {}).get("sources", [])]

    for source in (s for volume in pod["spec"].get("volumes", []) for s in sources(volume)):
        if claim := source.get("persistentVolumeClaim"):
            look("persistentvolumeclaims", claim["claimName"], [], False)
        for field, kind, name in (("secret", "secrets", "secretName"), ("configMap", "configmaps", "name")):
            if what := source.get(field):
                look(kind, what.get(name) or what["name"], [item["key"] for item in what.get("items", [])],
                     what.get("optional"))
    for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
        for value in (variable.get("valueFrom", {}) for variable in container.get("env", [])):
            for field, kind in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
                if what := value.get(field):
                    look(kind, what["name"], [what["key"]], what.get("optional"))
    return found
