"""What the stand-ins share: a registry and a cluster that are folders.

STACK_REGISTRY/DIGEST/        an image: model.json, the artifact that was baked in; signature, once signed
STACK_CLUSTER/NAMESPACE/      a namespace: image, the one that is deployed; model.json, which its ridged watches;
                              url, where that ridged answers predictions, written by whoever started it;
                              applied/NNN.yaml, the kustomizations that were applied
"""
import hashlib
import json
import os
import pathlib
import re
import sys
import urllib.request


def die(text):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name} (stand-in): {text}")


def folder(variable):
    path = os.environ.get(variable)
    if not path:
        die(f"{variable}: expected a folder")
    return pathlib.Path(path)


def replace(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_bytes(data)
    new.replace(path)


def image_folder(image):
    """The folder of an image that is named by its digest and is there."""
    match = re.fullmatch(r"[A-Za-z0-9./:_-]+@sha256:([0-9a-f]{64})", image)
    if not match:
        die(f"{image}: expected NAME@sha256:DIGEST")
    path = folder("STACK_REGISTRY") / match[1]
    if not path.is_dir():
        die(f"{image}: not found")
    return path


def bake(artifact, files=b""):
    """Makes an image of an artifact and whatever else is in it; returns its digest."""
    digest = hashlib.sha256(files + hashlib.sha256(artifact).digest()).hexdigest()
    replace(folder("STACK_REGISTRY") / digest / "model.json", artifact)
    return f"sha256:{digest}"


def deploy(namespace, image):
    """What the kubelet does at the end of a rollout: the pod has the image's artifact."""
    artifact = (image_folder(image) / "model.json").read_bytes()
    replace(folder("STACK_CLUSTER") / namespace / "model.json", artifact)
    replace(folder("STACK_CLUSTER") / namespace / "image", image.encode())


def serves(namespace, image):
    """Whether the namespace's ridged says that it serves the image's artifact."""
    wanted = json.loads((image_folder(image) / "model.json").read_bytes())["sha256"]
    url = folder("STACK_CLUSTER") / namespace / "url"
    try:
        with urllib.request.urlopen(url.read_text().strip() + "/metrics", timeout=5) as answer:
            return any(line.startswith("model_info{") and f'sha256="{wanted}"' in line
                       for line in answer.read().decode().splitlines())
    except OSError:
        return False


def permission(name, level):
    given = json.loads(os.environ.get("STAND_IN_PERMISSIONS", "{}")).get(name)
    if given not in (level, "write"):
        die(f"the job lacks permission {name}: {level}")
