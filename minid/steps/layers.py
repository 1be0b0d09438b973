"""Write the layers of an image: a tar, bit for bit the same for the same entries, and its gzip.

gzip has no canonical form, so the identity of a layer is the digest of its tar (the diff ID); the
compressor is pinned: zlib at level 9, no name, mtime 0. What was used is part of the record.
"""

from __future__ import annotations

from collections.abc import Iterable

from minid.formats.digest import digest_of_json
from minid.formats.gzip_stream import COMPRESSION, gzip_chunks
from minid.model import Entry, Layer, Tree
from minid.store.blobs import Blobs
from minid.store.contents import Read, store_tree


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
