"""gzip with every choice pinned: equal bytes in, equal bytes out, on the same zlib."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

COMPRESSION = f"zlib {zlib.ZLIB_RUNTIME_VERSION} level 9"


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
