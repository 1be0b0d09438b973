"""The hybrid archive: one tar that is an OCI layout and a `docker save` archive at once.

`oci-layout`, `index.json` and `blobs/sha256/*` for readers of the OCI layout; `manifest.json`,
whose Config and Layers point at the same blobs, for `docker load` since 1.10 and `podman load`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from minid.formats.digest import Digest, canonical_json
from minid.formats.oci import LAYOUT_FILE, MANIFEST_TYPE, Descriptor, dump_index
from minid.formats.tar import BLOCK, TarWriter
from minid.model import Content, Entry, Image


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: inline bytes, or a blob of the store."""

    path: str
    size: int
    data: bytes | None = None
    blob: Digest | None = None


def _blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


@dataclass(frozen=True, slots=True)
class Packed:
    """An image on its way into an archive: the names it has there, and the sizes of its blobs."""

    image: Image
    names: tuple[str, ...]
    manifest_size: int
    config_size: int


def list_members(
    image: Image, *, manifest_size: int, config_size: int, architecture: str, names: Sequence[str]
) -> tuple[Member, ...]:
    """The files of the archive of one image in their order; see `list_all`."""
    return list_all([Packed(image, tuple(names), manifest_size, config_size)], architecture)


def list_all(images: Sequence[Packed], architecture: str) -> tuple[Member, ...]:
    """The archive's files in their order, small ones first so that a reader can stop early. What
    several images share is there once."""
    entries: list[tuple[str, Descriptor]] = []
    rows: list[dict[str, object]] = []
    small: dict[Digest, int] = {}
    layers: dict[Digest, int] = {}
    for item in images:
        image = item.image
        descriptor = Descriptor(MANIFEST_TYPE, image.manifest, item.manifest_size)
        entries += [(name, descriptor) for name in item.names]
        rows.append(
            {
                "Config": _blob_path(image.config),
                "RepoTags": list(item.names),
                "Layers": [_blob_path(layer.digest) for layer in image.layers],
            }
        )
        small |= {image.manifest: item.manifest_size, image.config: item.config_size}
        layers |= {layer.digest: layer.size for layer in image.layers}
    index, docker = dump_index(entries, architecture), canonical_json(rows)
    return (
        Member("oci-layout", len(LAYOUT_FILE), data=LAYOUT_FILE),
        Member("index.json", len(index), data=index),
        Member("manifest.json", len(docker), data=docker),
        *(Member(_blob_path(key), size, blob=key) for key, size in (small | layers).items()),
    )


def archive_size(members: Iterable[Member]) -> int:
    """The archive's size in bytes, without writing it."""
    padded = sum(BLOCK + member.size + -member.size % BLOCK for member in members)
    return padded + 2 * BLOCK + 2 * BLOCK  # two folders, two blocks at the end


def iterate_archive(
    members: Sequence[Member],
    *,
    mtime: int,
    read: Callable[[Digest], Iterable[bytes]],
) -> Iterator[bytes]:
    """The archive's bytes. `read` gives a blob's chunks and checks them."""
    pending: list[bytes] = []
    writer = TarWriter(pending.append)
    for folder in ("blobs", "blobs/sha256"):
        writer.add(Entry(folder, "directory", 0o755, mtime))
    for member in members:
        content = Content(member.blob or Digest.of(member.data or b""), member.size)
        entry = Entry(member.path, "file", 0o644, mtime, content=content)
        chunks = read(member.blob) if member.blob else [member.data or b""]
        # Hand chunks on while they come: a layer can be larger than memory.
        yield from _stream(writer, entry, chunks, pending)
    writer.close()
    yield from _drain(pending)


def _drain(pending: list[bytes]) -> Iterator[bytes]:
    yield b"".join(pending)
    pending.clear()


def _stream(
    writer: TarWriter, entry: Entry, chunks: Iterable[bytes], pending: list[bytes]
) -> Iterator[bytes]:
    writer.begin(entry)
    yield from _drain(pending)
    for chunk in chunks:
        writer.put_content(chunk)
        yield from _drain(pending)
    writer.finish()
    yield from _drain(pending)
