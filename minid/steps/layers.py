"""Write the layers of an image: a tar, bit for bit the same for the same entries, and its gzip.

gzip has no canonical form, so the identity of a layer is the digest of its tar (the diff ID); the
compressor is pinned: zlib at level 9, no name, mtime 0, and so is where it begins anew (at large
files, and in them each MiB). What was used is part of the record.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from minid.formats.digest import Digest, digest_of_json
from minid.formats.gzip_stream import (
    COMPRESSION,
    LARGE_BYTES,
    cut_pieces,
    deflate_piece,
    gzip_pieces,
)
from minid.formats.tar_reader import TarLimits, TarReader
from minid.model import Entry, Layer, Tree
from minid.store.blobs import Blobs
from minid.store.contents import Read, store_tree

PieceKey = tuple[Digest, int]
"""A file's content, and where in it a piece begins."""
Squeezed = Mapping[PieceKey, bytes]
"""Pieces of large files that are compressed already."""

_AHEAD_BYTES = 128 << 20
_LIMITS = TarLimits(total_bytes=64 << 30, file_bytes=32 << 30, members=2_000_000)


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
    entries: tuple[Entry, ...],
    read: Read,
    blobs: Blobs,
    *,
    created_by: str,
    comment: str = "",
    squeezed: Squeezed | None = None,
) -> tuple[Layer, Tree]:
    """Store the tar and the gzip of a layer; the layer, and its entries pointing into the tar.

    `squeezed` saves compressing what it has; it changes no byte.
    """
    diff_id, tree = store_tree(entries, read, blobs)
    pieces = _cut_tar(tree, blobs.size(diff_id))
    known = squeezed or {}
    digest = blobs.add(gzip_pieces(_deflate(pieces, blobs.iterate(diff_id), known)))
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


def compress_layer(diff_id: Digest, blobs: Blobs) -> Iterator[bytes]:
    """The gzip that `write_layer` makes of a layer's tar, from the tar alone. StoreError where that
    is damaged, UnpackError where it is none."""
    return compress_tar(lambda: blobs.iterate(diff_id), blobs.size(diff_id))


def compress_tar(read: Callable[[], Iterable[bytes]], size: int) -> Iterator[bytes]:
    """As `compress_layer`, of a tar of `size` bytes that `read` gives from its beginning, twice."""
    reader = TarReader(read(), _LIMITS)
    spans = [(reader.offset, member.size) for member in reader if member.kind == "file"]
    return gzip_pieces(_deflate(_cut_spans(spans, size), read(), {}))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a tar; `key` where it belongs to a large file."""

    size: int
    key: PieceKey | None = None


def squeeze_files(entries: Iterable[Entry], read: Read) -> dict[PieceKey, bytes]:
    """Compress the large files of a payload ahead of their layer, while it waits for its base.

    Of a very large payload a part, as all of this is held in memory.
    """
    plain: dict[PieceKey, bytes] = {}
    size = 0
    for entry in entries:
        content = entry.content
        if content is None or content.size < LARGE_BYTES or size + content.size > _AHEAD_BYTES:
            continue
        size += content.size
        data = read(content)
        plain |= {
            (content.digest, offset): data[offset : offset + length]
            for offset, length in cut_pieces(content.size)
        }
    return dict(zip(plain, _deflate_all(list(plain.values())), strict=True))


def _cut_tar(tree: Tree, size: int) -> Iterator[_Piece]:
    """The pieces of a tar of `size` bytes, in their order: large files and what lies between."""
    position = 0
    for entry in tree.entries:
        content = entry.content
        if content is None or content.size < LARGE_BYTES:
            continue
        yield from (_Piece(length) for _, length in cut_pieces(content.offset - position))
        for offset, length in cut_pieces(content.size):
            yield _Piece(length, (content.digest, offset))
        position = content.offset + content.size
    yield from (_Piece(length) for _, length in cut_pieces(size - position))


def _cut_spans(spans: Iterable[tuple[int, int]], size: int) -> Iterator[_Piece]:
    """`_cut_tar` where only the files' (offset, size) are known."""
    position = 0
    for start, length in spans:
        if length >= LARGE_BYTES:
            yield from (_Piece(part) for _, part in cut_pieces(start - position))
            yield from (_Piece(part) for _, part in cut_pieces(length))
            position = start + length
    yield from (_Piece(part) for _, part in cut_pieces(size - position))


def _deflate(
    pieces: Iterable[_Piece], chunks: Iterable[bytes], known: Squeezed
) -> Iterator[tuple[bytes, bytes]]:
    """Each piece of `chunks`, plain and compressed; a few at a time, side by side."""
    batch: list[tuple[_Piece, bytes]] = []
    for piece, plain in _recut(pieces, chunks):
        batch.append((piece, plain))
        if len(batch) == 4 * _threads():
            yield from _deflate_batch(batch, known)
            batch = []
    yield from _deflate_batch(batch, known)


def _recut(pieces: Iterable[_Piece], chunks: Iterable[bytes]) -> Iterator[tuple[_Piece, bytes]]:
    source, buffer = iter(chunks), bytearray()
    for piece in pieces:
        while len(buffer) < piece.size:
            buffer += next(source)
        yield piece, bytes(buffer[: piece.size])
        del buffer[: piece.size]
    # To the end: only there the source says whether its bytes were the right ones.
    rest = bytes(buffer) + b"".join(source)
    assert not rest


def _deflate_batch(
    batch: Sequence[tuple[_Piece, bytes]], known: Squeezed
) -> Iterator[tuple[bytes, bytes]]:
    found = [known.get(piece.key) if piece.key else None for piece, _ in batch]
    fresh = iter(
        _deflate_all([plain for (_, plain), have in zip(batch, found, strict=True) if not have])
    )
    for (_, plain), have in zip(batch, found, strict=True):
        yield plain, have or next(fresh)


def _deflate_all(plain: Sequence[bytes]) -> list[bytes]:
    """Compress pieces on all processors; zlib works without Python's lock."""
    done = [b""] * len(plain)
    waiting = iter(range(len(plain)))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            done[number] = deflate_piece(plain[number])

    helpers = [threading.Thread(target=work) for _ in range(min(_threads(), len(plain)) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    # What a helper failed at fails again here, where it is heard.
    return [piece or deflate_piece(plain[number]) for number, piece in enumerate(done)]


def _threads() -> int:
    return len(os.sched_getaffinity(0))
