"""Reads an OCI archive, as buildah, skopeo and docker (25 or newer) write it. Every blob's digest is checked.

Not a general reader: an image whose layers take files away again is refused, ours does not.
"""
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field


@dataclass
class Image:
    digest: str  # of the manifest: sha256:...
    name: str  # as it was tagged, or ""
    config: dict  # the image configuration: architecture, created, config
    compressed: int  # bytes of the layers as they are in the archive
    layers: list = field(repr=False)  # bytes, tar or compressed tar, lowest first


def read(archive):
    with tarfile.open(archive) as tar:

        def blob(descriptor):
            algorithm, _, hexdigest = descriptor["digest"].partition(":")
            data = tar.extractfile(f"blobs/{algorithm}/{hexdigest}").read()
            if algorithm != "sha256" or hashlib.sha256(data).hexdigest() != hexdigest:
                raise ValueError(f"{archive}: {descriptor['digest']}: expected content of that digest")
            return data

        try:
            index = json.load(tar.extractfile("index.json"))
        except KeyError:
            raise ValueError(f"{archive}: expected an OCI archive, with an index.json") from None
        descriptor = index["manifests"][0]
        name = descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
        manifest = json.loads(blob(descriptor))
        while "manifests" in manifest:  # docker's attestations are of the platform unknown/unknown
            descriptor = next(m for m in manifest["manifests"] if m.get("platform", {}).get("os") != "unknown")
            manifest = json.loads(blob(descriptor))
        layers = [blob(layer) for layer in manifest["layers"]]
        return Image(descriptor["digest"], name, json.loads(blob(manifest["config"])),
                     sum(map(len, layers)), layers)


def unpack(image, folder):
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for member in tar:
                if os.path.basename(member.name).startswith(".wh."):
                    raise ValueError(f"{member.name}: expected layers that only add files")
                tar.extract(member, folder)
