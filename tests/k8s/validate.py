#!/usr/bin/env python3
"""Checks manifests as an API server with KServe installed would, without one.

    validate.py <folder of CRDs> <manifest>...

Strictly against the CRD's structural schema: a key that it does not know is an error. Then what no schema says:
the restricted Pod Security Standard, and what KServe makes of ports, names and modes. Last, deliberate
mistakes in the same manifests, each of which must be refused.
"""
import copy
import glob
import re
import sys

import yaml

QUANTITY = re.compile(r"^[+-]?\d+(\.\d*)?([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$")
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


def check_type(value, schema, path, errors):
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            errors.append(f"{path}: expected a number or a string")
        return
    expected = schema.get("type")
    wrong = expected and not isinstance(value, TYPES[expected])
    if wrong or (isinstance(value, bool) and expected not in (None, "boolean")):
        errors.append(f"{path}: expected {expected}, got {value!r}")


def check_scalar(value, schema, path, errors):
    if "enum" in schema and value not in schema["enum"]:
        errors.append(f"{path}: expected one of {schema['enum']}, got {value!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            errors.append(f"{path}: {value} is out of range")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        errors.append(f"{path}: {value!r} does not match {schema['pattern']}")


def check_object(value, schema, path, errors):
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
    for key in schema.get("required", []):
        if key not in value:
            errors.append(f"{path}.{key}: missing")
    for key, member in value.items():
        if key in properties:
            check(member, properties[key], f"{path}.{key}", errors)
        elif isinstance(rest, dict):
            check(member, rest, f"{path}.{key}", errors)
        elif not schema.get("x-kubernetes-preserve-unknown-fields") and rest is not True:
            errors.append(f"{path}.{key}: unknown key")


def check(value, schema, path, errors):
    if value is None and schema.get("nullable"):
        return
    check_type(value, schema, path, errors)
    check_scalar(value, schema, path, errors)
    if isinstance(value, dict):
        check_object(value, schema, path, errors)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            check(item, schema.get("items", {}), f"{path}[{i}]", errors)


def read_schemas(folder):
    """Schemas by (apiVersion, kind)."""
    schemas = {}
    for path in glob.glob(folder + "/serving.kserve.io_*.yaml"):
        with open(path, encoding="utf-8") as file:
            crd = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in crd["spec"]["versions"]:
            key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
            schemas[key] = version["schema"]["openAPIV3Schema"]
    return schemas


def pod_of(manifest):
    return manifest["spec"].get("predictor", manifest["spec"])


def check_security(pod, errors):
    """pod-security.kubernetes.io/enforce: restricted"""
    outer = pod.get("securityContext", {})
    for i, container in enumerate(pod.get("containers", [])):
        path, inner = f"containers[{i}].securityContext", container.get("securityContext", {})
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
        for probe in ("readinessProbe", "livenessProbe"):
            get = container.get(probe, {}).get("httpGet", {"host": ""})
            if "host" in get:
                errors.append(f"containers[{i}].{probe}: expected httpGet without host")
            if get.get("port") not in [port.get("containerPort") for port in container.get("ports", [])]:
                errors.append(f"containers[{i}].{probe}: expected a port of the container")


def check_kserve(manifest, errors):
    pod = pod_of(manifest)
    containers = {c.get("name"): c for c in pod.get("containers", [])}
    container = containers.get("kserve-container")
    if container is None:
        errors.append("containers: expected one that is called kserve-container")
        return
    ports = container.get("ports", [])
    if [p.get("containerPort") for p in ports] != [8080, 8000] or ports[0].get("name") != "http1":
        errors.append("ports: expected 8080 first, as http1, then 8000")
    names = [p.get("name") for p in ports]
    if None in names or len(set(names)) != len(names):
        errors.append("ports: expected a name for each, or the Service is refused")
    for kind in ("requests", "limits"):
        for name in ("cpu", "memory"):
            quantity = str(container.get("resources", {}).get(kind, {}).get(name, ""))
            if not QUANTITY.match(quantity):
                errors.append(f"resources.{kind}.{name}: expected a quantity, got {quantity!r}")
    if manifest["kind"] == "InferenceService":
        mode = manifest["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode")
        if mode != "Standard":
            errors.append(f"deploymentMode: expected Standard, got {mode!r}")
        if pod.get("enableServiceLinks") is not False:
            errors.append("enableServiceLinks: expected false")
    for model_format in manifest["spec"].get("supportedModelFormats", []):
        if model_format.get("autoSelect") is not False:
            errors.append("supportedModelFormats: expected autoSelect false")


def validate(manifest, schemas):
    key = (manifest.get("apiVersion"), manifest.get("kind"))
    if key not in schemas:
        return [f"{key}: no such kind"]
    errors = []
    schema = copy.copy(schemas[key])
    schema["properties"] = {**schema["properties"], "metadata": {"x-kubernetes-preserve-unknown-fields": True}}
    check(manifest, schema, "", errors)
    check_security(pod_of(manifest), errors)
    check_kserve(manifest, errors)
    return errors


# What is changed, and a word of the complaint. A change is code on the manifest `m`, its pod, and container.
MISTAKES = [
    ("m['apiVersion'] = 'serving.kserve.io/v1'", "no such kind"),
    ("m['spek'] = {}", "unknown key"),
    ("pod['minReplica'] = 1", "unknown key"),
    ("c['port'] = []", "unknown key"),
    ("c['ports'][0]['containerPort'] = '8080'", "expected integer"),
    ("c['ports'][0]['containerPort'] = True", "expected integer"),
    ("del c['ports'][0]['containerPort']", "missing"),
    ("c['ports'].reverse()", "8080 first"),
    ("del c['ports'][1]['name']", "a name for each"),
    ("c['ports'][0]['name'] = 'h2c'", "http1"),
    ("c['env'][0].pop('name')", "missing"),
    ("c['args'] = 'text'", "expected array"),
    ("c['readinessProbe']['httpGet'].pop('port')", "expected a port"),
    ("c['readinessProbe']['httpGet']['host'] = 'x'", "without host"),
    ("c['readinessProbe']['periodSeconds'] = 0.5", "expected integer"),
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
MISTAKES_BY_KIND = {
    "InferenceService": [
        ("m['metadata']['annotations']['serving.kserve.io/deploymentMode'] = 'RawDeployment'", "Standard"),
        ("pod.pop('enableServiceLinks')", "enableServiceLinks"),
        ("m['spec']['canary'] = [{'trafficPercent': 110}]", "out of range"),
        ("pod['scaleMetric'] = 'requests'", "scaleMetric"),
        ("pod['securityContext']['runAsNonRoot'] = False", "runAsNonRoot"),
    ],
    "ServingRuntime": [
        ("m['spec']['supportedModelFormats'][0]['autoSelect'] = True", "autoSelect"),
        ("m['spec']['supportedModelFormats'][0].pop('name')", "missing"),
        ("m['spec'].pop('containers')", "missing"),
    ],
}


def count_mistakes(manifest, schemas, path):
    failures = 0
    mistakes = MISTAKES + MISTAKES_BY_KIND[manifest["kind"]]
    for change, word in mistakes:
        wrong = copy.deepcopy(manifest)
        pod = pod_of(wrong)
        exec(change, {"m": wrong, "pod": pod, "c": pod["containers"][0]})
        errors = validate(wrong, schemas)
        if not any(word in error for error in errors):
            print(f"{path}: {change}: expected a complaint about {word!r}, got {errors}")
            failures += 1
    print(f"{path}: valid; {len(mistakes) - failures} of {len(mistakes)} mistakes refused")
    return failures


def main():
    schemas = read_schemas(sys.argv[1])
    failures = 0 if schemas else 1
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            manifests = list(yaml.safe_load_all(file))
        for manifest in manifests:
            if manifest.get("kind") == "Kustomization":
                continue
            errors = validate(manifest, schemas)
            for error in errors:
                print(f"{path}: {error}")
            failures += len(errors) if errors else count_mistakes(manifest, schemas, path)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
