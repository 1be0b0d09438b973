"""Write the layers of an image: a tar, bit for bit the same for the same entries, and its gzip.

gzip has no canonical form, so the identity of a layer is the digest of its tar (the diff ID); the
compressor is pinned: zlib at level 9, no name, mtime 0. What was used is part of the record.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from minid.formats.digest import Digest, digest_of_json
from minid.formats.tar import TarWriter
from minid.formats.tree import path_key
from minid.model import Content, Entry, Layer, Tree
from minid.store.blobs import Blobs

COMPRESSION = f"zlib {zlib.ZLIB_RUNTIME_VERSION} level 9"
Read = Callable[[Content], bytes]


def read_content(blobs: Blobs) -> Read:
    """A function that gives a file's bytes, from memory or from the store."""

    def read(content: Content) -> bytes:
        if content.data is not None:
            return content.data
        if content.blob is None:
            raise ValueError("expected content with data or a blob, got neither")
        return blobs.read_range(content.blob, content.offset, content.size)

    return read


def gzip_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 1952 with a fixed header: deflate, no name, mtime 0, maximum compression, unknown OS."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    checksum = size = 0
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    for chunk in chunks:
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        yield compressor.compress(chunk)
    yield compressor.flush()
    yield checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def store_tree(entries: Iterable[Entry], read: Read, blobs: Blobs) -> tuple[Digest, Tree]:
    """Write entries as one tar blob; its digest, and the entries pointing into it.

    The entries must be sorted. Every file's bytes are checked against its content's digest.
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


def layer_key(entries: Iterable[Entry]) -> str:
    """The key of a layer: what its entries are, wherever their bytes lie, and the compressor."""
    facts = [
        (e.image_path, e.kind, e.mode, e.mtime, e.uid, e.gid, e.target)
        + ((e.content.digest.hex,) if e.content else ())
        + tuple((name, value.hex()) for name, value in e.xattrs)
        for e in entries
    ]
    return digest_of_json({"stage": "layer", "compression": COMPRESSION, "entries": facts}).hex


def write_layer(
    entries: tuple[Entry, ...], read: Read, blobs: Blobs, *, created_by: str, comment: str = ""
) -> tuple[Layer, Tree]:
    """Store the tar and the gzip of a layer; the layer, and its entries pointing into the tar."""
    diff_id, tree = store_tree(entries, read, blobs)
    digest = blobs.add(gzip_chunks(blobs.iterate(diff_id)))
    return (
        Layer(
            diff_id=diff_id,
            digest=digest,
            size=blobs.size(digest),
            unpacked_size=sum(entry.content.size for entry in entries if entry.content),
            created_by=created_by,
            comment=comment,
        ),
        tree,
    )


def overlay_trees(*trees: Tree) -> Tree:
    """What the layers show together, a later one in front of an earlier one."""
    entries = {entry.image_path: entry for tree in trees for entry in tree.entries}
    return Tree(tuple(sorted(entries.values(), key=lambda entry: path_key(entry.image_path))))
