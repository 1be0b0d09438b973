"""gzip with every choice pinned: equal bytes in, equal bytes out, on the same zlib.

A deflate stream may be cut where it is flushed: what follows stands for itself. So the pieces of a
large file can be compressed apart from what lies around them, side by side and ahead of time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

COMPRESSION = f"zlib {zlib.ZLIB_RUNTIME_VERSION} level 9, large files in pieces"

LARGE_BYTES = 1 << 16
"""Files from this size on are compressed by themselves."""
PIECE_BYTES = 1 << 20
"""In pieces of this size."""

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
_LAST_BLOCK = b"\x03\x00"  # empty, and final


def gzip_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 1952 with a fixed header: deflate, no name, mtime 0, maximum compression, unknown OS."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    checksum = size = 0
    yield _HEADER
    for chunk in chunks:
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        yield compressor.compress(chunk)
    yield compressor.flush()
    yield _trailer(checksum, size)


def gzip_pieces(pieces: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """The same of pieces that were compressed already: (plain bytes, their `deflate_piece`)."""
    checksum = size = 0
    yield _HEADER
    for plain, deflated in pieces:
        checksum = zlib.crc32(plain, checksum)
        size += len(plain)
        yield deflated
    yield _LAST_BLOCK
    yield _trailer(checksum, size)


def deflate_piece(plain: bytes) -> bytes:
    """A part of a deflate stream that depends on nothing before it, and ends at a whole byte."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    return compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH)


def cut_pieces(size: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of the pieces of `size` bytes."""
    for offset in range(0, size, PIECE_BYTES):
        yield offset, min(PIECE_BYTES, size - offset)


def _trailer(checksum: int, size: int) -> bytes:
    return checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
