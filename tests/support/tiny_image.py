"""Images of one static program (tests/data/tool.c), as layer tars, for tests of containers."""

from __future__ import annotations

import gzip
import subprocess
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minid.formats.archive import iterate_archive, list_members
from minid.formats.digest import Digest, canonical_json
from minid.formats.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE
from minid.formats.tar import TarWriter
from minid.model import Content, Entry, Image, Layer, Sizes
from minid.steps.check import ImageToCheck

SOURCE = Path(__file__).parents[1] / "data" / "tool.c"
MTIME = 1700000000
TOKEN = f"minid-test-{uuid.uuid4().hex}"  # in the environment of every program of this test run
PASSWD = b"root:x:0:0::/root:/bin/false\nweb:x:100:101:Web:/srv/web:/bin/false\n"
GROUP = b"root:x:0:\nweb:x:101:\nlogs:x:102:web\n"


def compile_tool(folder: Path) -> bytes:
    """The program's bytes."""
    binary = folder / "tool"
    subprocess.run(["gcc", "-static", "-O1", "-o", str(binary), str(SOURCE)], check=True)
    subprocess.run(["strip", str(binary)], check=True)
    return binary.read_bytes()


def folder(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(path, "directory", mode, MTIME, uid, gid)


def file(path: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(path, "file", mode, MTIME, uid, gid, content=Content.inline(data))


def link(path: str, target: str) -> Entry:
    return Entry(path, "symlink", 0o777, MTIME, target=target)


def base_entries(tool: bytes) -> list[Entry]:
    """A root with the program, users, and nothing else."""
    return [
        folder(""),
        folder("bin"),
        file("bin/tool", tool, 0o755),
        folder("etc"),
        file("etc/group", GROUP),
        file("etc/passwd", PASSWD),
    ]


def layer_bytes(entries: Iterable[Entry]) -> bytes:
    """The layer's tar."""
    out: list[bytes] = []
    writer = TarWriter(out.append)
    for entry in entries:
        writer.add(entry, [entry.content.data or b""] if entry.content else [])
    writer.close()
    return b"".join(out)


def write_layer(where: Path, entries: Iterable[Entry]) -> tuple[Digest, Path]:
    """A layer as a file named by its digest."""
    data = layer_bytes(entries)
    path = where / Digest.of(data).hex
    path.write_bytes(data)
    return Digest.of(data), path


def image_to_check(
    layers: Iterable[tuple[Digest, Path]], *argv: str, **config: Any
) -> ImageToCheck:
    """An image that runs the program with these arguments."""
    settings: dict[str, Any] = {"Env": [f"TOKEN={TOKEN}"], **config}
    if argv:
        settings = {"Entrypoint": ["/bin/tool"], "Cmd": list(argv), **settings}
    return ImageToCheck("tiny", "1.2.3", settings, tuple(layers))


@dataclass(frozen=True)
class TinyArchive:
    """An image as its archive, made in memory; call it as `docker_engine` wants it called."""

    layers: tuple[bytes, ...]
    config: bytes

    @staticmethod
    def make(layers: Iterable[bytes], config: dict[str, Any]) -> TinyArchive:
        tars = tuple(layers)
        value = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in tars]},
            "history": [{"created_by": "test"} for _ in tars],
        }
        return TinyArchive(tars, canonical_json(value))

    @property
    def id(self) -> Digest:
        return Digest.of(self.config)

    @property
    def pairs(self) -> tuple[tuple[Digest, Digest], ...]:
        return tuple((Digest.of(tar), Digest.of(_gzip(tar))) for tar in self.layers)

    def __call__(self, without: Iterable[Digest] = (), names: tuple[str, ...] = ()) -> list[bytes]:
        blobs = {Digest.of(_gzip(tar)): _gzip(tar) for tar in self.layers}
        layers = [
            {"mediaType": LAYER_TYPE, "digest": str(d), "size": len(b)} for d, b in blobs.items()
        ]
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {
                    "mediaType": CONFIG_TYPE,
                    "digest": str(self.id),
                    "size": len(self.config),
                },
                "layers": layers,
            }
        )
        blobs |= {self.id: self.config, Digest.of(manifest): manifest}
        rows = tuple(
            Layer(diff, digest, len(blobs[digest]), len(tar), "test")
            for (diff, digest), tar in zip(self.pairs, self.layers, strict=True)
        )
        image = Image("tiny", "1", Digest.of(manifest), self.id, rows, Sizes(1, 1, 1), names, MTIME)
        members = list_members(
            image,
            manifest_size=len(manifest),
            config_size=len(self.config),
            architecture="amd64",
            names=names,
        )
        absent = set(without)
        kept = [member for member in members if member.blob not in absent]
        return list(iterate_archive(kept, mtime=MTIME, read=lambda digest: [blobs[digest]]))


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)
