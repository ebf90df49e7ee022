"""Strict checks of an object against the structural schema of a CRD: an unknown key is an error."""
import glob
import re

import yaml

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


def read_crds(folder):
    """Schemas by (apiVersion, kind), for whole objects; metadata is the API server's affair."""
    schemas = {}
    names = "/serving.kserve.io_*.yaml"
    for path in glob.glob(folder + names) + glob.glob(folder + "/clusterstoragecontainer" + names):
        with open(path, encoding="utf-8") as file:
            crd = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in crd["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
            schemas[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = schema
    return schemas
