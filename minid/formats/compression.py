"""Which compression an archive has, and its bytes decompressed in bounded pieces.

Made for bytes that nobody vouches for: every piece is bounded, so is their sum, the memory that a
stream may demand is capped, and a stream that ends early or has something behind it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from minid.errors import UnpackError

Compression = Literal["gzip", "bzip2", "xz", "zstd", "none"]

HEAD_BYTES = 6
_PIECE = 1 << 18
_INPUT = 1 << 16
# xz -9 needs 65 MiB to decompress, `zstd --long` and --ultra a window of 128 MiB.
_XZ_MEMORY = 256 << 20
_ZSTD_WINDOW = 128 << 20
# The library gives out all that one input makes, up to 128 KiB for each 4 bytes: feed it little.
_ZSTD_INPUT = 512

_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"LZIP", "an lzip stream"),
    (b"\x1f\x9d", "a compress (.Z) stream"),
    (b"070707", "a cpio archive"),
    (b"070701", "a cpio archive"),
    (b"!<arch", "an ar archive"),
)


class _Decoder(Protocol):
    """What `bz2` and `lzma` offer, and the wrappers below for the other two."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def detect_compression(head: bytes) -> Compression:
    """The compression whose magic begins `head` (the file's first `HEAD_BYTES` bytes).

    UnpackError for an empty file and for containers that are no tar, such as zip.
    """
    if not head:
        raise UnpackError("expected a tar archive, got an empty file")
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise UnpackError(
                f"expected a tar archive (plain, gz, bz2, xz or zst), got {name}",
                hint="use the release's tar archive instead",
            )
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "none")


def decompress(
    read: Callable[[int], bytes], compression: Compression, max_bytes: int
) -> Iterator[bytes]:
    """The decompressed bytes of what `read(n)` gives (empty at its end), in pieces.

    Streams written one after another (`pigz`, `pbzip2`, `xz -T`, zstd frames) are one stream.
    UnpackError when a stream is damaged, cut short, followed by anything else, or when it makes
    more than `max_bytes` bytes.
    """
    pieces = _read_plain(read) if compression == "none" else _decode(read, compression)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > max_bytes:
            raise UnpackError(f"expected at most {max_bytes} bytes unpacked, got more")
        yield piece


def _read_plain(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(_PIECE):
        yield piece


def _decode(read: Callable[[int], bytes], compression: Compression) -> Iterator[bytes]:
    new_decoder, stream_errors = load_decoder(compression)
    rest = read(_INPUT)
    while rest:
        decoder = new_decoder()
        try:
            yield from _decode_stream(decoder, rest, read)
        except stream_errors as error:
            raise UnpackError(f"expected a sound {compression} stream, got: {error}") from error
        rest = _next_stream(decoder.unused_data, read, compression)


def _decode_stream(decoder: _Decoder, data: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    while True:
        piece = decoder.decompress(data, _PIECE)
        if piece:
            yield piece
        if decoder.eof:
            return
        data = b""
        if decoder.needs_input:
            data = read(_INPUT)
            if not data:
                raise EOFError("the end of the file in the middle of it")


def _next_stream(rest: bytes, read: Callable[[int], bytes], compression: Compression) -> bytes:
    """The beginning of the next stream, empty at the end of the file; UnpackError for garbage.

    Zeros may follow gzip (tapes are padded so) and xz (its own stream padding).
    """
    padded = compression in ("gzip", "xz")
    while True:
        rest = rest.lstrip(b"\0") if padded else rest
        if len(rest) >= HEAD_BYTES:
            break
        more = read(_INPUT)
        if not more:
            break
        rest += more
    if rest and not _begins_stream(rest, compression):
        raise UnpackError(f"expected nothing behind the {compression} stream, got other bytes")
    return rest


def _begins_stream(head: bytes, compression: Compression) -> bool:
    if compression == "zstd" and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return True  # a skippable frame, RFC 8878 section 3.1.2
    return any(kind == compression and head.startswith(magic) for magic, kind in _MAGIC)


def load_decoder(
    compression: Compression,
) -> tuple[Callable[[], _Decoder], tuple[type[Exception], ...]]:
    """A maker of decoders for one stream each, and the errors they raise for bad bytes.

    Imports the library: a process that gives up its rights calls this before.
    """
    if compression == "gzip":
        import zlib

        return _Gzip, (zlib.error, EOFError)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, (OSError, ValueError, EOFError)
    if compression == "xz":
        import lzma

        def new_xz() -> _Decoder:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

        return new_xz, (lzma.LZMAError, ValueError, EOFError)
    if compression == "zstd":
        import zstandard

        return _Zstd, (zstandard.ZstdError, EOFError)
    raise ValueError(f"expected a compression, got {compression!r}")


class _Gzip:
    """One gzip member (RFC 1952); zlib checks its CRC and length."""

    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inner.decompress(self._inner.unconsumed_tail or data, max_length)
        # A full piece may leave more inside zlib even when it took all its input.
        self.needs_input = not self._inner.unconsumed_tail and len(piece) < max_length
        return piece


class _Zstd:
    """One zstd frame. `max_length` is not the library's to obey: the input is cut small instead."""

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._input = b""
        self._position = 0
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._input[self._position :]

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._input, self._position = data, 0
        made: list[bytes] = []
        size = 0
        while size < max_length and self._position < len(self._input) and not self._inner.eof:
            piece = self._input[self._position : self._position + _ZSTD_INPUT]
            self._position += len(piece)
            made.append(self._inner.decompress(piece))
            size += len(made[-1])
        self.needs_input = self._position >= len(self._input)
        return b"".join(made)
