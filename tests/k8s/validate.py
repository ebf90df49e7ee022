#!/usr/bin/env python3
"""Checks manifests as an API server with KServe installed would, without one.

    validate.py <KServe's source> <rendered>

<rendered> is what render.sh wrote. Every object strictly: KServe's kinds against its CRDs, the others against
Kubernetes' own schemas. Then what no schema says: the restricted Pod Security Standard, what KServe and Knative
make of ports, names and modes, and that an overlay stays in its namespace and gives nobody too much. Last,
deliberate mistakes in the same manifests, each of which must be refused.
"""
import copy
import glob
import pathlib
import re
import sys

import kubernetes_validate
import yaml

import schema

KUBERNETES = "1.37"
QUANTITY = re.compile(r"^[+-]?\d+(\.\d*)?([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$")
MODE = "serving.kserve.io/deploymentMode"
# What KServe 0.20 puts on a predictor's pods, beside the InferenceService's own labels.
POD_LABELS = {"serving.kserve.io/inferenceservice": "california-housing", "component": "predictor"}
FENCES = {"default-deny", "dns", "prometheus", "gateway"}


def read(path):
    return [document for document in yaml.safe_load_all(pathlib.Path(path).read_text("utf-8")) if document]


# ---- any object ----


def check_schema(manifest, crds, errors):
    key = (manifest.get("apiVersion"), manifest.get("kind"))
    if key in crds:
        schema.check(manifest, crds[key], "", errors)
        return
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        errors.append(f"{key}: no such kind")
    except kubernetes_validate.ValidationError as error:
        errors.append(f"{'.'.join(map(str, error.path))}: {error.message}")


def pod_of(manifest):
    """The pod spec inside, or None."""
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    if manifest["kind"] == "InferenceService":
        return spec.get("predictor")
    if manifest["kind"] == "ServingRuntime":
        return spec
    return spec.get("template", {}).get("spec")


def check_security(pod, errors):
    """pod-security.kubernetes.io/enforce: restricted"""
    outer = pod.get("securityContext", {})
    for container in pod.get("containers", []) + pod.get("initContainers", []):
        path, inner = f"{container.get('name')}.securityContext", container.get("securityContext", {})
        if inner.get("allowPrivilegeEscalation") is not False:
            errors.append(f"{path}.allowPrivilegeEscalation: expected false")
        if inner.get("capabilities", {}).get("drop") != ["ALL"] or inner["capabilities"].get("add"):
            errors.append(f"{path}.capabilities: expected drop [ALL] and no add")
        if inner.get("runAsNonRoot", outer.get("runAsNonRoot")) is not True:
            errors.append(f"{path}.runAsNonRoot: expected true")
        profile = inner.get("seccompProfile", outer.get("seccompProfile", {}))
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            errors.append(f"{path}.seccompProfile: expected RuntimeDefault")
        if inner.get("privileged") or inner.get("runAsUser", outer.get("runAsUser", 1)) == 0:
            errors.append(f"{path}: expected neither privileges nor root")
        if inner.get("readOnlyRootFilesystem") is not True:
            errors.append(f"{path}.readOnlyRootFilesystem: expected true")
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if "host" in container.get(probe, {}).get("httpGet", {}):
                errors.append(f"{probe}: expected httpGet without host")
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            errors.append(f"volumes.{volume.get('name')}: expected no hostPath")


# ---- what KServe and Knative make of it ----


def check_container(container, knative, errors):
    if container is None:
        errors.append("containers: expected one that is called kserve-container")
        return
    ports = container.get("ports", [])
    if [p.get("containerPort") for p in ports] != ([8080] if knative else [8080, 8000]) or ports[0].get("name") != "http1":
        errors.append("ports: expected 8080 first, as http1, then 8000 unless Knative")
    names = [p.get("name") for p in ports]
    if None in names or len(set(names)) != len(names):
        errors.append("ports: expected a name for each, or the Service is refused")
    for probe in ("readinessProbe", "livenessProbe"):
        if container.get(probe, {}).get("httpGet", {}).get("port") not in [p.get("containerPort") for p in ports]:
            errors.append(f"{probe}: expected httpGet of a port of the container")
    for kind in ("requests", "limits"):
        for name in ("cpu", "memory"):
            quantity = str(container.get("resources", {}).get(kind, {}).get(name, ""))
            if not QUANTITY.match(quantity):
                errors.append(f"resources.{kind}.{name}: expected a quantity, got {quantity!r}")


def check_knative(pod, errors):
    """What Knative Serving refuses while its feature flags are off."""
    for key in ("affinity", "securityContext", "nodeSelector", "tolerations", "initContainers"):
        if key in pod:
            errors.append(f"{key}: Knative takes none")
    for env in (env for container in pod.get("containers", []) for env in container.get("env", [])):
        if "fieldRef" in env.get("valueFrom", {}):
            errors.append(f"env.{env.get('name')}: Knative takes no Downward API")
    for volume in pod.get("volumes", []):
        if not {"secret", "configMap", "projected", "emptyDir"} & set(volume):
            errors.append(f"volumes.{volume.get('name')}: Knative takes no claim")


def check_kserve(manifest, errors):
    pod = pod_of(manifest)
    knative = False
    if manifest["kind"] == "InferenceService":
        annotations = manifest["metadata"].get("annotations", {})
        knative = annotations.get(MODE) == "Knative"
        if annotations.get(MODE) not in ("Standard", "Knative"):
            errors.append(f"deploymentMode: expected Standard or Knative, got {annotations.get(MODE)!r}")
        if not knative and annotations.get("serving.kserve.io/autoscalerClass") != "none":
            errors.append("autoscalerClass: expected none")
        for key in ("enableServiceLinks", "automountServiceAccountToken"):
            if pod.get(key) is not False:
                errors.append(f"{key}: expected false")
        if knative:
            check_knative(pod, errors)
    if "model" not in pod:
        check_container({c.get("name"): c for c in pod.get("containers", [])}.get("kserve-container"), knative, errors)
    for model_format in manifest["spec"].get("supportedModelFormats", []):
        if model_format.get("autoSelect") is not False:
            errors.append("supportedModelFormats: expected autoSelect false")


def check_object(manifest, crds):
    errors = []
    check_schema(manifest, crds, errors)
    pod = pod_of(manifest)
    if pod:
        check_security(pod, errors)
    if manifest.get("kind") == "Namespace":
        for mode in ("enforce", "audit", "warn"):
            if manifest["metadata"].get("labels", {}).get(f"pod-security.kubernetes.io/{mode}") != "restricted":
                errors.append(f"expected pod-security {mode} restricted")
    if pod and manifest["kind"] in ("InferenceService", "ServingRuntime"):
        check_kserve(manifest, errors)
    where = f"{manifest.get('kind')} {manifest.get('metadata', {}).get('name')}"
    return [f"{where}: {error}" for error in errors]


# ---- an overlay as a whole ----


def check_namespace(tenant, user, errors):
    namespaces = [m["metadata"] for m in tenant if m["kind"] == "Namespace"]
    if [n["name"] for n in namespaces] != [f"kubeflow-{user}"]:
        errors.append(f"expected the namespace kubeflow-{user} and no other")
    for manifest in tenant:
        if manifest["kind"] != "Namespace" and manifest["metadata"].get("namespace") != f"kubeflow-{user}":
            errors.append(f"{manifest['kind']} {manifest['metadata']['name']}: expected namespace kubeflow-{user}")


def check_rights(tenant, user, errors):
    given = {}
    for manifest in tenant:
        name = manifest["metadata"]["name"]
        if manifest["kind"].startswith("Cluster"):
            errors.append(f"{manifest['kind']} {name}: expected no rights beyond the namespace")
        for rule in manifest.get("rules", []):
            if "*" in rule["verbs"] + rule["resources"] + rule["apiGroups"]:
                errors.append(f"Role {name}: expected no *")
            if {"secrets", "pods/exec", "pods/attach"} & set(rule["resources"]):
                errors.append(f"Role {name}: expected neither Secrets nor a shell")
            if {"pods", "deployments"} & set(rule["resources"]) and not set(rule["verbs"]) <= {"get", "list", "watch"}:
                errors.append(f"Role {name}: expected pods to be looked at only")
        if manifest["kind"] == "RoleBinding":
            given[name] = [(s["kind"], s["name"], s.get("namespace")) for s in manifest["subjects"]]
    if given != {
        "ridged-user": [("Group", f"kubeflow-{user}", None)],
        "ridged-deployer": [("Group", "ridged-deployers", None)],
        "prometheus-discovery": [("ServiceAccount", "prometheus", "monitoring")],
    }:
        errors.append(f"RoleBindings: not the three expected: {given}")


def check_tenant(tenant, user):
    errors = []
    check_namespace(tenant, user, errors)
    check_rights(tenant, user, errors)
    services = [m for m in tenant if m["kind"] == "InferenceService"]
    labels = {**services[0]["metadata"].get("labels", {}), **POD_LABELS} if services else {}
    if labels.get("user-id") != user:
        errors.append(f"InferenceService: expected the label user-id {user}")
    budgets = [m["spec"] for m in tenant if m["kind"] == "PodDisruptionBudget"]
    if [b.get("maxUnavailable") for b in budgets] != [1]:
        errors.append("PodDisruptionBudget: expected one, of maxUnavailable 1")
    selectors = [b.get("selector", {}) for b in budgets]
    selectors += [m["spec"].get("podSelector", {}) for m in tenant if m["kind"] == "NetworkPolicy"]
    if not all(selector.get("matchLabels", {}).items() <= labels.items() for selector in selectors):
        errors.append("PodDisruptionBudget, NetworkPolicy: expected selectors that match the pods")
    if {m["metadata"]["name"] for m in tenant if m["kind"] == "NetworkPolicy"} != FENCES:
        errors.append(f"NetworkPolicies: expected {sorted(FENCES)}")
    if any(m["kind"] == "Secret" for m in tenant):
        errors.append("Secret: expected none in an overlay")
    return errors


# ---- mistakes ----

# What is changed, and a word of the complaint. A change is code on a tenant's objects by kind or name, `at`, and
# the pod and container of the object that is named first.
CONTAINER = [
    ("c['port'] = []", "unknown key"),
    ("c['ports'][0]['containerPort'] = '8080'", "expected integer"),
    ("c['ports'][0]['containerPort'] = True", "expected integer"),
    ("del c['ports'][0]['containerPort']", "missing"),
    ("del c['ports'][0]['name']", "a name for each"),
    ("c['ports'][0]['name'] = 'h2c'", "http1"),
    ("c['env'][0].pop('name')", "missing"),
    ("c['args'] = 'text'", "expected array"),
    ("c['readinessProbe']['httpGet'].pop('port')", "of a port"),
    ("c['readinessProbe']['httpGet']['host'] = 'x'", "without host"),
    ("c['readinessProbe']['periodSeconds'] = 0.5", "expected integer"),
    ("c.pop('livenessProbe')", "livenessProbe"),
    ("c['resources']['limits']['memory'] = '512 MB'", "memory"),
    ("c['resources'].pop('requests')", "requests"),
    ("c['securityContext']['allowPrivilegeEscalation'] = True", "allowPrivilegeEscalation"),
    ("c['securityContext']['capabilities']['add'] = ['NET_ADMIN']", "capabilities"),
    ("c['securityContext'].pop('readOnlyRootFilesystem')", "readOnlyRootFilesystem"),
    ("c['securityContext']['runAsUser'] = 0", "root"),
    ("c['securityContext']['runAsNonRoot'] = False", "runAsNonRoot"),
    ("c['securityContext']['seccompProfile'] = {'type': 'Unconfined'}", "seccompProfile"),
    ("c['name'] = 'main'", "kserve-container"),
]
SERVICE = [
    ("at['InferenceService']['apiVersion'] = 'serving.kserve.io/v1'", "no such kind"),
    ("at['InferenceService']['spek'] = {}", "unknown key"),
    ("at['InferenceService']['metadata']['annotations'][MODE] = 'RawDeployment'", "Standard"),
    ("at['InferenceService']['spec']['canary'] = [{'trafficPercent': 110}]", "out of range"),
    ("pod['minReplica'] = 1", "unknown key"),
    ("pod.pop('enableServiceLinks')", "enableServiceLinks"),
    ("pod['scaleMetric'] = 'requests'", "scaleMetric"),
]
FENCE = [
    ("at['Namespace']['metadata']['name'] = 'kubeflow-user02'", "kubeflow-user01 and no other"),
    ("at['Namespace']['metadata']['labels']['pod-security.kubernetes.io/enforce'] = 'baseline'", "restricted"),
    ("at['PersistentVolumeClaim']['metadata']['namespace'] = 'kubeflow-user02'", "expected namespace"),
    ("at['PersistentVolumeClaim']['spec']['resources']['request'] = {}", "request"),
    ("at['PodDisruptionBudget']['spec'].pop('maxUnavailable')", "maxUnavailable"),
    ("at['PodDisruptionBudget']['spec']['selector']['matchLabels']['component'] = 'x'", "match the pods"),
    ("at['PodDisruptionBudget']['spec']['maxUnavailble'] = 1", "maxUnavailble"),
    ("at['InferenceService']['metadata']['labels']['user-id'] = 'user02'", "user-id user01"),
    ("at['gateway']['spec']['ingres'] = []", "ingres"),
    ("at['gateway']['spec']['ingress'][0]['ports'][0]['port'] = 8080.5", "8080.5"),
    ("at['gateway']['spec']['podSelector']['matchLabels']['component'] = 'x'", "match the pods"),
    ("tenant.remove(at['default-deny'])", "expected ['default-deny'"),
    ("tenant.append({'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'x'}})", "Secret: expected none"),
    ("at['ridged-user']['subjects'][0]['name'] = 'kubeflow-user02'", "RoleBindings"),
    ("at['prometheus-discovery']['subjects'].pop()", "RoleBindings"),
    ("at['Role']['rules'][0]['resources'].append('secrets')", "Secrets"),
    ("at['Role']['rules'][0]['verbs'].append('*')", "no *"),
    ("at['Role']['rules'].append({'apiGroups': [''], 'resources': ['pods'], 'verbs': ['create']})", "looked at only"),
    ("at['Role']['kind'] = 'ClusterRole'", "beyond the namespace"),
    ("at['Role']['rules'][0]['verb'] = ['get']", "verb"),
]
MISTAKES = {
    "standard": ["InferenceService", CONTAINER + SERVICE + FENCE + [
        ("c['ports'].reverse()", "8080 first"),
        ("pod['securityContext']['runAsNonRoot'] = False", "runAsNonRoot"),
        ("at['InferenceService']['metadata']['annotations'].pop('serving.kserve.io/autoscalerClass')", "autoscalerClass"),
    ]],
    "knative": ["InferenceService", CONTAINER + SERVICE + [
        ("c['ports'].append({'containerPort': 8000, 'name': 'metrics', 'protocol': 'TCP'})", "unless Knative"),
        ("c['env'][0] = {'name': 'X', 'valueFrom': {'fieldRef': {'fieldPath': 'metadata.name'}}}", "Downward API"),
        ("pod['volumes'][0] = {'name': 'x', 'persistentVolumeClaim': {'claimName': 'x'}}", "no claim"),
        ("pod['securityContext'] = {'fsGroup': 1000}", "securityContext: Knative"),
    ]],
    "runtime": ["ServingRuntime", CONTAINER + [
        ("c['ports'].reverse()", "8080 first"),
        ("at['ServingRuntime']['spec']['supportedModelFormats'][0]['autoSelect'] = True", "autoSelect"),
        ("at['ServingRuntime']['spec']['supportedModelFormats'][0].pop('name')", "missing"),
        ("at['ServingRuntime']['spec'].pop('containers')", "missing"),
        ("at['InferenceService']['spec']['predictor']['model']['modelFormat']['name'] = 7", "expected string"),
        ("at['InferenceService']['spec']['predictor']['model']['storageUrl'] = 'x'", "unknown key"),
    ]],
}


def validate_tenant(tenant, user, crds, valid=()):
    objects = [manifest for manifest in tenant if manifest not in valid]
    return [error for manifest in objects for error in check_object(manifest, crds)] + check_tenant(tenant, user)


def make_mistakes(variant, tenant, crds):
    """How many went unnoticed in user01's overlay."""
    kind, mistakes = MISTAKES[variant]
    unnoticed = 0
    for change, word in mistakes:
        wrong = copy.deepcopy(tenant)
        at = {key: m for m in wrong for key in (m["metadata"]["name"], m["kind"])}
        pod = pod_of(at[kind])
        exec(change, {"MODE": MODE, "tenant": wrong, "at": at, "pod": pod, "c": pod["containers"][0]})
        errors = validate_tenant(wrong, "user01", crds, tenant)
        if not any(word in error for error in errors):
            print(f"{variant}: {change}: expected a complaint about {word!r}, got {errors}")
            unnoticed += 1
    print(f"{variant}: {len(mistakes) - unnoticed} of {len(mistakes)} mistakes refused")
    return unnoticed


# ---- everything ----


def check_initializer(kserve, crds):
    """KServe's storage initializer with our patch, as `kubectl patch --type merge` puts it together."""
    container = read(kserve / "config/storagecontainers/default.yaml")[0]
    container["spec"]["container"].update(read("k8s/runtime/storage-initializer.yaml")[0]["spec"]["container"])
    errors = check_object(container, crds)
    check_security({"containers": [container["spec"]["container"]]}, errors)
    return [error for error in errors if "readOnlyRootFilesystem" not in error]  # it writes, and restricted lets it


def main():
    kserve, rendered = pathlib.Path(sys.argv[1]), sys.argv[2]
    crds = schema.read_crds(str(kserve / "config/crd/full"))
    users = pathlib.Path("k8s/users").read_text("utf-8").split()
    errors = check_initializer(kserve, crds)
    for variant in MISTAKES:
        for user in users:
            found = validate_tenant(read(f"{rendered}/{variant}/{user}.yaml"), user, crds)
            errors += [f"{variant}/{user}: {error}" for error in found]
        if not errors:
            errors += ["unnoticed"] * make_mistakes(variant, read(f"{rendered}/{variant}/user01.yaml"), crds)
    for path in [f"{rendered}/monitoring.yaml", *sorted(glob.glob("k8s/training/*.yaml"))]:
        errors += [f"{path}: {error}" for m in read(path) for error in check_object(m, crds)]
    print("\n".join(errors) or f"{len(MISTAKES)} x {len(users)} overlays are valid, so are monitoring and training")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
