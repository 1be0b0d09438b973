"""The bytes of a tree's files: reading them from the store, and writing a tree as one tar blob."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from minid.formats.digest import Digest
from minid.formats.tar import TarWriter
from minid.model import Content, Entry, Tree
from minid.store.blobs import Blobs

Read = Callable[[Content], bytes]


def read_content(blobs: Blobs) -> Read:
    """A function that gives a file's bytes, from memory or from the store.

    StoreError where the store's bytes are missing or are not those that the tree names.
    """

    def read(content: Content) -> bytes:
        if content.data is not None:
            return content.data
        if content.blob is None:
            raise ValueError("expected content with data or a blob, got neither")
        data = blobs.read_range(content.blob, content.offset, content.size)
        if Digest.of(data) != content.digest:
            raise blobs.damaged(content.blob)
        return data

    return read


def store_tree(entries: Iterable[Entry], read: Read, blobs: Blobs) -> tuple[Digest, Tree]:
    """Write entries as one tar blob; its digest, and the entries pointing into it.

    The entries must be sorted. Every file's bytes are checked against its content's digest;
    ValueError, with nothing stored, for others.
    """
    placed: list[Entry] = []
    with blobs.receive() as sink:
        writer = TarWriter(sink.write)
        for entry in entries:
            data = read(entry.content) if entry.content else b""
            if entry.content and Digest.of(data) != entry.content.digest:
                raise ValueError(f"{entry.image_path}: expected {entry.content.digest}")
            offset = writer.add(entry, (data,) if data else ())
            content = entry.content and replace(entry.content, offset=offset, data=None)
            placed.append(replace(entry, content=content))
        writer.close()
        digest = sink.commit()
    return digest, Tree(
        tuple(
            replace(entry, content=replace(entry.content, blob=digest)) if entry.content else entry
            for entry in placed
        )
    )


def write_tar_file(path: Path, entries: Iterable[Entry], read: Read) -> Digest:
    """Write entries, which must be sorted, as one tar beside the store; its digest."""
    import hashlib

    running = hashlib.sha256()
    with path.open("wb") as file:

        def write(chunk: bytes) -> None:
            running.update(chunk)
            file.write(chunk)

        writer = TarWriter(write)
        for entry in entries:
            writer.add(entry, (read(entry.content),) if entry.content else ())
        writer.close()
    return Digest(running.hexdigest())
