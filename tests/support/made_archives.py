"""Archives of images, made by hand in the ways of several engines."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
Link = tuple[str, str]
"""`l` (symbolic) or `h` (hard), and the target."""
Rows = Iterable[tuple[str, bytes | Link | None]]
"""Path, and bytes, link, or None for a folder."""


def tar_of(rows: Rows) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, value in rows:
            info = tarfile.TarInfo(path)
            info.mtime = 1_700_000_000
            if isinstance(value, tuple):
                info.type = tarfile.SYMTYPE if value[0] == "l" else tarfile.LNKTYPE
                info.linkname = value[1]
                tar.addfile(info)
            elif value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return out.getvalue()


def hex_of(data: bytes) -> str:
    return sha256(data).hexdigest()


LOWER = tar_of([("etc", None), ("etc/a", b"one"), ("etc/b", b"two")])
UPPER = tar_of([("etc/.wh.a", b""), ("bin", None), ("bin/run", b"#!/bin/sh\n" * 200)])


def config_of(layers: Iterable[bytes], **more: object) -> dict[str, Any]:
    layers = list(layers)
    return {
        "os": "linux",
        "architecture": "amd64",
        "created": "2024-03-01T10:00:00Z",
        "config": {"Cmd": ["/bin/run"], "Labels": {"a": "b"}},
        "history": [{"created_by": f"step {number}"} for number, _ in enumerate(layers)],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hex_of(data)}" for data in layers]},
    } | more


@dataclass
class Oci:
    """An OCI layout in the making: change what it has, then `members()`."""

    layers: list[bytes]
    config: bytes
    manifest: bytes
    names: tuple[str, ...] = ("made:1",)
    index: bytes = b""

    @property
    def blobs(self) -> dict[str, bytes]:
        parts = [self.manifest, self.config, *self.layers]
        return {f"blobs/sha256/{hex_of(data)}": data for data in parts}

    def members(self) -> list[tuple[str, bytes]]:
        index = self.index or index_of(self.manifest, self.names)
        start = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)]
        return [*start, *self.blobs.items()]


def index_of(manifest: bytes, names: Iterable[str], **more: object) -> bytes:
    rows = [
        {
            "mediaType": f"{OCI}.manifest.v1+json",
            "digest": f"sha256:{hex_of(manifest)}",
            "size": len(manifest),
            "annotations": {"org.opencontainers.image.ref.name": name},
        }
        | more
        for name in names
    ]
    return json.dumps({"schemaVersion": 2, "manifests": rows}).encode()


def manifest_of(config: bytes, layers: Iterable[bytes], kind: str = "tar+gzip") -> bytes:
    def describe(media: str, data: bytes) -> dict[str, object]:
        return {"mediaType": media, "digest": f"sha256:{hex_of(data)}", "size": len(data)}

    value = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": describe(f"{OCI}.config.v1+json", config),
        "layers": [describe(f"{OCI}.layer.v1.{kind}", data) for data in layers],
    }
    return json.dumps(value, indent=3).encode()


def oci(
    layers: Iterable[bytes] = (LOWER, UPPER),
    pack: Callable[[bytes], bytes] = lambda data: gzip.compress(data, 1, mtime=0),
    **config: object,
) -> Oci:
    """Whole and sound; as others write it: other white space, another compression than minid's."""
    layers = list(layers)
    packed = [pack(data) for data in layers]
    data = json.dumps(config_of(layers, **config), indent=1).encode()
    return Oci(packed, data, manifest_of(data, packed))


def docker_old(
    layers: Iterable[bytes] = (LOWER, UPPER),
    names: tuple[str, ...] = ("made:1",),
    config: Mapping[str, object] | None = None,
) -> list[tuple[str, bytes | Link | None]]:
    """As `docker save` did it before 25: a folder a layer, equal layers as links, the list last."""
    layers = list(layers)
    data = json.dumps(config or config_of(layers)).encode()
    rows: list[tuple[str, bytes | Link | None]] = [(f"{hex_of(data)}.json", data)]
    first: dict[bytes, str] = {}
    for number, layer in enumerate(layers):
        folder = f"{number:064x}"
        rows += [(f"{folder}/", None), (f"{folder}/VERSION", b"1.0"), (f"{folder}/json", b"{}")]
        known = first.setdefault(layer, folder)
        link: bytes | Link = layer if known == folder else ("l", f"../{known}/layer.tar")
        rows.append((f"{folder}/layer.tar", link))
    row = {
        "Config": rows[0][0],
        "RepoTags": list(names) or None,
        "Layers": [f"{number:064x}/layer.tar" for number in range(len(layers))],
    }
    return [*rows, ("manifest.json", json.dumps([row]).encode()), ("repositories", b"{}")]
