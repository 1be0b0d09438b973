"""Image configuration, manifest and index as the OCI image specification 1.1 words them.

Pure: values in, JSON bytes out. The bytes are canonical JSON, so equal values give equal digests.
docs/reference/image.md says where each field comes from.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minid.formats.digest import Digest, canonical_json
from minid.model import Layer

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"

# Machine names of the kernel → GOARCH, as the specification wants `architecture`.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to a blob: its media type, digest and size."""

    media_type: str
    digest: Digest
    size: int

    def as_json(self) -> dict[str, object]:
        """The descriptor as the specification writes it."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}


@dataclass(frozen=True, slots=True)
class History:
    """One line of `docker history`. `empty` entries have no layer.

    `created` is a time as the specification writes it; empty means the image's own.
    """

    created_by: str
    comment: str = ""
    empty: bool = False
    author: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The part of a configuration that a runtime acts on."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""

    def as_json(self) -> dict[str, object]:
        """The `config` object, without labels; empty fields are left out."""
        fields: dict[str, object] = {
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "User": self.user,
            "WorkingDir": self.workdir,
            "ExposedPorts": {port: {} for port in self.expose},
            "Volumes": {path: {} for path in self.volumes},
            "StopSignal": self.stop_signal,
        }
        return {key: value for key, value in fields.items() if value}


def architecture_of(machine: str) -> str:
    """GOARCH for a kernel's machine name (`uname -m`); unknown names pass through."""
    return _ARCHITECTURES.get(machine, machine)


def rfc3339(seconds: int) -> str:
    """Seconds since the epoch as the specification writes times: `2025-02-05T11:06:32Z`."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def dump_config(
    run: RunConfig,
    *,
    layers: Sequence[Layer],
    history: Sequence[History],
    labels: Mapping[str, str],
    created: int,
    architecture: str,
    author: str,
    comment: str,
) -> bytes:
    """The image configuration's bytes.

    `history` must have exactly one entry that is not empty per layer, in the order of the layers:
    engines refuse an image with more. `comment` stands at the top, where Docker shows it, and in
    the last history entry, where Docker with the containerd store looks.
    """
    filled = [entry for entry in history if not entry.empty]
    if len(filled) != len(layers):
        raise ValueError(f"expected {len(layers)} history entries with a layer, got {len(filled)}")
    moment = rfc3339(created)
    lines = [_history_json(entry, moment) for entry in history]
    if comment and lines:
        lines[-1]["comment"] = comment
    value: dict[str, object] = {
        "created": moment,
        "architecture": architecture,
        "os": "linux",
        "config": run.as_json() | ({"Labels": dict(labels)} if labels else {}),
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": lines,
    }
    if author:
        value["author"] = author
    if comment:
        value["comment"] = comment
    return canonical_json(value)


def _history_json(entry: History, moment: str) -> dict[str, object]:
    line: dict[str, object] = {
        "created": entry.created or moment,
        "created_by": entry.created_by,
    }
    if entry.comment:
        line["comment"] = entry.comment
    if entry.empty:
        line["empty_layer"] = True
    if entry.author:
        line["author"] = entry.author
    return line


def dump_manifest(config: Descriptor, layers: Sequence[Layer]) -> bytes:
    """The manifest's bytes."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.as_json(),
            "layers": [
                Descriptor(LAYER_TYPE, layer.digest, layer.size).as_json() for layer in layers
            ],
        }
    )


def normalise_name(name: str) -> str:
    """`nginx:1.26.3` → `docker.io/library/nginx:1.26.3`, as containerd names images."""
    repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
    first = repository.split("/")[0]
    if "/" in repository and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if "/" in repository else f"docker.io/library/{name}"


def dump_index(manifests: Sequence[tuple[str, Descriptor]], architecture: str) -> bytes:
    """An `index.json` that names each manifest: `(tag name, descriptor)`, in the order given."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [
                descriptor.as_json()
                | {
                    "platform": {"architecture": architecture, "os": "linux"},
                    "annotations": {
                        "io.containerd.image.name": normalise_name(name),
                        "org.opencontainers.image.ref.name": name,
                    },
                }
                for name, descriptor in manifests
            ],
        }
    )


LAYOUT_FILE = canonical_json({"imageLayoutVersion": "1.0.0"})
